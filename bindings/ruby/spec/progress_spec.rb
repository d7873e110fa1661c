# frozen_string_literal: true

RSpec.describe TaskerCore::Execution::Step, '#report_progress' do
  let(:log) { StringIO.new }
  let(:broker) { FakeBroker.new }
  let(:worker) do
    TaskerCore::Worker.new(broker: broker.endpoint, namespaces: ['ns'], logger: Logger.new(log), concurrency: 2)
  end
  let(:said) { Thread::Queue.new }
  let(:told) { Thread::Queue.new }

  # A handler that says whatever the test tells it to, until it is told nothing.
  before do
    TaskerCore.register_handler('Tells') do |_task, _sequence, step|
      while (value = said.pop)
        step.report_progress(value)
        told << value
      end
    end
  end

  after do
    said.close
    broker.stop
    worker.stop(timeout: 0)
  end

  def start(**settings)
    worker.start
    request, registration_id = broker.register(**settings)
    @identity = request.identity
    @batch = batch(registration_id, { 'a' => { handler: 'Tells', attempt: 2 } })
    broker.send(@identity, 'ExecuteBatch', @batch)
  end

  def loop_turn
    turned = Thread::Queue.new
    worker.instance_variable_get(:@event_loop).post { turned << true }
    turned.pop
  end

  def finish
    said.close
    broker.expect('ReportPartialResult')['results'].first
  end

  it 'tells the broker how far the step is' do
    start(progress_bytes_max: 4096)
    said << { done: 1, of: 2**64 }
    expect(broker.expect('ReportProgress').fields.except('correlation_id'))
      .to eq('batch_id' => @batch['batch_id'], 'task_id' => @batch['tasks'].first['task_id'], 'step' => 'a',
             'attempt' => 2, 'progress' => '{"done":1,"of":18446744073709551616}')
    expect(finish).to include('status' => 'complete')
  end

  it 'sends the first at once, and of many that follow only the latest' do
    start(progress_bytes_max: 4096)
    50.times do |number|
      said << number
      told.pop
      # Whatever is to be sent now is sent.
      loop_turn
    end
    seen = [broker.expect('ReportProgress')['progress'].to_i]
    seen << broker.expect('ReportProgress')['progress'].to_i until seen.last == 49
    expect(seen.first).to eq(0)
    expect(seen.size).to be < 25
    finish
  end

  it 'sends nothing to a broker that does not know of it' do
    start
    said << 1
    told.pop
    loop_turn
    expect(finish).to include('status' => 'complete')
    expect(broker.waiting('ReportProgress')).to be_empty
  end

  it 'fails a step that says more than the broker takes, or what JSON cannot hold' do
    start(progress_bytes_max: 4096)
    said << ('x' * 4095)
    expect(broker.expect('ReportPartialResult')['results'].first['error'])
      .to include('message' => 'progress has 4097 bytes, at most 4096 are taken', 'retryable' => false)
  end

  it 'is nothing to nobody' do
    step = described_class.new({ 'name' => 'a' }, 't')
    expect(step.report_progress(1)).to be_nil
    expect { step.report_progress(Float::NAN) }.to raise_error(TaskerCore::Errors::NotJsonError, /progress is NaN/)
  end
end
