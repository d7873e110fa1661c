# frozen_string_literal: true

require 'pg'
require_relative '../support/test_broker'
require_relative '../support/without_broker'

# One client, made before the forks, in five processes with twenty threads each.
RSpec.describe TaskerCore::Workflow, '#enqueue' do
  include_context 'without a broker'

  before { TestBroker.shared }

  # Not to be run by what other examples start.
  def later = SpecWorkflows::Order.set(wait: 86_400)

  # Half one by one, half a hundred in a message.
  def enqueue_all(numbers)
    Array.new(20) do |thread|
      mine = numbers.each_slice(numbers.size / 20).to_a[thread]
      Thread.new do
        single, many = mine.each_slice(mine.size / 2).to_a
        tasks = single.map { |n| later.enqueue(id: n) }
        tasks + many.each_slice(25).flat_map { |slice| later.enqueue_all(slice.map { |n| { id: n } }) }
      end
    end.flat_map(&:value)
  end

  it 'makes each of 10,000 tasks once, from 20 threads in each of 5 processes' do
    TaskerCore.client = TestBroker.shared.client
    first = later.enqueue(id: 0)
    groups = (1..10_000).each_slice(2_000).to_a
    children = groups.drop(1).map do |numbers|
      fork { exit!(enqueue_all(numbers).count(&:enqueued?) == numbers.size) }
    end
    ids = enqueue_all(groups.first).map(&:id)
    expect(ids.uniq.size).to eq(2_000)
    expect(children.map { |child| Process.wait2(child).last.exitstatus }).to eq([0] * 4)

    database = PG.connect(TestBroker.shared.database_url)
    found = database.exec_params("SELECT context->>'id' FROM tasker.tasks WHERE created_seq >= " \
                                 '(SELECT created_seq FROM tasker.tasks WHERE task_id = $1)', [first.id])
    expect(found.column_values(0).map(&:to_i).sort).to eq((0..10_000).to_a)
  end
end
