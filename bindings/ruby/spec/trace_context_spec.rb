# frozen_string_literal: true

require_relative 'support/fake_telemetry'

RSpec.describe TaskerCore::TraceContext do
  include Attempts

  parent = '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01'

  def parse(...) = described_class.parse(...)

  it 'reads what the standard allows' do
    trace = parse(parent, 'congo=t61rcWkgMzE, rojo=00f067aa0ba902b7')
    expect(trace).to have_attributes(trace_id: '0af7651916cd43dd8448eb211c80319c', span_id: 'b7ad6b7169203331',
                                     sampled?: true, tracestate: 'congo=t61rcWkgMzE,rojo=00f067aa0ba902b7')
    expect(trace.headers).to eq('traceparent' => parent, 'tracestate' => 'congo=t61rcWkgMzE,rojo=00f067aa0ba902b7')
    expect(parse(parent.sub(/01\z/, '00'))).to have_attributes(sampled?: false, tracestate: nil)
  end

  it 'passes a later version on as this one' do
    later = parent.sub(/\A00/, 'cc')
    expect(parse("#{later.sub(/01\z/, 'ff')}-more").traceparent).to eq(parent)
    expect(parse("#{later}.more")).to be_nil
  end

  ['', nil, 'nonsense', parent.upcase, parent.sub(/\A00/, 'ff'), "#{parent}-more", "#{parent}\nx",
   parent.sub('0af7651916cd43dd8448eb211c80319c', '0' * 32), parent.sub('b7ad6b7169203331', '0' * 16)].each do |text|
    it("refuses #{text.inspect}") { expect(parse(text)).to be_nil }
  end

  ['nonsense', 'UP=1', 'a=1,b', 'a=é', 'a=b=c', Array.new(33) { |n| "k#{n}=1" }.join(',')].each do |text|
    it("leaves the tracestate #{text[0, 20].inspect} out") { expect(parse(parent, text).tracestate).to be_nil }
  end

  it 'makes traces and children of them' do
    trace = described_class.generate
    expect(parse(trace.traceparent)).to eq(trace)
    expect(trace.child).to have_attributes(trace_id: trace.trace_id, span_id: /\A(?!#{trace.span_id})\h{16}\z/)
    expect(described_class.generate(sampled: false)).not_to be_sampled
    expect(described_class.generate).not_to eq(trace)
  end

  it 'is that of the block, in its fiber' do
    expect(described_class.current).to be_nil
    described_class.with(parent, 'a=1') do
      expect(described_class.current.headers).to eq('traceparent' => parent, 'tracestate' => 'a=1')
      child = described_class.current.child
      described_class.with(child) { expect(described_class.current).to be(child) }
      described_class.with('nonsense') { expect(described_class.current.traceparent).to eq(parent) }
      expect(Thread.new { described_class.current }.value).to be_nil
    end
    expect(described_class.current).to be_nil
  end

  it 'is that of the task in its steps' do
    current = -> { TaskerCore::TraceContext.current&.headers }
    headers = { 'traceparent' => parent, 'tracestate' => 'a=1' }
    expect(JSON.parse(run_step(current, task: headers).outcome['result'])).to eq(headers)
    expect(run_step(current, task: { 'traceparent' => 'nonsense' }).outcome['result']).to eq('null')
    expect(run_step(current).outcome['result']).to eq('null')
  end

  describe 'of a request' do
    let(:outgoing) { TaskerCore::Client::Outgoing.new(configuration) }

    def sent(**fields)
      request = nil
      outgoing.pass({ namespace: 'ns', name: 'flow', **fields }) do |passed|
        request = TaskerCore::Client::TaskRequest.encode(passed)
        nil
      end
      request.slice('traceparent', 'tracestate')
    end

    it 'is the present one, unless the request names one' do
      expect(sent).to eq({})
      described_class.with(parent, 'a=1') do
        expect(sent).to eq('traceparent' => parent, 'tracestate' => 'a=1')
        own = described_class.generate.traceparent
        expect(sent(traceparent: own)).to eq('traceparent' => own)
      end
    end

    it 'is that of the step that enqueues' do
      here = self
      job = run_step(task: { 'traceparent' => parent }) { here.send(:sent) }
      expect(JSON.parse(job.outcome['result'])).to eq('traceparent' => parent)
    end
  end

  describe 'with OpenTelemetry' do
    let(:telemetry) { FakeTelemetry.build }
    let(:spans) { telemetry.spans }
    let(:outgoing) { TaskerCore::Client::Outgoing.new(configuration) }
    let(:request) { { namespace: 'ns', name: 'flow' } }

    before { stub_const('OpenTelemetry', telemetry) }

    it 'is the present span' do
      telemetry.tracer('', '').in_span('outer') { |_, trace| expect(described_class.current).to eq(trace) }
      described_class.with(parent) { expect(FakeTelemetry::Context.current.traceparent).to eq(parent) }
      expect(FakeTelemetry::Context.current).to be_nil
    end

    it 'has a span for each request, which goes with it' do
      passed = nil
      accepted = TaskerCore::Types::TaskInitialized.from('task_id' => 't')
      outgoing.pass(request) { |traced| (passed = traced) && accepted }
      expect(spans).to match([have_attributes(name: 'ns/flow enqueue', kind: :producer, errors: [], status: nil)])
      expect(spans.first.attributes).to include('messaging.system' => 'tasker_core', 'tasker.task_id' => 't',
                                                'messaging.destination.name' => 'ns/flow')
      expect(passed['traceparent']).to eq(spans.first.trace.traceparent)
    end

    it 'notes what became of a request' do
      refused = TaskerCore::Types::TaskInitialized.from('error' => TaskerCore::PermanentError.new('no'))
      outgoing.pass(request) { refused }
      expect { outgoing.pass(request) { raise TaskerCore::TimeoutError, 'slow' } }.to raise_error('slow')
      expect(spans.map { |span| span.errors.flatten.map(&:message) }).to eq([['no'], ['slow']])
      expect(spans.first.status.description).to eq('no')
    end

    it 'has a span for each attempt, in the trace of its task' do
      current = -> { TaskerCore::TraceContext.current.traceparent }
      job = run_step(current, task: { 'traceparent' => parent })
      expect(spans).to match([have_attributes(name: 'ns/flow@1.0.0 a', kind: :consumer, errors: [], status: nil)])
      expect(spans.first.parent.traceparent).to eq(parent)
      expect(spans.first.attributes).to include('tasker.task_id' => job.task.task_id, 'tasker.step' => 'a',
                                                'tasker.attempt' => 1, 'messaging.operation' => 'process')
      expect(job.outcome['result']).to eq("\"#{spans.first.trace.traceparent}\"")
    end

    it 'has it below the span of a broker that traces' do
      span = parent.sub('b7ad6b7169203331', '00f067aa0ba902b7')
      run_step(-> {}, task: { 'traceparent' => parent, 'tracestate' => 'a=1' }, traceparent: span)
      expect(spans.first.parent.headers).to eq('traceparent' => span, 'tracestate' => 'a=1')
    end

    it 'notes why an attempt failed, results that are no JSON included' do
      run_step { raise 'broken' }
      run_step { Float::INFINITY }
      expect(spans.flat_map(&:errors).flatten.map(&:class)).to eq([RuntimeError, TaskerCore::Errors::NotJsonError])
      expect(spans.map { |span| span.status.code }).to eq(%i[error error])
    end

    it 'does without it when it fails' do
      telemetry.define_singleton_method(:tracer) { |*| raise 'no exporter' }
      expect(run_step { 5 }.outcome['result']).to eq('5')
      expect(outgoing.pass(request) { :sent }).to eq(:sent)
      expect(log.string.scan('Telemetry failed: RuntimeError: no exporter').size).to eq(2)
    end

    it 'knows of no trace where only the API is there' do
      telemetry.propagation.define_singleton_method(:inject) { |*, **| nil }
      telemetry.propagation.define_singleton_method(:extract) { |*, **| nil }
      described_class.with(parent) { expect(described_class.current.traceparent).to eq(parent) }
      job = run_step(-> { TaskerCore::TraceContext.current.traceparent }, task: { 'traceparent' => parent })
      expect(job.outcome['result']).to eq("\"#{parent}\"")
    end
  end
end
