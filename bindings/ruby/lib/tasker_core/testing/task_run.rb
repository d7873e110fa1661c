# frozen_string_literal: true

require 'securerandom'
require_relative '../json_text'
require_relative '../records'
require_relative '../task'
require_relative 'step_run'

module TaskerCore
  module Testing
    # A task that was enqueued in fake or inline mode: what {Testing.enqueued} lists.
    #
    # 1. Says what was asked for, after its way through JSON.
    # 2. Keeps its steps, knows which of them can move, and the state that follows from theirs.
    class TaskRun
      # @return [String]
      attr_reader :id
      # @return [String] `pending`, `in_progress`, `complete`, `error`, `cancelled` or `resolved_manually`
      attr_reader :state
      # @return [Array<StepRun>] in order of definition
      attr_reader :steps
      # @return [Array<Types::Event>] custom events that its steps have published
      attr_reader :events
      # @return [Array<String>] names of the steps that have completed, the first to complete first
      attr_reader :completed_steps
      # @return [Time] by the application's clock
      attr_reader :enqueued_at
      # @api private
      attr_reader :template, :request, :created_at, :finished_at, :start_at
      # @api private
      # The attempt that runs.
      attr_accessor :attempt

      # @api private
      # @param request [Hash{String=>Object}] a `TaskRequest` as it travels
      # @param start_at [Time, nil]
      def initialize(template, request, created_at:, start_at:)
        @id = SecureRandom.uuid
        @template = template
        @request = request
        @context = template.context(request['context'])
        @steps = template.steps.map { |step| StepRun.new(step) }
        @by_name = @steps.to_h { |step| [step.name, step] }
        @parents_left = template.steps.to_h { |step| [step.name, step.parents.size] }
        # Those that are ready, run, or wait for their next attempt.
        @movable = @steps.select { |step| ready?(step) }
        @created_at = created_at
        @enqueued_at = Time.now
        @start_at = start_at
        @state = 'pending'
        @events = []
        @completed_steps = []
        @running = Mutex.new
      end

      # @return [String] `namespace/name@version`
      def template_key = template.key
      # @return [String]
      def namespace = template.namespace
      # @return [String]
      def name = template.name
      # @return [String]
      def version = template.version
      # @return [IndifferentHash] frozen, the template's defaults included
      def input = @input ||= JsonText.load(@context)
      # @return [String, nil] the idempotency key
      def key = request['idempotency_key']
      # @return [Array<String>]
      def tags = request['tags'] || []
      # @return [Integer]
      def priority = request['priority'] || 0
      # @return [Time, nil] when its first step may start, as the application said
      def run_at = request['run_at_ms'] && Time.at(Rational(request['run_at_ms'], 1000))
      # @return [Array<String>]
      def bypass_steps = request['bypass_steps'] || []
      # @return [String, nil]
      def correlation_id = request['correlation_id']

      # @param name [Symbol, String]
      # @return [StepRun, nil]
      def step(name) = @by_name[name.to_s]
      # @return [Boolean]
      def finished? = !finished_at.nil?
      # @return [Task] the handle that the application has
      def task = Task.new(id, client: Testing.client, template: template_key, key: key)

      # @api private
      # Lets one thread at a time run its steps.
      # @return [Object, nil] what the block returned; nil when it runs already
      def claim
        return unless @running.try_lock

        begin
          yield
        ensure
          @running.unlock
        end
      end

      # @api private
      # @return [Time, nil] when the next step is due, nil when none will be
      def due_at
        return if finished?

        @movable.map { |step| due(step) }.min
      end

      # @api private
      # @return [StepRun, nil]
      def next_step(now)
        return if finished?

        @movable.find { |step| due(step) <= now }
      end

      # @api private
      def ready?(step) = step.state == 'pending' && @parents_left[step.name].zero?

      # @api private
      def start
        @state = 'in_progress' if state == 'pending'
      end

      # @api private
      # @param steps [Array<StepRun>] those that may move again
      def reopen(steps = [])
        @state = 'in_progress'
        @finished_at = nil
        @movable |= steps
      end

      # @api private
      def cancel(now)
        attempt&.cancel
        steps.each { |step| step.cancel(now) unless step.finished_at }
        @movable = []
        finish('cancelled', now)
      end

      # @api private
      # Notes what follows from the end of a step.
      # @param step [StepRun]
      def advance(step, now)
        return unless step.finished_at

        @movable -= [step]
        @completed_steps << step.name if step.state == 'complete'
        free_children(step) if step.satisfied?
        finish(ending, now) if @movable.empty?
      end

      # @api private
      # A `BatchTask`.
      def fields
        request.except('idempotency_key', 'run_at_ms', 'bypass_steps')
          .merge('task_id' => id, 'version' => version, 'context' => @context)
      end

      # @return [String]
      def inspect = "#<#{self.class.name} #{template_key} #{state} #{input.to_hash}>"

      private

      def finish(state, now)
        @state = state
        @finished_at = now
      end

      def due(step) = step.retry_at || start_at || created_at

      def free_children(step)
        children = template.children[step.name]
        children.each { |child| @parents_left[child] -= 1 }
        @movable += children.map { |child| step(child) }.select { |child| ready?(child) }
      end

      # Where nothing can move, a step failed, or all are done.
      def ending
        return 'error' if steps.any? { |step| step.state == 'error' }

        steps.any?(&:resolved?) ? 'resolved_manually' : 'complete'
      end
    end
  end
end
