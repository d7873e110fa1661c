# frozen_string_literal: true

RSpec.describe TaskerCore::Lifecycle do
  include Attempts

  let(:told) { [] }

  it 'tells of the life of a worker, in the order in which it was asked to' do
    configuration.on(:startup) { |worker| told << [:first, worker] }
    configuration.on('startup') { |worker| told << [:second, worker] }
    configuration.on(:quiet) { told << :quiet }
    configuration.lifecycle.fire(:startup, :worker)
    expect(told).to eq([%i[first worker], %i[second worker]])
  end

  it 'logs what a block raises, and goes on' do
    configuration.on(:shutdown) { raise NotImplementedError, 'not today' }
    configuration.on(:shutdown) { told << :shutdown }
    configuration.lifecycle.fire(:shutdown, nil)
    expect(told).to eq([:shutdown])
    expect(log.string).to include('a block for shutdown failed: NotImplementedError: not today')
  end

  it 'refuses events that there are not, and nothing to do' do
    expect { configuration.on(:start) { nil } }.to raise_error(TaskerCore::ConfigurationError, /event start .*startup/)
    expect { configuration.on(:startup) }.to raise_error(TaskerCore::ConfigurationError, /no block/)
    expect { configuration.on_error }.to raise_error(TaskerCore::ConfigurationError, /no block/)
  end

  describe 'of failures' do
    before do
      configuration.on_error { |error, attempt| told << [:error, error, attempt] }
      configuration.on_death { |error, _| told << [:death, error] }
    end

    def kinds = told.map(&:first)

    it 'tells with the error and its surroundings' do
      handler = ->(*) { raise 'broken' }
      job = run_step(handler)
      expect(kinds).to eq([:error])
      _, error, attempt = told.first
      expect(error).to have_attributes(class: RuntimeError, message: 'broken')
      expect(attempt).to have_attributes(task: job.task, step: job.step, handler: handler, error: error)
      expect(attempt.sequence.names).to eq([])
    end

    it 'tells nothing of success' do
      expect(run_step { 1 }.state).to eq(:complete)
      expect(told).to be_empty
    end

    it 'tells of the death with the last attempt' do
      run_step(attempt: 3) { raise 'broken' }
      expect(kinds).to eq(%i[error death])
    end

    it 'tells of the death when no attempt can help' do
      run_step { raise TaskerCore::PermanentError, 'declined' }
      run_step(retryable: false) { raise 'broken' }
      expect(kinds).to eq(%i[error death error death])
    end

    it 'tells of errors that a handler returns' do
      run_step do
        TaskerCore::Types::StepHandlerCallResult.error(error_type: 'RetryableError', message: 'busy', error_code: 'B',
                                                       retryable: true, metadata: { queue: 3 })
      end
      expect(kinds).to eq([:error])
      expect(told.first[1]).to be_a(TaskerCore::RetryableError)
        .and have_attributes(message: 'busy', error_code: 'B', context: { queue: 3 })
    end

    it 'tells of a result that is no JSON' do
      run_step { Float::NAN }
      expect(told.last[1]).to be_a(TaskerCore::Errors::NotJsonError)
    end

    it 'tells of a handler that is missing' do
      run_step(nil, handler: 'Nowhere')
      expect(kinds).to eq(%i[error death])
      expect(told.first.last.handler).to be_nil
    end

    it 'does not let itself change the outcome' do
      configuration.on_error { exit(3) }
      job = run_step { raise TaskerCore::RetryableError.new('busy', retry_after: 3) }
      expect(job.outcome['error']).to include('class' => 'TaskerCore::Errors::RetryableError', 'retry_after' => '3')
      expect(log.string).to include('a block for error failed: SystemExit')
    end

    it 'can be interrupted, and then the failure is reported all the same' do
      inside = Thread::Queue.new
      configuration.on_error do
        inside << Thread.current
        sleep
      end
      thread = Thread.new do
        Thread.handle_interrupt(TaskerCore::Worker::StepInterrupt => :never) { run_step { raise 'broken' } }
      end
      inside.pop.raise(TaskerCore::Worker::StepInterrupt, 'too long')
      expect(thread.value.state).to eq(:error)
      expect(thread.value.outcome['error']).to include('message' => 'broken')
    end

    it 'tells nothing of a handler that the worker has stopped' do
      job = run_step do
        Thread.current.thread_variable_get(:tasker_core_holder).job.stopped = true
        raise 'interrupted'
      end
      expect(job.state).to eq(:returned)
      expect(told).to be_empty
    end
  end
end
