# frozen_string_literal: true

require 'forwardable'
require_relative '../errors'

module TaskerCore
  class Workflow
    # What a step of a workflow has at hand while it runs.
    class Context
      extend Forwardable

      # @return [Execution::Task]
      attr_reader :task
      # @return [Execution::Sequence]
      attr_reader :sequence
      # @return [Execution::Step]
      attr_reader :step

      # @!method task_id
      #   @return [String]
      # @!method tags
      #   @return [Array<String>]
      def_delegators :task, :task_id, :tags
      # @!method attempt
      #   @return [Integer] number of this attempt, from 1
      # @!method idempotency_key
      #   @return [String] the same for all attempts of this step: a key for calls that must take effect only once
      # @!method cancelled?
      #   @return [Boolean] whether the task was cancelled or this attempt given up: a long step looks now and then
      # @!method last_attempt?
      #   @return [Boolean] whether no other attempt may follow a failure of this one
      def_delegators :step, :attempt, :idempotency_key, :cancelled?, :last_attempt?

      # @api private
      def initialize(task, sequence, step)
        @task = task
        @sequence = sequence
        @step = step
      end

      # @return [IndifferentHash] what the workflow was enqueued with: frozen, with string or symbol keys
      def input = task.context

      # @return [Results] results of the steps before this one: `ctx.results[:validate]`
      def results = @results ||= Results.new(sequence)

      # @return [IndifferentHash] the step's `config:`, frozen
      def config = step.handler_config

      # @return [Logger]
      def logger = TaskerCore.logger

      # Ends this attempt; another one follows.
      #
      # @param message [String] why
      # @param in [Numeric, nil] seconds until then; the step's backoff when nil
      # @param context [Hash] facts to keep with the failure
      # @raise [RetryableError] always
      def retry!(message = 'the step asked for another attempt', in: nil, **context)
        wait = binding.local_variable_get(:in)
        raise Errors::RetryableError.new(message, retry_after: wait, context: context)
      end

      # Ends the step: it has failed for good.
      #
      # @param message [String] why
      # @param code [String, nil] a code of the application
      # @param context [Hash] facts to keep with the failure
      # @raise [PermanentError] always
      def fail!(message, code: nil, **context)
        raise Errors::PermanentError.new(message, error_code: code, context: context)
      end

      # Says how far the step is, for those who look at the task. Of several in a short time, the latest is sent.
      #
      # @param value [Object] any JSON value: a fraction, a count, a text
      # @return [void]
      def progress(value) = step.report_progress(value)

      # Publishes an event once the result of this step is stored.
      #
      # @param event [Symbol, String] one that the step's `events:` list
      # @param payload [Object] any JSON value
      # @return [void]
      def publish(event, payload = {}) = step.publish_event(event, payload)

      # @return [String]
      def inspect = "#<#{self.class.name} #{step.name} of #{task.task_id}, attempt #{attempt}>"

      # Results of earlier steps by name. Those of parents are at hand; that of a step further back is asked for.
      class Results
        # @api private
        def initialize(sequence)
          @sequence = sequence
        end

        # @param step [Symbol, String]
        # @return [Object] its result: frozen, with string or symbol keys at every level
        # @raise [NotFoundError] when the workflow has no such step, or it has no result yet
        def [](step) = @sequence.get_results(step)
        alias fetch []

        # @return [Object, nil] a part of a step's result
        def dig(step, *keys) = keys.empty? ? self[step] : self[step]&.dig(*keys)

        # @return [Hash{String=>Object}] results of the parents
        def to_h = @sequence.results_by_name
      end
    end
  end
end
