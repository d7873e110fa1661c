# frozen_string_literal: true

require 'securerandom'
require_relative '../handlers'
require_relative '../json_text'
require_relative '../workflow'
require_relative 'attempt'
require_relative 'outcome'
require_relative 'step_template'

module TaskerCore
  module Testing
    # Runs one step by itself, with the results of earlier steps given, through the worker's own code and serialisation.
    #
    #     outcome = StepHarness.new(OrderFulfillment, :charge, input: { order_id: 7 },
    #                               results: { validate: { total: 12 } }, attempt: 2).run
    #     outcome.complete?       # => true
    #     outcome.result[:charge] # => "ch_1"
    #
    #     StepHarness.new(ReserveStock, input: { items: [] }, config: { warehouse: 'north' }).run.error.code
    class StepHarness
      # The step asked for a result that the test did not give. No StandardError: that would be a failure of the step.
      class MissingResultError < Exception; end # rubocop:disable Lint/InheritException

      # @param what [Class, String, #call] a workflow class, the key of a template that {Testing.load_templates} has
      #   loaded, or a step handler
      # @param step [Symbol, String, nil] name of the step; required for workflows and templates
      # @param input [Hash] what the task was enqueued with
      # @param results [Hash{Symbol=>Object}] results of earlier steps by name
      # @param attempt [Integer] number of the attempt
      # @param config [Hash] the step's configuration; laid over that of the workflow or template
      # @param events [Array<Symbol>] events that a handler by itself may publish
      # @param attempts [Integer, nil] most attempts; those of the step, or 3
      # @param task [Hash] further fields of the task: `tags:`, `priority:`, `correlation_id:`, `task_id:`
      # @raise [ArgumentError] when there is no such step
      # @raise [NotJsonError] when input, results or configuration have no form in JSON
      def initialize(what, step = nil, input: {}, results: {}, attempt: 1, config: {}, events: [], attempts: nil,
                     task: {})
        @handlers = TaskerCore.configuration.handlers
        @results = results.to_h { |name, result| [name.to_s, JsonText.dump(result, place: "result of #{name}")] }
        @template = template_of(what)
        @step = @template ? find(step) : of_handler(what, step, events)
        @fields = step_fields(attempt, config, attempts)
        @task = task_fields(input, task)
      end

      # Runs the attempt; may be called again.
      # @return [Outcome]
      def run
        Outcome.new(Attempt.new(@task, @fields, handlers: @handlers) { |name| result_text(name) }.run)
      end

      private

      def template_of(what)
        if what.is_a?(Class) && what <= Workflow
          Template.new(what.template.to_yaml, source: what.name, environment: nil)
        elsif what.is_a?(String)
          path, version = what.split('@', 2)
          Testing.engine.registry.resolve(*path.split('/', 2), version)
        end
      end

      def find(name)
        known = @template.steps.map(&:name)
        step = @template.step(name.to_s) or
          raise ArgumentError, "#{@template.key} has no step #{name.inspect} (it has #{known.join(', ')})"
        unknown = @results.keys - known
        return step if unknown.empty?

        raise ArgumentError, "results: names no step of #{@template.key}: #{unknown.join(', ')}"
      end

      # A handler that is known to this harness only.
      def of_handler(handler, name, events)
        @handlers = Handlers.new
        @handlers.register('handler', handler)
        StepTemplate.new({ 'name' => (name || 'step').to_s, 'handler_class' => 'handler',
                           'depends_on_steps' => @results.keys, 'custom_events' => events.map(&:to_s) }, [])
      end

      def step_fields(attempt, config, attempts)
        inputs = Template.overlay(JsonText.load(@step.inputs),
                                  JsonText.load(JsonText.dump(config, place: 'config')))
        { 'name' => @step.name, 'handler' => @step.handler, 'attempt' => attempt,
          'retry_limit' => attempts || @step.retry_limit, 'retryable' => @step.retryable?,
          'timeout_seconds' => @step.timeout.to_f, 'inputs' => JsonText.dump(inputs), 'parents' => @step.parents,
          'custom_events' => @step.custom_events }
      end

      def task_fields(input, given)
        context = JsonText.dump(input, place: 'input')
        identity = { 'namespace' => @template&.namespace || 'test', 'name' => @template&.name || 'step',
                     'version' => @template&.version || '0.0.0' }
        { 'task_id' => SecureRandom.uuid, **identity, 'context' => @template ? @template.context(context) : context,
          **given.transform_keys(&:to_s) }
      end

      def result_text(name)
        @results.fetch(name) do
          known = @template&.step(name)
          raise MissingResultError, "give the result of step #{name}: results: { #{name}: ... }" if known

          raise Errors::NotFoundError.new("step #{name} does not exist", resource_type: 'step')
        end
      end
    end
  end
end
