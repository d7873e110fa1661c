# frozen_string_literal: true

require_relative '../support/without_broker'

# What handlers of these specs do.
module EngineSpec
  class Flaky < TaskerCore::Workflow
    namespace :spec
    step :call, attempts: 3, backoff: { kind: :linear, base_seconds: 10, cap_seconds: 15 }
    step(:after, after: :call) { 'done' }

    def call
      raise TaskerCore::RetryableError.new('busy', retry_after: ctx.input[:after]) if ctx.attempt <= ctx.input[:fails]

      ctx.attempt
    end
  end

  # Two branches; what either does is told by the input.
  class Branches < TaskerCore::Workflow
    namespace :spec
    input_defaults({ left: { fail: false, by: 'defaults' } })
    step(:left) { |ctx| ctx.input[:left][:fail] ? ctx.fail!('left is out', code: 'OUT') : ctx.input[:left][:by] }
    step(:right) { 'right' }
    step(:right_child, after: :right) { |ctx| ctx.results[:right] }
    step(:join, after: %i[left right_child], skippable: true) { |ctx| ctx.results.to_h }
  end

  # Enqueues others while it runs, and looks further back than its parents.
  class Parent < TaskerCore::Workflow
    namespace :spec
    step(:first) { { child: Branches.enqueue.id } }
    step(:second, after: :first) { |ctx| TaskerCore::Task.find(ctx.results[:first][:child]).state }
    step(:third, after: :second) { |ctx| [ctx.results[:first][:child], ctx.results[:second]] }
  end

  class Traced < TaskerCore::Workflow
    namespace :spec
    step(:look) do
      [TaskerCore::TraceContext.current.traceparent, TaskerCore::Execution::Attempt.current.step.name]
    end
  end

  class Reports < TaskerCore::Workflow
    namespace :spec
    step(:count) { |ctx| 3.times { |n| ctx.progress(done: n) } }
  end

  class Raises < TaskerCore::Workflow
    namespace :spec
    step(:look) { RSpec::Expectations.fail_with('an expectation in a handler') if ctx.input[:fail] }
  end

  class Cancels < TaskerCore::Workflow
    namespace :spec
    step(:one) do |ctx|
      TaskerCore.client.cancel_task(ctx.task_id)
      ctx.cancelled?
    end
    step(:two, after: :one) { 2 }
  end
end

RSpec.describe TaskerCore::Testing, 'inline' do
  include_context 'without a broker'

  around { |example| described_class.inline!(&example) }

  def attempts(task) = task.status(steps: true).step(:call).attempts

  it 'waits for the next attempt as long as the template says' do
    task = EngineSpec::Flaky.enqueue(fails: 2)
    expect(task.state).to eq('in_progress')
    expect(task.status(steps: true).step(:call)).to have_attributes(state: 'waiting_for_retry', attempts: 1)
    described_class.travel(9)
    expect(attempts(task)).to eq(1)
    described_class.travel(1)
    expect(attempts(task)).to eq(2)
    described_class.travel(14)
    expect(attempts(task)).to eq(2)
    described_class.travel(1)
    expect(task.state).to eq('complete')
    expect(task.results).to eq('call' => 3, 'after' => 'done')
  end

  it 'runs steps in the trace of the request' do
    trace = TaskerCore::TraceContext.generate
    task = TaskerCore::TraceContext.with(trace) { EngineSpec::Traced.enqueue }
    expect(task.results).to eq('look' => [trace.traceparent, 'look'])
    expect(TaskerCore::Execution::Attempt.current).to be_nil
  end

  it 'waits for as long as the error says' do
    task = EngineSpec::Flaky.enqueue(fails: 1, after: 3600)
    described_class.travel(3599)
    expect(attempts(task)).to eq(1)
    described_class.travel(1)
    expect(attempts(task)).to eq(2)
  end

  it 'ends in error after the last attempt, and begins anew when told to' do
    task = EngineSpec::Flaky.enqueue(fails: 3)
    expect(task.wait(timeout: 24)).to be_nil
    expect(attempts(task)).to eq(2)
    expect(task.wait(timeout: 60)).to eq('error')
    expect(attempts(task)).to eq(3)
    expect(task.retry.steps).to eq(['call'])
    expect(task.status(steps: true).step(:call)).to have_attributes(attempts: 4, retry_limit: 6)
    expect(task.state).to eq('complete')
  end

  it 'gives as many attempts as at first when told to begin anew' do
    task = EngineSpec::Flaky.enqueue(fails: 5)
    expect(task.wait(timeout: 60)).to eq('error')
    task.retry
    expect(task.wait(timeout: 60)).to eq('complete')
    expect(task.result(:call)).to eq(6)
    task = EngineSpec::Flaky.enqueue(fails: 6)
    expect(task.wait(timeout: 60)).to eq('error')
    task.retry
    expect(task.wait(timeout: 60)).to eq('error')
    expect(attempts(task)).to eq(6)
  end

  it 'follows a clock that others have moved' do
    task = EngineSpec::Flaky.enqueue(fails: 1, after: 600)
    later = Time.now + 601
    allow(Time).to receive(:now).and_return(later)
    expect(task.state).to eq('complete')
  end

  it 'starts a task when its time has come' do
    task = EngineSpec::Flaky.set(wait: 3600).enqueue(fails: 0)
    expect(task.state).to eq('pending')
    described_class.travel_to(Time.now + 3590)
    expect(task.state).to eq('pending')
    described_class.travel_to(Time.now + 3601)
    expect(task.state).to eq('complete')
    again = EngineSpec::Flaky.set(wait: 60).enqueue(fails: 0)
    expect(again.state).to eq('pending')
    expect(again.wait(timeout: 61)).to eq('complete')
  end

  it 'is not set back by what runs on the way' do
    late = nil
    TaskerCore.register_handler('EngineSpec::Late') do
      late = Time.now + 0.05
      nil until Time.now >= late
    end
    TaskerCore.client.register_template(<<~YAML)
      namespace_name: spec
      name: late
      version: 1.0.0
      step_templates: [{ name: a, handler_class: EngineSpec::Late }]
    YAML
    start = Time.now
    TaskerCore.client.initialize_task(namespace: 'spec', name: 'late', run_at: start + 60)
    described_class.travel_to(start + 60)
    expect(described_class.enqueued.first.finished_at).to be_between(start + 60.04, described_class.now)
  end

  it 'is as late as before when the block of a journey ends' do
    expect(described_class.travel(3600) { described_class.now }).to be_within(5).of(Time.now + 3600)
    expect(described_class.now).to be_within(5).of(Time.now)
  end

  it 'runs in order of time, up to a time, and one workflow only' do
    order = []
    TaskerCore.register_handler('EngineSpec::Note') { |task| order << task.context[:n] }
    TaskerCore.client.register_template(<<~YAML)
      namespace_name: spec
      name: note
      version: 1.0.0
      step_templates: [{ name: a, handler_class: EngineSpec::Note }]
    YAML
    described_class.fake! do
      start = Time.now
      [30, 10, 20].each do |n|
        TaskerCore.client.initialize_task(namespace: 'spec', name: 'note', context: { n: n }, run_at: start + n)
      end
      other = EngineSpec::Flaky.enqueue(fails: 0)
      expect(described_class.drain('spec/note', until: start + 20)).to eq(2)
      expect(order).to eq([10, 20])
      expect(described_class.drain('spec/note')).to eq(1)
      expect(other.state).to eq('pending')
      expect(described_class.drain(EngineSpec::Flaky)).to eq(2)
      expect(described_class.drain).to eq(0)
    end
  end

  it 'finishes independent branches when one fails' do
    task = EngineSpec::Branches.enqueue(left: { fail: true })
    expect(task.state).to eq('error')
    steps = task.status(steps: true).steps.to_h { |step| [step.name, step.state] }
    expect(steps).to eq('left' => 'error', 'right' => 'complete', 'right_child' => 'complete', 'join' => 'pending')
    expect(task.status(steps: true).step(:left)).to have_attributes(error_class: 'TaskerCore::Errors::PermanentError',
                                                                    error_message: 'left is out', error_code: 'OUT')
    expect(task.status.task).to have_attributes(execution_status: 'blocked_by_failures', completion_percentage: 50.0,
                                                recommended_action: 'handle_failures', health: 'blocked')
    task.resolve(:left, result: { by: :hand })
    expect(task.state).to eq('resolved_manually')
    expect(task.result(:join)).to eq('left' => { 'by' => 'hand' }, 'right_child' => 'right')
  end

  it 'lays defaults under the input, map by map' do
    expect(EngineSpec::Branches.enqueue(left: { x: 1 }).result(:left)).to eq('defaults')
    expect(EngineSpec::Branches.enqueue(left: { by: 'me' }).result(:left)).to eq('me')
  end

  it 'leaves out the steps that a request bypasses' do
    task = EngineSpec::Branches.set(bypass: :join).enqueue
    expect(task.state).to eq('complete')
    expect(task.results[:join]).to be_nil
    expect { EngineSpec::Branches.set(bypass: :left).enqueue }
      .to raise_error(TaskerCore::Errors::InvalidCommandError, /left of .* is not skippable/)
    expect { EngineSpec::Branches.set(bypass: :up).enqueue }
      .to raise_error(TaskerCore::Errors::UnknownResourceError, /no step up/)
  end

  it 'lets handlers enqueue, ask, and look further back' do
    task = EngineSpec::Parent.enqueue
    child = task.result(:first)[:child]
    expect(task.result(:third)).to eq([child, 'complete'])
  end

  it 'runs thousands of steps and tasks without ado' do
    steps = Array.new(1000) do |n|
      { 'name' => "s#{n}", 'handler_class' => 'EngineSpec::Count', 'depends_on_steps' => n.zero? ? [] : ["s#{n - 1}"] }
    end
    count = 0
    TaskerCore.register_handler('EngineSpec::Count') { count += 1 }
    template = { 'namespace_name' => 'spec', 'name' => 'long', 'version' => '1.0.0', 'step_templates' => steps }
    TaskerCore.client.register_template(template.to_yaml)
    TaskerCore.client.initialize_task(namespace: 'spec', name: 'long')
    expect(count).to eq(1000)
    described_class.fake! { EngineSpec::Flaky.enqueue_all(Array.new(500) { { fails: 0 } }) }
    expect(described_class.drain).to eq(1000)
  end

  it 'lets failed expectations through, and the step as it was' do
    expect { EngineSpec::Raises.enqueue(fail: true) }
      .to raise_error(RSpec::Expectations::ExpectationNotMetError, 'an expectation in a handler')
    expect(described_class.enqueued.first.step(:look)).to have_attributes(state: 'pending', attempts: 0)
    expect(EngineSpec::Raises.enqueue).to be_complete
  end

  it 'cancels, also from a handler' do
    task = EngineSpec::Cancels.enqueue
    expect(task.state).to eq('cancelled')
    expect(task.status(steps: true).steps.map(&:state)).to eq(%w[cancelled cancelled])
    expect { task.retry }.to raise_error(TaskerCore::Errors::ConflictError, /has ended as cancelled/)
    waiting = EngineSpec::Flaky.set(wait: 60).enqueue(fails: 0)
    expect(waiting.cancel).to have_attributes(steps_stopped: 0, steps_cancelled: 2)
    expect(described_class.drain).to eq(0)
  end

  it 'has the events that steps publish' do
    task = SpecWorkflows::Order.enqueue(id: 4)
    expect(described_class.events.map(&:to_h))
      .to match([hash_including('topic' => 'event.custom.spec.shipped', 'task_id' => task.id, 'step' => 'ship',
                                'payload' => { 'id' => 4 })])
    expect { TaskerCore.client.subscribe { nil } }.to raise_error(TaskerCore::ConfigurationError, /Testing.events/)
  end

  it 'has what a step said last of its progress' do
    task = EngineSpec::Reports.enqueue
    expect(described_class.enqueued.first.step(:count).progress).to eq('done' => 2)
    expect(task.status(steps: true).step(:count).progress).to be_nil
  end

  it 'lists, finds and describes like a broker' do
    tasks = [EngineSpec::Branches.set(tags: 'x').enqueue, EngineSpec::Flaky.set(key: 'k').enqueue(fails: 9)]
    client = TaskerCore.client
    expect(client.list_tasks.map(&:task_id)).to eq(tasks.map(&:id).reverse)
    expect(client.list_tasks(state: 'complete').map(&:task_id)).to eq([tasks[0].id])
    expect(client.list_tasks(tag: 'x', before: tasks[1].id).size).to eq(1)
    expect(client.list_tasks(name: 'flaky', namespace: 'spec').size).to eq(1)
    expect(client.try_task_if_ready(tasks[1].id)).to have_attributes(ready?: false, state: 'in_progress')
    expect(client.health_check).to be_ok
    expect(client.list_workers).to eq([])
    expect(client.show_template('spec/flaky').template.steps).to eq(2)
    expect { TaskerCore::Task.find('00000000-0000-0000-0000-000000000000') }
      .to raise_error(TaskerCore::Errors::UnknownResourceError)
  end

  {
    'steps wait for each other: a, b' => "- {name: a, handler_class: A, depends_on_step: b}\n" \
                                         '- {name: b, handler_class: A, depends_on_step: a}',
    'step a depends on x, which is not a step' => '- {name: a, handler_class: A, depends_on_step: x}',
    'step_templates[0]: unknown key handler' => '- {name: a, handler: A}',
    'step_templates[0]: handler_class is missing' => '- {name: a}',
    'step a was given before' => "- {name: a, handler_class: A}\n- {name: a, handler_class: A}",
    'retry_backoff is none of exponential' => '- {name: a, handler_class: A, retry_backoff: cubic}'
  }.each do |message, steps|
    it "refuses a template: #{message}" do
      yaml = "namespace_name: spec\nname: bad\nversion: 1.0.0\nstep_templates:\n#{steps}"
      expect { TaskerCore.client.register_template(yaml, source: 'bad.yaml') }
        .to raise_error(TaskerCore::Errors::InvalidCommandError, /bad.yaml: .*#{Regexp.escape(message)}/)
    end
  end

  it 'lays what is said for this environment over a template' do
    allow(TaskerCore.configuration).to receive(:environment).and_return('test')
    TaskerCore.register_handler('EngineSpec::Config') { |task, _, step| [step.retry_limit, step.inputs, task.context] }
    TaskerCore.client.register_template(<<~YAML)
      namespace_name: spec
      name: over
      version: 1.0.0
      default_context: { at: { a: 1, b: 1 } }
      step_templates:
        - { name: one, handler_class: EngineSpec::Config, handler_config: { x: { y: 1, z: 1 } } }
        - { name: two, handler_class: EngineSpec::Config, default_retry_limit: 9 }
      environments:
        test:
          default_context: { at: { b: 2 } }
          step_templates: [{ name: two, default_retry_limit: 8, handler_config: { y: 1 } }]
          step_overrides: { one: { retry_limit: 5, handler_config: { x: { z: 2 } } }, two: { retry_limit: 7 } }
        production:
          step_overrides: { one: { retry_limit: 6 } }
    YAML
    id = TaskerCore.client.initialize_task(namespace: 'spec', name: 'over', context: { at: { c: 3 } }).task_id
    at = { 'at' => { 'a' => 1, 'b' => 2, 'c' => 3 } }
    expect(TaskerCore.client.task_status(id, results: :all).results)
      .to eq('one' => [5, { 'x' => { 'y' => 1, 'z' => 2 } }, at], 'two' => [7, { 'y' => 1 }, at])
  end

  it 'waits until a date, and longer after each failure' do
    task = EngineSpec::Flaky.enqueue(fails: 1, after: (Time.now + 100).httpdate)
    expect(task.wait(timeout: 90)).to be_nil
    expect(task.wait(timeout: 11)).to eq('complete')
    backoff = TaskerCore::Testing::Backoff
    waits = ->(given) { (1..4).map { |attempt| backoff.new(given).delay(attempt) } }
    expect(waits.call(nil)).to eq([1, 2, 4, 8])
    expect(waits.call('linear')).to eq([1, 2, 3, 4])
    expect(waits.call('kind' => 'fixed', 'base_seconds' => 0.5)).to eq([0.5] * 4)
    expect(waits.call('base_seconds' => 100)).to eq([100, 200, 300, 300])
    expect(backoff.asked('86401')).to eq(86_400)
    expect(backoff.asked('soon')).to be_nil
  end

  it 'refuses another content under the same version' do
    yaml = "namespace_name: spec\nname: t\nversion: 1.0.0\nstep_templates: [{name: a, handler_class: A}]"
    expect(TaskerCore.client.register_template(yaml).created).to be(true)
    expect(TaskerCore.client.register_template(yaml).created).to be(false)
    expect { TaskerCore.client.register_template("#{yaml}\n") }.to raise_error(TaskerCore::Errors::ConflictError)
  end
end
