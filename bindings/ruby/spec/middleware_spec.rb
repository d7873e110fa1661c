# frozen_string_literal: true

module SpecMiddleware
  # Notes what passes.
  class Notes
    def self.log = @log ||= []

    def initialize(name = self.class.name[/\w+\z/], suffix: '')
      @name = "#{name}#{suffix}"
    end

    def call(subject)
      Notes.log << [@name, :before, self]
      yield.tap { |value| Notes.log << [@name, value, subject] }
    end
  end

  One = Class.new(Notes)
  Two = Class.new(Notes)
  Three = Class.new(Notes)
end

RSpec.describe TaskerCore::Middleware::Chain do
  include Attempts

  one = SpecMiddleware::One
  two = SpecMiddleware::Two
  three = SpecMiddleware::Three
  notes = SpecMiddleware::Notes

  let(:chain) { described_class.new }

  before { notes.log.clear }

  define_method(:order) { notes.log.map(&:first) }

  it 'keeps the order that it is told' do
    chain.add(two).prepend(one).insert_after(two, three)
    expect(chain.entries.map(&:klass)).to eq([one, two, three])
    expect(chain.include?(two)).to be(true)

    chain.insert_before(one, three)
    expect(chain.entries.map(&:klass)).to eq([three, one, two])
    chain.add(three).remove(one)
    expect(chain.entries.map(&:klass)).to eq([two, three])
    expect(chain.clear).to be_empty
  end

  it 'goes to an end where the other one is not there' do
    chain.add(two).insert_before(notes, one).insert_after(notes, three)
    expect(chain.map(&:klass)).to eq([one, two, three])
  end

  it 'refuses what cannot be called', :ill_typed do
    expect { chain.add(Class.new) }.to raise_error(TaskerCore::ConfigurationError, /method call/)
    expect { chain.add(notes.new) }.to raise_error(TaskerCore::ConfigurationError, /cannot be middleware/)
  end

  describe 'around a step' do
    let(:chain) { configuration.worker_middleware }

    it 'runs from the outermost to the handler, with new instances and their arguments' do
      chain.add(one, 'outer', suffix: '!').add(two)
      jobs = Array.new(2) { run_step { |task, _, _| task.context[:n] } }
      expect(jobs.map { |job| job.outcome['result'] }).to eq(%w[7 7])
      expect(order).to eq(%w[outer! Two Two outer!] * 2)
      expect(notes.log.filter_map { |_, when_, link| link if when_ == :before }.uniq.size).to eq(4)
      expect(notes.log.last[1..]).to match([7, have_attributes(task: jobs.last.task, step: jobs.last.step)])
    end

    it 'makes the handler within, so that code can be loaded anew before' do
      made = []
      chain.add(Class.new do
        define_method(:call) do |_, &block|
          made << :middleware
          block.call
        end
      end)
      run_step(Class.new do
        define_method(:initialize) { made << :handler }
        def call = 1
      end)
      expect(made).to eq(%i[middleware handler])
    end

    def middleware(&body)
      chain.add(Class.new { define_method(:call) { |attempt, &block| body.call(attempt, block) } })
    end

    it 'leaves the result to the handler' do
      middleware do |_, block|
        block.call
        :other
      end
      expect(run_step { 1 }.outcome['result']).to eq('1')
    end

    it 'takes the place of a handler that is not called, or whose error is rescued' do
      middleware { |attempt, _| "no #{attempt.step.name}" }
      expect(run_step { raise 'called' }.outcome['result']).to eq('"no a"')
      chain.clear
      middleware do |_, block|
        block.call
      rescue RuntimeError => e
        e.message
      end
      expect(run_step { raise 'mended' }.outcome['result']).to eq('"mended"')
    end

    it 'fails the step with what it raises' do
      middleware { raise TaskerCore::PermanentError, 'not here' }
      expect(run_step { 1 }.outcome['error']).to include('message' => 'not here', 'retryable' => false)
    end

    it 'sees what the handler raises' do
      seen = nil
      middleware do |_, block|
        block.call
      rescue StandardError => e
        seen = e
        raise
      end
      expect(run_step { raise 'broken' }.outcome['error']).to include('message' => 'broken')
      expect(seen.message).to eq('broken')
    end
  end

  describe 'around a request' do
    let(:broker) { FakeBroker.new }
    let(:client) { TaskerCore::Client.new(broker: broker.endpoint, timeout: 5, skip_task_handlers: true) }
    let(:chain) { TaskerCore.configuration.client_middleware }

    after do
      chain.clear
      client.close
      broker.stop
    end

    def middleware(&body)
      chain.add(Class.new { define_method(:call) { |request, &block| body.call(request, block) } })
    end

    # @return [Array<Hash>] what was sent
    def accepted(ids)
      request = broker.expect('InitializeTask')
      rows = ids.map { |id| { 'task_id' => id, 'template' => 'ns/flow@1.0.0', 'steps' => [] } }
      broker.reply(request, 'TasksInitialized', 'tasks' => rows)
      request['tasks']
    end

    def request(**fields) = { namespace: 'ns', name: 'flow', **fields }

    it 'may change it, and sees what becomes of it' do
      chain.add(one)
      middleware do |request, block|
        request['tags'] = ['vip']
        request[:context][:tenant] = 3
        block.call
      end
      task = Thread.new { client.initialize_task(**request(context: { n: 1 })) }
      expect(accepted(['t'])).to match([include('tags' => ['vip'], 'context' => '{"n":1,"tenant":3}')])
      expect(task.value.task_id).to eq('t')
      expect(notes.log.last).to match(['One', have_attributes(task_id: 't'), include('tags' => ['vip'])])
    end

    it 'is there for each of several requests, before they go together' do
      middleware do |request, block|
        raise TaskerCore::ValidationError.new('no', field: 'n') if request[:context][:n] == 2

        expect(block.call).to be_nil
      end
      tasks = Thread.new { client.initialize_tasks([1, 2, 3].map { |n| request(context: { n: n }) }) }
      expect(accepted(%w[t u]).map { |task| task['context'] }).to eq(['{"n":1}', '{"n":3}'])
      expect(tasks.value.map(&:task_id)).to eq(['t', nil, 'u'])
      expect(tasks.value[1].error).to have_attributes(class: TaskerCore::ValidationError, field: 'n')
    end

    it 'may answer by itself' do
      known = TaskerCore::Types::TaskInitialized.from('task_id' => 'known')
      middleware { known }
      expect(client.initialize_task(**request)).to be(known)
      expect(client.initialize_tasks([request, request])).to eq([known, known])
    end

    it 'refuses what it does not let pass' do
      middleware { nil }
      expect { client.initialize_task(**request) }.to raise_error(TaskerCore::PermanentError, /kept the request/)
      expect(client.initialize_tasks([request]).first.error).to be_a(TaskerCore::PermanentError)
      expect(client.initialize_tasks([request, request]).map { |outcome| outcome.error.class })
        .to eq([TaskerCore::PermanentError] * 2)
    end
  end

  it 'knows the attempt that a thread runs, in each of its fibers' do
    current = TaskerCore::Execution::Attempt.method(:current)
    job = run_step { [current.call.step.name, Fiber.new { current.call.step.name }.resume] }
    expect(job.outcome['result']).to eq('["a","a"]')
    expect(current.call).to be_nil
  end
end
