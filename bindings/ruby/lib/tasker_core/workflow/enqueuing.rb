# frozen_string_literal: true

require_relative 'submission'

module TaskerCore
  class Workflow
    # How workflow classes are enqueued.
    module Enqueuing
      # Enqueues one task. It is durable when this returns, or, if it is transactional, when the transaction commits.
      #
      #     OrderFulfillment.enqueue(order_id: 42)
      #     OrderFulfillment.enqueue({ order_id: 42 }, transactional: true)
      #
      # @param input [Hash, nil] what steps see as `ctx.input`; may also be given as keywords
      # @param transactional [Boolean, Symbol, Object] `true`: the task exists if and only if the application's present
      #   transaction commits, see {Inbox}; or the connection whose transaction is meant; `:after_commit`: enqueued once
      #   that has committed
      # @return [Task]
      # @raise [Errors::CommandRefusedError] when the broker refuses it: the input does not satisfy the schema, too much
      #   is waiting
      # @raise [Errors::RequestTimeoutError] when the broker cannot be reached
      def enqueue(input = nil, transactional: false, **fields)
        set.enqueue(input, transactional: transactional, **fields)
      end

      # Enqueues many tasks, a thousand in a message; each has its own outcome.
      #
      # @param inputs [Enumerable<Hash>]
      # @return [Array<Task>] in order; one that was refused has an {Task#error} and no id
      def enqueue_all(inputs, transactional: false) = set.enqueue_all(inputs, transactional: transactional)

      # Says how the next tasks are enqueued.
      #
      #     OrderFulfillment.set(wait: 600, key: "order-#{id}", tags: %w[vip]).enqueue(order_id: id)
      #
      # @param options [Hash] see {Submission#initialize}
      # @return [Submission]
      def set(**options) = Submission.new(self, **options)
    end
  end
end
