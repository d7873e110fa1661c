# frozen_string_literal: true

RSpec.describe TaskerCore::Task do
  let(:broker) { FakeBroker.new }
  let(:client) { TaskerCore::Client.new(broker: broker.endpoint, logger: Logger.new(StringIO.new), timeout: 5) }
  let(:id) { uuid }
  let(:task) { described_class.new(id, client: client) }

  after do
    client.close
    broker.stop
  end

  # Asks in a thread, while the example plays the broker.
  def asking(&block)
    thread = Thread.new(&block)
    thread.report_on_exception = false
    thread
  end

  def summary(state) = { 'task_id' => id, 'namespace' => 'spec', 'name' => 'order', 'state' => state }

  def answer(type, reply, fields)
    request = broker.expect(type)
    broker.reply(request, reply, fields)
    request
  end

  it 'says the state of the task, asked anew each time' do
    states = asking { [task.state, task.finished?, task.complete?, task.finished?] }
    %w[in_progress in_progress complete error].each do |state|
      answer('TaskStatus', 'TaskStatusReport', 'task' => summary(state))
    end
    expect(states.value).to eq(['in_progress', false, true, true])
  end

  it 'has the results of steps that are complete, null among them' do
    results = asking { task.results }
    steps = [{ 'name' => 'a', 'state' => 'complete', 'result' => '{"n":18446744073709551616}' },
             { 'name' => 'b', 'state' => 'complete', 'result' => 'null' },
             { 'name' => 'c', 'state' => 'pending' },
             { 'name' => 'd', 'state' => 'resolved_manually', 'result' => '1' }]
    request = answer('TaskStatus', 'TaskStatusReport', 'task' => summary('in_progress'), 'steps' => steps)
    expect(request['include_results']).to eq(['*'])
    expect(results.value).to eq('a' => { 'n' => 2**64 }, 'b' => nil, 'd' => 1)
    expect(results.value[:a][:n]).to eq(2**64)
  end

  it 'has the result of one step' do
    result = asking { task.result(:a) }
    request = answer('TaskStatus', 'TaskStatusReport',
                     'task' => summary('complete'), 'steps' => [{ 'name' => 'a', 'state' => 'complete',
                                                                  'result' => '[1]' }])
    expect(request['include_results']).to eq(['a'])
    expect(result.value).to eq([1])
  end

  it 'waits until the task has ended, and says nothing when the time was up' do
    states = asking { [task.wait(timeout: 5), task.wait(timeout: 0)] }
    answer('WaitForTask', 'TaskWaited', 'finished' => true, 'task' => summary('error'))
    answer('WaitForTask', 'TaskWaited', 'finished' => false, 'task' => summary('in_progress'))
    expect(states.value).to eq(['error', nil])
  end

  describe 'in a transaction' do
    let(:task) { described_class.new(nil, client: client, template: 'spec/order@1.0.0', key: 'k') }

    it 'is waited for as long as was said while the broker is away' do
      broker.stop
      expect(task.wait(timeout: 0.1)).to be_nil
    end

    it 'is looked for until the broker can say' do
      state = asking { task.wait(timeout: 5) }
      request = broker.expect('FindTask')
      broker.reply(request, 'Error', refusal(request, 'unavailable', retryable: true))
      broker.reply(broker.expect('FindTask'), 'TaskFound', 'task_id' => id, 'template' => 'spec/order@1.0.0')
      answer('WaitForTask', 'TaskWaited', 'finished' => true, 'task' => summary('complete'))
      expect(state.value).to eq('complete')
    end
  end

  it 'cancels, tries again, and settles steps' do
    answers = asking do
      [task.cancel(reason: 'sold out').steps_stopped, task.retry(steps: :a, actor: 'ann').steps,
       task.resolve(:b, result: { ok: true }).step]
    end
    cancel = answer('CancelTask', 'TaskCancelled', 'task_id' => id, 'steps_stopped' => 2, 'steps_cancelled' => 1)
    again = answer('RetryTask', 'TaskRetried', 'task_id' => id, 'steps' => ['a'])
    resolve = answer('ResolveStep', 'StepResolved', 'task_id' => id, 'step' => 'b', 'task_state' => 'complete')
    expect(answers.value).to eq([2, ['a'], 'b'])
    expect(cancel.fields).to include('task_id' => id, 'reason' => 'sold out')
    expect(again.fields).to include('steps' => ['a'], 'actor' => 'ann')
    expect(resolve.fields).to include('step' => 'b', 'result' => '{"ok":true}')
  end

  describe '.find' do
    it 'is the task of that id' do
      found = asking { described_class.find(id, client: client) }
      answer('TaskStatus', 'TaskStatusReport', 'task' => summary('complete'))
      expect(found.value).to eq(task)
      expect(found.value).not_to eq(described_class.new(uuid, client: client))
    end

    it 'raises when there is none' do
      found = asking { described_class.find(id, client: client) }
      request = broker.expect('TaskStatus')
      broker.reply(request, 'Error', refusal(request, 'unknown_task'))
      expect { found.value }.to raise_error(TaskerCore::Errors::UnknownResourceError)
    end
  end
end
