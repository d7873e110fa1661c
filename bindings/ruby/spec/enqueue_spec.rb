# frozen_string_literal: true

require_relative 'support/workflows'

RSpec.describe TaskerCore::Workflow::Submission do
  let(:broker) { FakeBroker.new }
  let(:client) { TaskerCore::Client.new(broker: broker.endpoint, logger: Logger.new(StringIO.new), timeout: 5) }
  let(:workflow) { SpecWorkflows::Order }
  let(:ids) { Array.new(3) { uuid } }

  before { TaskerCore.client = client }

  after do
    TaskerCore.client = nil
    client.close
    broker.stop
  end

  # Runs the block in a thread, as the application would, while the example plays the broker.
  def enqueueing(&block)
    thread = Thread.new(&block)
    thread.report_on_exception = false
    thread
  end

  def accept(request, ids, **fields)
    rows = ids.map { |id| { 'task_id' => id, 'template' => 'spec/order@1.2.0', 'steps' => [] }.merge(fields) }
    broker.reply(request, 'TasksInitialized', 'tasks' => rows)
  end

  def refuse(request, code) = broker.reply(request, 'TasksInitialized', 'tasks' => [{ 'error' => refusal({}, code) }])

  it 'asks for exactly the version of the class, under a key of its own' do
    task = enqueueing { workflow.enqueue(id: 2**64, name: :x) }
    request = broker.expect('InitializeTask')
    expect(request['tasks']).to match([{ 'namespace' => 'spec', 'name' => 'order', 'version' => '1.2.0',
                                         'context' => '{"id":18446744073709551616,"name":"x"}',
                                         'idempotency_key' => /\A\h{8}-/ }])
    accept(request, ids.first(1))
    expect(task.value).to have_attributes(id: ids.first, template: 'spec/order@1.2.0', error: nil, duplicate?: false,
                                          key: request['tasks'].first['idempotency_key'])
  end

  it 'sends what was set' do
    task = enqueueing do
      workflow.set(priority: 5, tags: 'vip', key: ->(input) { "order-#{input[:id]}" }).set(wait_until: Time.at(9))
        .set(bypass: :ship, reason: 'test').enqueue({ id: 1 })
    end
    request = broker.expect('InitializeTask')
    expect(request['tasks'].first).to include('priority' => 5, 'tags' => ['vip'], 'idempotency_key' => 'order-1',
                                              'run_at_ms' => 9000, 'bypass_steps' => ['ship'], 'reason' => 'test')
    accept(request, ids.first(1), 'duplicate' => true)
    expect(task.value).to be_duplicate
  end

  it 'registers the template when the broker does not know it, and asks again' do
    task = enqueueing { workflow.enqueue(id: 1) }
    first = broker.expect('InitializeTask')
    refuse(first, 'unknown_version')
    registration = broker.expect('RegisterTemplate')
    expect(registration.fields).to include('yaml' => workflow.template.to_yaml, 'source' => 'SpecWorkflows::Order')
    broker.reply(registration, 'TemplateRegistered', 'template' => 'spec/order@1.2.0', 'created' => true, 'steps' => 6)
    again = broker.expect('InitializeTask')
    expect(again['tasks']).to eq(first['tasks'])
    accept(again, ids.first(1))
    expect(task.value.id).to eq(ids.first)
  end

  it 'raises what the broker refuses' do
    task = enqueueing { workflow.enqueue(id: 1) }
    refuse(broker.expect('InitializeTask'), 'invalid_context')
    expect { task.value }.to raise_error(TaskerCore::Errors::InvalidCommandError)
  end

  it 'raises within the time-out when there is no broker' do
    expect { workflow.set(timeout: 0.05).enqueue(id: 1) }
      .to raise_error(TaskerCore::Errors::RequestTimeoutError, 'no reply to InitializeTask in 0.05 s')
  end

  it 'enqueues many in one message, each with its own outcome' do
    tasks = enqueueing { workflow.enqueue_all([{ id: 1 }, { id: Float::NAN }, { id: 3 }, { id: 4 }]) }
    request = broker.expect('InitializeTask')
    contexts = request['tasks'].map { |task| task['context'] }
    expect(contexts).to eq(%w[{"id":1} {"id":3} {"id":4}])
    broker.reply(request, 'TasksInitialized',
                 'tasks' => [{ 'task_id' => ids[0] }, { 'error' => refusal({}, 'overloaded') },
                             { 'task_id' => ids[2] }])
    expect(tasks.value.map(&:enqueued?)).to eq([true, false, false, true])
    expect(tasks.value.map { |task| task.error.class.name&.split('::')&.last })
      .to eq(%w[NilClass NotJsonError UnavailableError NilClass])
    expect(tasks.value.last.id).to eq(ids[2])
    expect { tasks.value[1].id }.to raise_error(TaskerCore::Errors::NotJsonError, /context.id is NaN/)
  end

  it 'sends a thousand in a message, and as many bytes as fit' do
    tasks = enqueueing { workflow.enqueue_all(Array.new(1001) { |index| { id: index } }) }
    sizes = Array.new(2) do
      request = broker.expect('InitializeTask')
      accept(request, request['tasks'].map { uuid })
      request['tasks'].size
    end
    expect(sizes).to eq([1000, 1])
    expect(tasks.value.map(&:id).uniq.size).to eq(1001)

    big = enqueueing { workflow.enqueue_all(Array.new(3) { { text: 'x' * 3_000_000 } }) }
    sizes = Array.new(2) do
      request = broker.expect('InitializeTask')
      accept(request, request['tasks'].map { uuid })
      request['tasks'].size
    end
    expect(sizes).to eq([2, 1])
    expect(big.value.map(&:enqueued?)).to all(be(true))
  end

  it 'refuses input that is no Hash, given twice, or two times to start', :ill_typed do
    expect { workflow.enqueue([1]) }.to raise_error(ArgumentError, /has to be a Hash, not a Array/)
    expect { workflow.enqueue({ id: 1 }, other: 2) }.to raise_error(ArgumentError, /as one Hash, or as keywords/)
    expect { workflow.set(wait: 1, wait_until: Time.now) }.to raise_error(ArgumentError, /exclude each other/)
    expect(workflow.enqueue_all([])).to eq([])
  end
end
