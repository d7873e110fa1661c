# frozen_string_literal: true

require 'active_support'
require 'active_support/notifications'

RSpec.describe TaskerCore::Instrumentation::Notifications do
  include Attempts

  let(:events) { [] }
  let(:outgoing) { TaskerCore::Client::Outgoing.new(configuration) }
  let(:request) { { namespace: 'ns', name: 'flow', version: '1.0.0', idempotency_key: 'k' } }

  def subscribed(pattern = /tasker_core\z/, &block)
    ActiveSupport::Notifications.subscribed(proc { |event| events << event }, pattern, &block)
  end

  def payloads = events.map { |event| [event.name, event.payload] }

  it 'tells of each attempt' do
    job = subscribed { run_step { 1 } }
    expect(payloads).to eq(
      [['perform.tasker_core', { task_id: job.task.task_id, namespace: 'ns', name: 'flow', version: '1.0.0', step: 'a',
                                 attempt: 1, retry_limit: 3, state: :complete }]]
    )
    expect(events.first.duration).to be >= 0
  end

  it 'tells why it failed, as of any other block' do
    subscribed do
      run_step { raise 'broken' }
      run_step { TaskerCore::Types::StepHandlerCallResult.error(error_type: 'X', message: 'no') }
    end
    expect(payloads.map { |_, payload| payload.slice(:state, :exception) }).to eq(
      [{ state: :error, exception: %w[RuntimeError broken] },
       { state: :error, exception: ['TaskerCore::Errors::PermanentError', 'no'] }]
    )
    expect(payloads.first.last[:exception_object]).to be_a(RuntimeError)
  end

  it 'calls an attempt that is given back no failure' do
    subscribed do
      run_step do
        Thread.current.thread_variable_get(:tasker_core_holder).job.stopped = true
        raise 'interrupted'
      end
    end
    expect(payloads.first.last).to include(state: :returned)
    expect(payloads.first.last).not_to include(:exception)
  end

  it 'tells of each request' do
    accepted = TaskerCore::Types::TaskInitialized.from('task_id' => 't', 'duplicate' => true)
    subscribed do
      expect(outgoing.pass(request) { accepted }).to be(accepted)
      outgoing.pass(request) { nil }
      expect { outgoing.pass(request) { raise TaskerCore::TimeoutError, 'slow' } }.to raise_error('slow')
    end
    common = { namespace: 'ns', name: 'flow', version: '1.0.0', idempotency_key: 'k' }
    expect(payloads.map(&:first)).to eq(['enqueue.tasker_core'] * 3)
    expect(payloads.map(&:last)).to match(
      [{ **common, task_id: 't', duplicate: true }, common,
       { **common, exception: ['TaskerCore::Errors::TimeoutError', 'slow'], exception_object: be_a(StandardError) }]
    )
  end

  it 'asks nothing of steps when nobody listens' do
    subscribed(/other/) { run_step { 1 } }
    expect(events).to be_empty
  end

  it 'is not hurt by those who listen' do
    ActiveSupport::Notifications.subscribed(proc { |_event| raise 'a bad listener' }, 'perform.tasker_core') do
      expect(run_step { 1 }.outcome['result']).to eq('1')
      expect(run_step { raise 'broken' }.outcome['error']).to include('message' => 'broken')
    end
    expect(log.string.scan('Notifications failed').size).to eq(2)
  end
end
