# frozen_string_literal: true

RSpec.describe TaskerCore::Protocol do
  # One frame of each type: the Rust test suite reads the same files.
  golden = Dir[File.expand_path('../../../tests/golden/*.json', __dir__)]

  def hex(text) = [text.delete(' ')].pack('H*')

  it 'has four bytes of header: magic, version, type' do
    expect(described_class.encode('ExecuteBatch', {})).to eq([hex('54010203'), hex('80')])
    expect(described_class.encode('Error', {}).first).to eq(hex('54010501'))
  end

  it 'has a golden frame for every type' do
    expect(golden.map { |path| File.basename(path, '.json') }).to match_array(described_class::TYPES.keys)
  end

  it 'has one code a type' do
    expect(described_class::TYPES.values.uniq.size).to eq(described_class::TYPES.size)
  end

  it 'reads on after a body that it could not read' do
    header = hex('54010203')
    ['81', '80 80', 'c1', '81 a1 61'].each do |body|
      expect { described_class.decode(header, hex(body)) }.to raise_error(described_class::MalformedError)
      expect(described_class.decode(header, hex('81 a1 61 07')).fields).to eq('a' => 7)
    end
  end

  it 'counts ids that are UUIDs, and of two counters never gives the same' do
    counters = Array.new(2) { described_class::Ids.new }
    ids = counters.flat_map { |counter| Array.new(300) { counter.next } }
    expect(ids.uniq.size).to eq(600)
    expect(ids).to all(match(/\A\h{8}-\h{4}-4\h{3}-[89ab]\h{3}-\h{12}\z/))
  end

  it 'encodes a worked example' do
    id = '0190c7a0-0000-7000-8000-000000000001'
    body = hex("82 ae #{'correlation_id'.unpack1('H*')} d924 #{id.unpack1('H*')} a7 #{'task_id'.unpack1('H*')} " \
               "d924 #{id.unpack1('H*')}")
    expect(described_class.encode('TryTaskIfReady', { 'correlation_id' => id, 'task_id' => id }))
      .to eq([hex('54010303'), body])
  end

  it 'reads text and binary alike, and keys that it does not know' do
    message = described_class.decode(hex('54010203'), hex('82 a1 61 c4 01 62 a1 63 93 01 02 03'))
    expect(message.type).to eq('ExecuteBatch')
    expect(message['a']).to eq('b')
    expect(message['c']).to eq([1, 2, 3])
  end

  {
    'a short header' => ['5401', '80', '2 bytes'],
    'another magic' => %w[00010203 80 0x00],
    'another version' => ['54020203', '80', 'version 2'],
    'an unknown type' => %w[5401ffff 80 0xffff],
    'a body that is no map' => ['54010203', '90', 'not a map'],
    'a body that is cut off' => ['54010203', '82a161', 'not MessagePack'],
    'an empty body' => ['54010203', '', 'not MessagePack'],
    'a body that is no MessagePack' => ['54010203', 'c1', 'not MessagePack']
  }.each do |name, (header, body, reason)|
    it "refuses #{name}" do
      expect { described_class.decode(hex(header), hex(body)) }
        .to raise_error(described_class::MalformedError, include(reason))
    end
  end

  golden.each do |path|
    [JSON.parse(File.read(path))].flatten.each do |frame|
      describe "golden frame #{frame['name']}" do
        it 'decodes to its fields' do
          message = described_class.decode(hex(frame['header_hex']), hex(frame['body_hex']))
          expect(described_class::TYPES.fetch(message.type)).to eq(frame['message_type'])
          expect(message.fields).to eq(frame['fields'])
        end

        it 'is what its fields encode to' do
          header, body = described_class.encode(frame['name'], frame['fields'])
          expect(header).to eq(hex(frame['header_hex']))
          expect(MessagePack.unpack(body)).to eq(MessagePack.unpack(hex(frame['body_hex'])))
        end
      end
    end
  end
end
