# frozen_string_literal: true

RSpec.describe TaskerCore::JsonText do
  def round(value) = described_class.load(described_class.dump(value))

  it 'keeps integers of any size and doubles bit for bit' do
    values = [2**64, 2**128, -(2**70), 0, 209.97, 109.97, 1e25, -0.0, 5e-324, 1.7976931348623157e308]
    expect(round(values).map { |value| value.is_a?(Float) ? [value].pack('G') : value })
      .to eq(values.map { |value| value.is_a?(Float) ? [value].pack('G') : value })
    expect(described_class.dump(2**128)).to eq('340282366920938463463374607431768211456')
  end

  it 'takes symbols, times and dates' do
    expect(described_class.dump({ a: :b, t: Time.utc(2026, 1, 2, 3, 4, 5), d: Date.new(2026, 1, 2), 7 => nil }))
      .to eq('{"a":"b","t":"2026-01-02T03:04:05Z","d":"2026-01-02","7":null}')
  end

  {
    'NaN' => [{ a: [1, { b: Float::NAN }] }, 'value.a[1].b'],
    'infinity' => [[Float::INFINITY], 'value[0]'],
    'an object' => [{ a: Object.new }, 'value.a is a Object'],
    'a rational' => [{ a: 1r }, 'to_s or to_f'],
    'a NUL' => [{ a: "x\0" }, 'value.a holds a NUL'],
    'a NUL in a key' => [{ "x\0" => 1 }, 'a key of value'],
    'broken UTF-8' => [{ a: "\xff" }, 'value.a is not valid UTF-8'],
    'a lone surrogate' => [{ a: "\xED\xA0\x80" }, 'value.a is not valid UTF-8'],
    'a key that is an object' => [{ nil => 1 }, 'NilClass as a key']
  }.each do |name, (value, text)|
    it "refuses #{name} and says where" do
      expect { described_class.dump(value) }.to raise_error(TaskerCore::Errors::NotJsonError, include(text))
    end
  end

  it 'nests as deep as the broker takes, and no deeper' do
    deep = (1...127).inject([]) { |inner, _| [inner] }
    expect(round(deep)).to eq(deep)
    expect { described_class.dump([deep]) }.to raise_error(TaskerCore::Errors::NotJsonError, include('127'))
  end

  it 'refuses a value that contains itself' do
    loop_value = []
    loop_value << loop_value
    expect { described_class.dump(loop_value) }.to raise_error(TaskerCore::Errors::NotJsonError)
  end
end

RSpec.describe TaskerCore::IndifferentHash do
  let(:hash) { TaskerCore::JsonText.load('{"a":{"b":[{"c":1}]},"d":2}') }

  it 'takes strings and symbols at every level' do
    expect(hash[:a]['b'][0][:c]).to eq(1)
    expect(hash.dig(:a, :b, 0, 'c')).to eq(1)
    expect(hash.fetch(:d)).to eq(2)
    expect(hash.values_at(:d, 'a').first).to eq(2)
    expect(hash).to include(:a).and include('a')
    expect(hash.slice(:d)[:d]).to eq(2)
    expect(hash.except(:a).keys).to eq(['d'])
    expect { hash.fetch(:nowhere) }.to raise_error(KeyError)
  end

  it 'matches patterns' do
    matched = case hash
              in { a: { b: [{ c: }] } } then c
              end
    expect(matched).to eq(1)
  end

  it 'is frozen at every level' do
    expect { hash[:a]['x'] = 1 }.to raise_error(FrozenError)
    expect { hash[:a][:b] << 1 }.to raise_error(FrozenError)
  end

  it 'gives copies that can be changed' do
    copy = hash.dup
    copy[:a][:b] << { 'd' => 1 }
    copy[:new] = { 'x' => { y: 1 } }
    expect(copy['new'][:x]['y']).to eq(1)
    expect(copy.merge(z: 1)[:z]).to eq(1)
    expect(hash[:a][:b].size).to eq(1)
    expect(hash.deep_symbolize_keys).to eq(a: { b: [{ c: 1 }] }, d: 2)
    expect(hash.to_h).to eq('a' => { 'b' => [{ 'c' => 1 }] }, 'd' => 2)
    expect(hash.to_h[:a]).to be_nil
  end
end
