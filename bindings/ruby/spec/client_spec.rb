# frozen_string_literal: true

module SpecHandlers
  class TaskGuard < TaskerCore::TaskHandler::Base
    def initialize_task(request)
      limit = task_config.dig('handler_config', 'limit')
      raise TaskerCore::ValidationError.new('too many', field: 'n', error_code: 'MAX') if request[:context][:n] > limit

      request['context']['checked'] = config[:limit]
      super
    end
  end

  class TaskReplacer
    def initialize_task(request) = { namespace: request[:namespace], name: 'other', context: { replaced: true } }
  end

  class TaskMistaken
    def initialize_task(request) = request[:context].merge(a: 1)
  end
end

RSpec.describe TaskerCore::Client do
  subject(:client) { described_class.new(broker: broker.endpoint, events: broker.events, timeout: 5, logger:) }

  let(:logger) { Logger.new(log) }
  let(:log) { StringIO.new }
  let(:broker) { FakeBroker.new }
  let(:plain) { described_class.new(broker: broker.endpoint, timeout: 5, logger:, skip_task_handlers: true) }

  after do
    client.close
    plain.close
    broker.stop
  end

  # Runs the call in a thread of its own; the block plays the broker.
  def calling(callable)
    thread = Thread.new(&callable)
    thread.report_on_exception = false
    yield
    thread.value
  end

  def summary(id, state = 'in_progress')
    { 'task_id' => id, 'namespace' => 'ns', 'name' => 'flow', 'version' => '1.0.0', 'state' => state, 'priority' => 0,
      'counts' => { 'total' => 2, 'complete' => 1 }, 'completion_percentage' => 50.0, 'a_new_field' => 1 }
  end

  describe '#initialize_task' do
    it 'sends the request and returns the task' do
      at = Time.at(1_800_000_000, 123, :millisecond)
      task = calling(lambda {
        plain.initialize_task(namespace: 'ns', name: 'flow', version: '1.0.0', context: { n: 2**64 }, priority: 5,
                              idempotency_key: 'k', tags: [:a], bypass_steps: ['s'], run_at: at, initiator: 'me',
                              options: { x: 1 }, traceparent: '00-1-2-01', tracestate: 'a=b')
      }) do
        request = broker.expect('InitializeTask')
        expect(request['tasks']).to eq(
          [{ 'namespace' => 'ns', 'name' => 'flow', 'version' => '1.0.0', 'context' => '{"n":18446744073709551616}',
             'idempotency_key' => 'k', 'priority' => 5, 'tags' => ['a'], 'bypass_steps' => ['s'], 'initiator' => 'me',
             'run_at_ms' => 1_800_000_000_123, 'options' => '{"x":1}', 'traceparent' => '00-1-2-01',
             'tracestate' => 'a=b' }]
        )
        broker.reply(request, 'TasksInitialized',
                     'tasks' => [{ 'task_id' => 't', 'template' => 'ns/flow@1.0.0', 'steps' => %w[a b],
                                   'duplicate' => true }])
      end
      expect(task).to have_attributes(task_id: 't', template: 'ns/flow@1.0.0', steps: %w[a b], duplicate?: true)
      expect(task).to be_frozen
    end

    it 'raises what the broker refuses, with where and why' do
      call = -> { plain.initialize_task(namespace: 'ns', name: 'flow', context: { n: 'x' }) }
      expect do
        calling(call) do
          request = broker.expect('InitializeTask')
          error = refusal(request, 'invalid_context', position: '/n', field: 'context')
          broker.reply(request, 'TasksInitialized', 'tasks' => [{ 'steps' => [], 'error' => error }])
        end
      end.to raise_error(TaskerCore::Errors::InvalidCommandError) { |error|
        expect(error).to have_attributes(code: 'invalid_context', position: '/n', field: 'context', retryable?: false)
      }
    end

    it 'refuses before sending what cannot be a request', :ill_typed do
      expect { plain.initialize_task(namespace: 'ns', name: 'n', kontext: 1) }
        .to raise_error(TaskerCore::ValidationError, /kontext/)
      expect { plain.initialize_task(namespace: 'ns', name: 'n', context: [1]) }
        .to raise_error(TaskerCore::ValidationError, /context has to be a Hash/)
      expect { plain.initialize_task(namespace: 'ns', name: 'n', context: { a: Float::NAN }) }
        .to raise_error(TaskerCore::Errors::NotJsonError, /context.a is NaN/)
      expect(broker.waiting('InitializeTask')).to be_empty
    end
  end

  describe '#initialize_tasks' do
    it 'has one outcome a request, in order' do
      requests = [{ namespace: 'ns', name: 'a' }, { namespace: 'ns', name: 'b', context: { x: 1r } },
                  { namespace: 'ns', name: 'c' }]
      outcomes = calling(-> { plain.initialize_tasks(requests) }) do
        request = broker.expect('InitializeTask')
        expect(request['tasks'].map { |task| task['name'] }).to eq(%w[a c])
        broker.reply(request, 'TasksInitialized',
                     'tasks' => [{ 'task_id' => 't1', 'steps' => [] },
                                 { 'steps' => [], 'error' => refusal(request, 'unknown_template') }])
      end
      expect(outcomes.map(&:ok?)).to eq([true, false, false])
      expect(outcomes[1].error).to be_a(TaskerCore::Errors::NotJsonError)
      expect(outcomes[2].error).to be_a(TaskerCore::Errors::UnknownResourceError)
    end
  end

  describe 'task handlers' do
    def definition(handler_class, **fields)
      { 'template' => { 'namespace' => 'ns', 'name' => 'flow', 'version' => '1.0.0', 'steps' => 1, 'workers' => 0,
                        'digest' => '' },
        'yaml' => "handler_config:\n  limit: 3\n", 'task_handler_class' => handler_class,
        'handler_config' => '{"limit":3}' }.compact.merge(fields)
    end

    def submit(handler_class, context = { n: 1 }, sent: true)
      calling(-> { client.initialize_task(namespace: 'ns', name: 'flow', context:) }) do
        question = broker.expect('ShowTemplate')
        expect(question['template']).to eq('ns/flow')
        broker.reply(question, 'TemplateDefinition', definition(handler_class))
        next unless sent

        request = broker.expect('InitializeTask')
        @submitted = request['tasks'].first
        broker.reply(request, 'TasksInitialized', 'tasks' => [{ 'task_id' => 't', 'steps' => [] }])
      end
    end

    it 'may change a request' do
      submit('SpecHandlers::TaskGuard')
      expect(JSON.parse(@submitted['context'])).to eq('n' => 1, 'checked' => 3)
    end

    it 'may return another request' do
      submit('SpecHandlers::TaskReplacer')
      expect(@submitted).to include('name' => 'other', 'context' => '{"replaced":true}')
    end

    it 'may refuse a request, which is not sent' do
      expect { submit('SpecHandlers::TaskGuard', { n: 4 }, sent: false) }
        .to raise_error(TaskerCore::ValidationError) { |error| expect(error.error_code).to eq('MAX') }
      expect(broker.waiting('InitializeTask')).to be_empty
    end

    it 'that do not exist here are an error that names them' do
      expect { submit('Nowhere::Handler', sent: false) }
        .to raise_error(TaskerCore::ConfigurationError, /Nowhere::Handler/)
    end

    it 'that return a Hash which is no request are an error' do
      expect { submit('SpecHandlers::TaskMistaken', sent: false) }
        .to raise_error(TaskerCore::ConfigurationError, /TaskMistaken#initialize_task/)
    end

    it 'are asked for once, and templates without one go straight through' do
      submit(nil)
      calling(-> { client.initialize_task(namespace: 'ns', name: 'flow') }) do
        broker.reply(broker.expect('InitializeTask'), 'TasksInitialized',
                     'tasks' => [{ 'task_id' => 't', 'steps' => [] }])
      end
      expect(broker.waiting('ShowTemplate')).to be_empty
    end

    it 'can dispatch a task' do
      handler = SpecHandlers::TaskGuard.new(client:)
      tried = calling(-> { handler.handle('t') }) do
        broker.reply(broker.expect('TryTaskIfReady'), 'TaskTried',
                     'task_id' => 't', 'ready' => true, 'steps_dispatched' => 1, 'batch_ids' => ['b'],
                     'steps_waiting' => 0, 'state' => 'in_progress')
      end
      expect(tried).to have_attributes(ready?: true, batch_ids: ['b'])
    end
  end

  describe 'commands' do
    commands = {
      try_task_if_ready: [['t'], {}, 'TryTaskIfReady', { 'task_id' => 't' }, 'TaskTried'],
      cancel_task: [['t'], { reason: 'why', actor: 'me' }, 'CancelTask',
                    { 'task_id' => 't', 'reason' => 'why', 'actor' => 'me' }, 'TaskCancelled'],
      retry_task: [['t'], { steps: [:a] }, 'RetryTask', { 'steps' => ['a'] }, 'TaskRetried'],
      resolve_step: [['t', :a], { result: { x: 2**64 } }, 'ResolveStep',
                     { 'step' => 'a', 'result' => '{"x":18446744073709551616}' }, 'StepResolved'],
      register_template: [['name: x'], { source: 'x.yaml' }, 'RegisterTemplate',
                          { 'yaml' => 'name: x', 'source' => 'x.yaml' }, 'TemplateRegistered'],
      pause_namespace: [[:shop], { actor: 'me', reason: 'why' }, 'PauseNamespace',
                        { 'namespace' => 'shop', 'actor' => 'me', 'reason' => 'why' }, 'NamespaceChanged'],
      resume_namespace: [['shop'], {}, 'ResumeNamespace', { 'namespace' => 'shop' }, 'NamespaceChanged'],
      drain_worker: [['w'], { reason: 'why' }, 'DrainWorker', { 'worker' => 'w', 'reason' => 'why' },
                     'WorkerDraining'],
      explain_step: [['t', :a], {}, 'ExplainStep', { 'task_id' => 't', 'step' => 'a' }, 'StepExplained'],
      explain_task: [['t'], {}, 'ExplainStep', { 'task_id' => 't' }, 'StepExplained'],
      health_check: [[], { level: :full }, 'HealthCheck', { 'level' => 'full' }, 'HealthReport'],
      task_status: [['t'], { results: :all }, 'TaskStatus',
                    { 'task_id' => 't', 'include_steps' => true, 'include_results' => ['*'] }, 'TaskStatusReport']
    }
    commands.each do |name, (arguments, keywords, type, fields, reply_type)|
      it "#{name} sends #{type}" do
        answer = calling(-> { client.public_send(name, *arguments, **keywords) }) do
          request = broker.expect(type)
          expect(request.fields).to include(fields)
          expect(request.fields.values).not_to include(nil)
          broker.reply(request, reply_type, 'state' => 'complete')
        end
        expect(answer[:state]).to eq('complete')
      end
    end

    it 'that list things answer with records' do
      { list_tasks: %w[ListTasks TaskList tasks], list_workers: %w[ListWorkers WorkerList workers],
        list_namespaces: %w[ListNamespaces NamespaceList namespaces],
        list_templates: %w[ListTemplates TemplateList templates] }.each do |name, (type, reply_type, key)|
        list = calling(-> { client.public_send(name) }) do
          broker.reply(broker.expect(type), reply_type, key => [{ 'name' => 'x' }])
        end
        expect(list.map(&:name)).to eq(['x'])
      end
    end

    it 'go on with a list until it is full or there is no more' do
      pages = [[%w[a], 'n1'], [[], 'n2'], [%w[b], nil]]
      list = calling(-> { client.list_tasks(filter: 'state:error -tag:x', limit: 5) }) do
        asked = pages.map do |names, following|
          request = broker.expect('ListTasks')
          tasks = names.map { |name| { 'name' => name } }
          broker.reply(request, 'TaskList', { 'tasks' => tasks, 'next' => following }.compact)
          request.fields.values_at('filter', 'before', 'limit')
        end
        expect(asked).to eq([[nil, 5], ['n1', 4], ['n2', 4]].map { |place| ['state:error -tag:x', *place] })
      end
      expect(list.map(&:name)).to eq(%w[a b])
    end

    it 'answer with values that are frozen, indifferent, and keep what is new' do
      status = calling(-> { client.task_status('t', results: ['a']) }) do
        steps = [{ 'name' => 'a', 'state' => 'complete', 'result' => '{"x":[1]}' }]
        broker.reply(broker.expect('TaskStatus'), 'TaskStatusReport', 'task' => summary('t'), 'steps' => steps)
      end
      expect(status.task.counts.complete).to eq(1)
      expect(status.step(:a).result[:x]).to eq([1])
      expect(status.results).to eq('a' => { 'x' => [1] })
      expect(status[:task]['a_new_field']).to eq(1)
      expect(status.to_h['task']['counts']['total']).to eq(2)
      expect { status.task[:tags] << 1 }.to raise_error(NoMethodError)
    end
  end

  describe '#wait_for_task' do
    it 'asks again until the task has ended' do
      waited = calling(-> { client.wait_for_task('t', timeout: 60) }) do
        first = broker.expect('WaitForTask')
        expect(first['timeout_ms']).to be_between(29_000, 30_000)
        broker.reply(first, 'TaskWaited', 'finished' => false, 'task' => summary('t'))
        broker.reply(broker.expect('WaitForTask'), 'TaskWaited', 'finished' => true, 'task' => summary('t', 'complete'))
      end
      expect(waited).to be_finished
      expect(waited.task).to be_complete
    end

    it 'says that the time was up' do
      waited = calling(-> { client.wait_for_task('t', timeout: 0) }) do
        broker.reply(broker.expect('WaitForTask'), 'TaskWaited', 'finished' => false, 'task' => summary('t'))
      end
      expect(waited).not_to be_finished
    end

    it 'goes on when the broker comes back' do
      broker.endpoint
      again = nil
      waited = calling(-> { client.wait_for_task('t', timeout: 20) }) do
        broker.expect('WaitForTask')
        broker.stop
        again = FakeBroker.new(endpoint: broker.endpoint)
        again.reply(again.expect('WaitForTask'), 'TaskWaited', 'finished' => true, 'task' => summary('t', 'complete'))
      end
      expect(waited.state).to eq('complete')
    ensure
      again&.stop
    end
  end

  describe 'replies' do
    it 'that do not come raise, and come too late for anybody else' do
      thread = Thread.new { client.health_check(timeout: 0.05) }
      thread.report_on_exception = false
      late = broker.expect('HealthCheck')
      expect { thread.value }.to raise_error(TaskerCore::Errors::RequestTimeoutError, /HealthCheck/)

      answer = calling(-> { client.health_check }) do
        request = broker.expect('HealthCheck')
        broker.reply(late, 'HealthReport', 'status' => 'late')
        broker.reply(request, 'HealthReport', 'status' => 'ok')
      end
      expect(answer).to be_ok
    end

    it 'reach the thread that asked, in any order' do
      threads = Array.new(20) { |n| Thread.new { client.show_template("ns/t#{n}").yaml } }
      requests = Array.new(20) { broker.expect('ShowTemplate') }
      requests.shuffle.each do |request|
        broker.reply(request, 'TemplateDefinition', 'yaml' => request['template'], 'template' => {})
      end
      expect(threads.map(&:value)).to eq(Array.new(20) { |n| "ns/t#{n}" })
    end

    it 'that refuse carry their facts' do
      call = -> { client.health_check }
      expect do
        calling(call) do
          request = broker.expect('HealthCheck')
          broker.send(request.identity, 'Error', refusal(request, 'overloaded', retryable: true, retry_after_ms: 250))
        end
      end.to raise_error(TaskerCore::Errors::UnavailableError) { |error|
        expect(error).to have_attributes(code: 'overloaded', retryable?: true, retry_after: 0.25)
      }
    end

    it 'are not waited for once the client is closed' do
      thread = Thread.new { client.health_check }
      thread.report_on_exception = false
      broker.expect('HealthCheck')
      client.close
      expect { thread.value }.to raise_error(TaskerCore::Errors::ConnectionClosedError)
      expect { client.health_check }.to raise_error(TaskerCore::Errors::ConnectionClosedError)
    end
  end

  it 'sends nothing that has expired once the broker is there' do
    endpoint = broker.endpoint
    broker.stop
    expect { client.try_task_if_ready('old', timeout: 0.02) }.to raise_error(TaskerCore::Errors::RequestTimeoutError)
    thread = Thread.new { client.try_task_if_ready('new', timeout: 5) }
    again = FakeBroker.new(endpoint:)
    request = again.expect('TryTaskIfReady')
    expect(request['task_id']).to eq('new')
    again.reply(request, 'TaskTried', 'ready' => false)
    expect(thread.value).not_to be_ready
  ensure
    again&.stop
  end

  it 'works again in a forked child' do
    calling(-> { client.health_check }) do
      broker.reply(broker.expect('HealthCheck'), 'HealthReport', 'status' => 'ok')
    end
    reader, writer = IO.pipe
    child = fork do
      reader.close
      writer << client.health_check.status
      writer.close
      exit!(0)
    end
    writer.close
    broker.reply(broker.expect('HealthCheck'), 'HealthReport', 'status' => 'from the child')
    expect(reader.read).to eq('from the child')
    expect(Process.wait2(child).last).to be_success
    answer = calling(-> { client.health_check }) do
      broker.reply(broker.expect('HealthCheck'), 'HealthReport', 'status' => 'ok')
    end
    expect(answer).to be_ok
  end

  describe '#subscribe' do
    # A late subscriber gets nothing: publishes until the first event has arrived.
    def publish_until_heard(seen, topic, **fields)
      loop do
        broker.publish(topic, { 'sequence' => 0, 'broker_id' => 'first', 'at_ms' => 1, 'topic' => topic }.merge(fields))
        return Timeout.timeout(0.05) { seen.pop }
      rescue Timeout::Error
        next
      end
    end

    def event(sequence, topic, broker_id = 'b', **fields)
      broker.publish(topic, { 'sequence' => sequence, 'broker_id' => broker_id, 'at_ms' => 1, 'topic' => topic }
        .merge(fields.transform_keys(&:to_s)))
    end

    it 'gives the block events of its topics, with their payload' do
      seen = Thread::Queue.new
      subscription = client.subscribe('event.custom.', 'event.task.') { |event| seen << event }
      publish_until_heard(seen, 'event.task.started')
      event(1, 'event.step.completed')
      event(2, 'event.custom.ns.shipped', task_id: 't', payload: '{"n":18446744073709551616}')
      found = seen.pop
      found = seen.pop while found.topic == 'event.task.started'
      expect(found).to have_attributes(topic: 'event.custom.ns.shipped', task_id: 't', payload: { 'n' => 2**64 })
    ensure
      subscription&.close
    end

    it 'tells gaps, but not that of a new broker' do
      seen = Thread::Queue.new
      subscription = client.subscribe('event.task.', on_gap: ->(missing) { seen << missing }) { |e| seen << e.sequence }
      publish_until_heard(seen, 'event.task.started')
      event(10, 'event.task.started')
      event(11, 'event.step.completed')
      event(12, 'event.task.started')
      event(15, 'event.task.completed')
      event(1, 'event.task.started', 'another')
      heard = []
      heard << seen.pop until heard.last == 1
      heard.shift while heard.first != 10
      expect(heard).to eq([10, 12, 2, 15, 1])
    ensure
      subscription&.close
    end

    it 'survives a block that fails' do
      seen = Thread::Queue.new
      subscription = client.subscribe('event.task.') do |event|
        seen << event
        raise 'oh' if event.sequence == 7
      end
      publish_until_heard(seen, 'event.task.started')
      event(7, 'event.task.started')
      event(8, 'event.task.started')
      found = seen.pop
      found = seen.pop until found.sequence == 8
      expect(log.string).to include('oh')
    ensure
      subscription&.close
    end
  end
end
