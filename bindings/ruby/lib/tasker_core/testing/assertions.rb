# frozen_string_literal: true

require_relative '../testing'
require_relative 'expected_count'
require_relative 'selection'
require_relative 'task_report'

module TaskerCore
  module Testing
    # Assertions for Minitest.
    #
    #     class ActiveSupport::TestCase
    #       include TaskerCore::Testing::Assertions
    #       setup { TaskerCore::Testing.fake! }
    #       teardown { TaskerCore::Testing.clear }
    #     end
    module Assertions
      # Asserts that the block, or the test so far, has enqueued tasks of a workflow.
      #
      #     assert_enqueued_workflow(OrderFulfillment, with: { order_id: 7 }, tags: %w[vip]) { place_order }
      #
      # @param workflow [Class, String] the class, `namespace/name`, or `namespace/name@version`
      # @param with [Hash, #===, nil] the whole input, or something that has `===`
      # @param times [Integer] how many
      # @param options [Hash] how it was enqueued, as {Workflow::Enqueuing#set} says it
      # @return [Array<TaskRun>] the tasks
      def assert_enqueued_workflow(workflow, with: nil, times: 1, **options)
        selection = Selection.new(workflow, { input: with, **options }.compact)
        before = block_given? ? Testing.enqueued : []
        yield if block_given?
        tasks = Testing.enqueued - before
        found = selection.of(tasks)
        shown = selection.of_workflow(tasks).map { |task| "\n  #{selection.show(task)}" }
        assert_equal(times, found.size, "expected #{selection} to be enqueued #{ExpectedCount.times(times)}; of this " \
                                        "workflow #{shown.empty? ? 'was nothing' : "were:#{shown.join}"}")
        found
      end

      # Asserts that the block, or the test so far, has enqueued no task of a workflow.
      # @param workflow [Class, String]
      # @return [void]
      def refute_enqueued_workflow(workflow, with: nil, **options, &block)
        assert_enqueued_workflow(workflow, with: with, times: 0, **options, &block)
      end

      # Asserts that these steps of a task are complete, among others perhaps.
      # @param task [Task, TaskRun]
      # @param steps [Array<Symbol>]
      # @return [void]
      def assert_completed_steps(task, *steps)
        report = TaskReport.new(task)
        missing = steps.map(&:to_s) - report.completed
        assert_empty(missing, "expected #{steps.join(', ')} to be complete, but #{report}")
      end
    end
  end
end
