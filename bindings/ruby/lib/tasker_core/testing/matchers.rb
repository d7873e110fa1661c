# frozen_string_literal: true

require_relative 'enqueue_matcher'
require_relative 'task_matchers'

module TaskerCore
  module Testing
    # Matchers for RSpec; `require 'tasker_core/rspec'` includes them everywhere.
    module Matchers
      # Expects of a block that it enqueues one task of a workflow, or, of {Testing}, that one was enqueued.
      #
      #     expect { place_order }.to have_enqueued_workflow(OrderFulfillment).with(hash_including(order_id: 7))
      #     expect { import }.to have_enqueued_workflow(Sync).set(priority: -1, wait: 600).at_least(3).times
      #     expect(TaskerCore::Testing).not_to have_enqueued_workflow(Refund)
      #
      # @param workflow [Class, String] the class, `namespace/name`, or `namespace/name@version`
      # @return [EnqueueMatcher]
      def have_enqueued_workflow(workflow) = EnqueueMatcher.new(workflow) # rubocop:disable Naming/PredicateName -- matchers are called so

      # Expects of a workflow class that one task of it was enqueued.
      #
      #     expect(OrderFulfillment).to have_been_enqueued.with(order_id: 7)
      #
      # @return [EnqueueMatcher]
      def have_been_enqueued = EnqueueMatcher.new # rubocop:disable Naming/PredicateName -- matchers are called so

      # Expects of a task that these steps are complete, among others perhaps.
      #
      #     expect(task).to have_completed_steps(:validate, :charge).in_order
      #
      # @param steps [Array<Symbol>]
      # @return [CompletedStepsMatcher]
      def have_completed_steps(*steps) = CompletedStepsMatcher.new(steps) # rubocop:disable Naming/PredicateName -- matchers are called so

      # Expects of a task that a step has ended in error.
      #
      #     expect(task).to have_failed_step(:charge).with_error(Gateway::Declined, /funds/, code: 'DECLINED')
      #
      # @param step [Symbol]
      # @return [FailedStepMatcher]
      def have_failed_step(step) = FailedStepMatcher.new(step) # rubocop:disable Naming/PredicateName -- matchers are called so

      # Expects of a task that it has ended well.
      # @return [CompleteTaskMatcher]
      def be_complete_task = CompleteTaskMatcher.new
    end
  end
end
