# frozen_string_literal: true

require 'securerandom'
require_relative '../errors'
require_relative '../inbox'
require_relative '../task'

module TaskerCore
  class Workflow
    # Enqueues tasks of a workflow: what {Enqueuing#set} answers with.
    #
    # 1. Gives every task an idempotency key, so that a request whose answer was lost can be sent again.
    # 2. Asks for exactly the version of the class, and registers it when the broker does not know it yet.
    # 3. Goes through the broker, or, when it is transactional, through the {Inbox} of the application's database.
    class Submission
      UNKNOWN = %w[unknown_template unknown_version].freeze
      private_constant :UNKNOWN

      # @param workflow [Class]
      # @param priority [Integer, nil] higher goes first; 0 when nil
      # @param wait [Numeric, nil] seconds until the first step may start
      # @param wait_until [Time, nil] when the first step may start
      # @param key [String, #call, nil] idempotency key: a second request with the same one gets the first task. What is
      #   callable gives it for an input.
      # @param tags [Array<String>, String, nil]
      # @param bypass [Array<Symbol>, Symbol, nil] skippable steps to leave out
      # @param correlation_id [String, nil] the application's own id for the business process
      # @param initiator [String, nil] who asks
      # @param reason [String, nil] why
      # @param timeout [Numeric, nil] seconds to wait for the broker's answer
      # @param client [Client, nil] {TaskerCore.client} when nil
      def initialize(workflow, priority: nil, wait: nil, wait_until: nil, key: nil, tags: [], bypass: [],
                     correlation_id: nil, initiator: nil, reason: nil, timeout: nil, client: nil)
        raise ArgumentError, 'wait: and wait_until: exclude each other' if wait && wait_until

        @workflow = workflow
        @wait = wait
        @wait_until = wait_until
        @key = key
        @timeout = timeout
        @client = client
        @fields = { priority: priority, tags: Array(tags), bypass_steps: Array(bypass).map(&:to_s),
                    correlation_id: correlation_id, initiator: initiator, reason: reason }.reject do |_, value|
          value.nil? || value == []
        end
      end

      # Further settings on top of these.
      # @see #initialize
      # @return [Submission]
      def set(**options)
        Submission.new(@workflow, wait: @wait, wait_until: @wait_until, key: @key, timeout: @timeout, client: @client,
                                  bypass: @fields[:bypass_steps], **@fields.except(:bypass_steps), **options)
      end

      # @return [Task]
      # @see Enqueuing#enqueue
      def enqueue(input = nil, transactional: false, **fields)
        if input && fields.any?
          raise ArgumentError, "give the input as one Hash, or as keywords (unknown: #{fields.keys.join(', ')})"
        end

        task = enqueue_all([input || fields], transactional: transactional).first
        raise task.error if task.error

        task
      end

      # @return [Array<Task>]
      # @see Enqueuing#enqueue_all
      def enqueue_all(inputs, transactional: false)
        requests = inputs.map { |input| request(input) }
        return [] if requests.empty?
        return submit(requests) unless transactional

        Inbox.for(transactional).submit(requests, self)
      end

      # @api private
      # @return [Client]
      def client = @client || TaskerCore.client

      # @api private
      # @param requests [Array<Hash>]
      # @return [Array<Task>]
      def submit(requests)
        outcomes = send_requests(requests)
        unknown = outcomes.each_index.select { |index| UNKNOWN.include?(code_of(outcomes[index])) }
        if unknown.any?
          register
          again = send_requests(requests.values_at(*unknown))
          unknown.zip(again) { |index, outcome| outcomes[index] = outcome }
        end
        requests.zip(outcomes).map { |request, outcome| task(request, outcome) }
      end

      # @api private
      # Makes sure that the broker knows the template.
      def register
        template = @workflow.template
        client.register_template(template.to_yaml, source: @workflow.name, **{ timeout: @timeout }.compact)
      end

      # @api private
      # @param request [Hash]
      # @param outcome [Types::TaskInitialized, nil] nil when the broker has not been asked yet
      # @return [Task]
      def task(request, outcome = nil)
        Task.new(outcome&.task_id, client: client, template: @workflow.template.key, key: request[:idempotency_key],
                                   duplicate: outcome&.duplicate? || false, error: outcome&.error)
      end

      # @api private
      # @return [Template]
      def template = @workflow.template

      private

      def send_requests(requests)
        options = { timeout: @timeout, skip_task_handler: @workflow.definition.task_handler ? nil : true }.compact
        client.initialize_tasks(requests, **options)
      end

      def code_of(outcome) = outcome.error.respond_to?(:code) ? outcome.error.code : nil

      def request(input)
        unless input.is_a?(Hash)
          raise ArgumentError, "the input of #{@workflow.name} has to be a Hash, not a #{input.class}"
        end

        { namespace: template.namespace, name: template.name, version: template.version, context: input,
          idempotency_key: key(input), run_at: run_at, **@fields }.compact
      end

      def key(input)
        given = @key.respond_to?(:call) ? @key.call(input) : @key
        given.nil? ? SecureRandom.uuid : given.to_s
      end

      def run_at
        @wait ? Time.now + @wait : @wait_until&.to_time
      end
    end
  end
end
