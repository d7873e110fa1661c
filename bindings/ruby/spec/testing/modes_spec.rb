# frozen_string_literal: true

require_relative '../support/without_broker'

RSpec.describe TaskerCore::Testing do
  include_context 'without a broker'

  it 'records tasks and runs nothing in fake mode, until it is told to' do
    described_class.fake!
    task = SpecWorkflows::Order.enqueue(id: 4)
    expect(task.state).to eq('pending')
    expect(task.wait(timeout: 60)).to be_nil
    expect(task.results).to eq({})
    expect(described_class.drain).to eq(6)
    expect(task.state).to eq('complete')
    expect(task.results[:validate]).to eq('total' => 8)
  end

  it 'runs a task where it is enqueued in inline mode' do
    described_class.inline!
    task = SpecWorkflows::Order.enqueue(id: 4)
    expect(task.state).to eq('complete')
    expect(task.wait).to eq('complete')
    expect(task.result(:reserve)).to eq('reserved' => 8, 'from' => 'north')
  end

  it 'lists what was enqueued, as it comes out of JSON' do
    described_class.fake! do
      at = Time.at(2_000_000_000)
      vip = SpecWorkflows::Order.set(priority: 3, tags: [:vip], key: 'k', wait_until: at, correlation_id: 'c')
      vip.set(bypass: :ship).enqueue(id: 4, gateway: :busy)
    end
    task = described_class.enqueued(SpecWorkflows::Order).first
    expect(task.input).to eq('id' => 4, 'gateway' => 'busy')
    expect(task).to have_attributes(template_key: 'spec/order@1.2.0', priority: 3, tags: ['vip'], key: 'k',
                                    run_at: Time.at(2_000_000_000), bypass_steps: ['ship'], correlation_id: 'c')
    expect(described_class.enqueued('spec/order').size).to eq(1)
    expect(described_class.enqueued('spec/order@1.2.0').size).to eq(1)
    expect(described_class.enqueued('spec/other')).to be_empty
  end

  it 'refuses what is no JSON, as the client does' do
    described_class.fake!
    expect { SpecWorkflows::Order.enqueue(id: Object.new) }.to raise_error(TaskerCore::Errors::NotJsonError,
                                                                           /context.id is a Object/)
    expect { TaskerCore.client.initialize_task(namespace: 'spec', name: 'order', contxt: 1) }
      .to raise_error(TaskerCore::ValidationError, /no contxt/)
    expect(described_class.enqueued).to be_empty
  end

  it 'finds tasks by their key, and says which are duplicates' do
    described_class.fake!
    tasks = SpecWorkflows::Order.set(key: ->(input) { input[:id] }).enqueue_all([{ id: 1 }, { id: 2 }, { id: 1 }])
    expect(tasks.map(&:duplicate?)).to eq([false, false, true])
    expect(tasks[2].id).to eq(tasks[0].id)
    expect(described_class.enqueued.size).to eq(2)
  end

  it 'restores the mode after a block, also when that raises' do
    described_class.fake!
    described_class.inline! do
      expect(described_class).to be_inline
      described_class.fake! { expect(described_class).to be_fake }
      expect(described_class).to be_inline
      expect { described_class.disable! { raise 'no' } }.to raise_error('no')
      expect(SpecWorkflows::Order.enqueue(id: 1)).to be_complete
    end
    expect(described_class.mode).to eq(:fake)
    expect(described_class.inline! { 7 }).to eq(7)
  end

  it 'lets the block of one thread be no matter to another' do
    described_class.fake!
    ask = Thread::Queue.new
    answer = Thread::Queue.new
    other = Thread.new { 2.times { ask.pop.then { answer << described_class.mode } } }
    described_class.inline! do
      ask << 1
      expect(answer.pop).to eq(:fake)
    end
    described_class.inline!
    ask << 1
    expect(answer.pop).to eq(:inline)
    other.join
  end

  it 'gives the real client back' do
    real = TaskerCore::Client.new
    TaskerCore.client = real
    described_class.fake!
    expect(TaskerCore.client).not_to equal(real)
    described_class.disable!
    expect(TaskerCore.client).to equal(real)
    described_class.fake! { nil }
    expect(TaskerCore.client.__getobj__).to equal(real)
    described_class.disable!
    expect(TaskerCore.client).to equal(real)
  end

  it 'goes to the broker where it is disabled, and keeps its own tasks' do
    broker = FakeBroker.new
    TaskerCore.client = TaskerCore::Client.new(broker: broker.endpoint, timeout: 5)
    task = described_class.inline! { SpecWorkflows::Order.enqueue(id: 1) }
    expect(task).to be_complete
    listing = Thread.new { TaskerCore.client.list_tasks }
    broker.reply(broker.expect('ListTasks'), 'TaskList', 'tasks' => [])
    expect(listing.value).to eq([])
    expect(TaskerCore.client.respond_to?(:subscribe)).to be(true)
    TaskerCore.client.close
    broker.stop
  end

  it 'forgets everything but loaded templates' do
    described_class.fake!
    file = File.expand_path('../../../../examples/linear_workflow/template.yaml', __dir__)
    expect(described_class.load_templates(file)).to eq(['linear_workflow/mathematical_sequence@1.0.0'])
    SpecWorkflows::Order.enqueue(id: 1)
    described_class.travel(60)
    described_class.clear
    expect(described_class.enqueued).to be_empty
    expect(described_class.now).to be_within(5).of(Time.now)
    names = TaskerCore.client.list_templates.map(&:name)
    expect(names).to include('mathematical_sequence')
    expect(names).not_to include('order')
  end

  it 'says which template it does not know' do
    described_class.fake!
    expect { TaskerCore.client.initialize_task(namespace: 'no', name: 'such') }
      .to raise_error(TaskerCore::Errors::UnknownResourceError, /load_templates/) { |e|
            expect(e.code).to eq('unknown_template')
          }
    expect { described_class.load_templates('no/such/file') }.to raise_error(TaskerCore::ConfigurationError)
  end

  it 'enqueues after the commit when that is asked for' do
    described_class.inline!
    after_commit = []
    adapter = Object.new
    adapter.define_singleton_method(:tells_of_commit?) { true }
    adapter.define_singleton_method(:after_commit) { |&block| after_commit << block }
    allow(TaskerCore::Inbox).to receive(:for).and_return(TaskerCore::Inbox.new(adapter, :any))
    task = SpecWorkflows::Order.enqueue({ id: 4 }, transactional: true)
    expect(task.id).to be_nil
    expect(described_class.enqueued).to be_empty
    after_commit.each(&:call)
    expect(task).to be_complete
    expect(TaskerCore.client).not_to respond_to(:announce_tasks)
  end

  it 'finds a task by its key' do
    described_class.inline!
    task = SpecWorkflows::Order.set(key: 'k').enqueue(id: 4)
    expect(TaskerCore.client.find_task(namespace: 'spec', name: 'order', idempotency_key: 'k').task_id).to eq(task.id)
    expect { TaskerCore.client.find_task(namespace: 'spec', name: 'order', idempotency_key: 'x') }
      .to raise_error(TaskerCore::Errors::UnknownResourceError)
  end

  it 'runs the handlers of the present, whichever a template of that name had before' do
    handled = []
    TaskerCore.register_handler('ModesSpec::Note') { handled << 1 }
    %w[One Two].each do |name|
      handler = Class.new(TaskerCore::TaskHandler::Base)
      handler.define_method(:initialize_task) { |request| request.tap { handled << name } }
      TaskerCore.register_handler("ModesSpec::#{name}", handler)
      described_class.inline!
      TaskerCore.client.register_template("{namespace_name: spec, name: t, version: 1.0.0, task_handler_class: \
        ModesSpec::#{name}, step_templates: [{name: a, handler_class: ModesSpec::Note}]}")
      TaskerCore.client.initialize_task(namespace: 'spec', name: 't')
      described_class.clear
    end
    expect(handled).to eq(['One', 1, 'Two', 1])
  end

  it 'takes requests of many threads' do
    described_class.inline!
    threads = Array.new(8) { |n| Thread.new { Array.new(20) { |m| SpecWorkflows::Order.enqueue(id: (n * 20) + m) } } }
    tasks = threads.flat_map(&:value)
    expect(tasks.map(&:state).uniq).to eq(['complete'])
    expect(described_class.enqueued.map { |task| task.input[:id] }.sort).to eq((0...160).to_a)
  end
end
