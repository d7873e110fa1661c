# frozen_string_literal: true

require_relative 'workflow/definition'
require_relative 'workflow/enqueuing'
require_relative 'workflow/step_run'
require_relative 'workflow/template'

module TaskerCore
  # A workflow as one Ruby class: its steps, how they depend on each other, and what they do.
  #
  #     class OrderFulfillment < TaskerCore::Workflow
  #       namespace :shop
  #       version '1.0.0'
  #
  #       retry_on Gateway::Busy, wait: 30, attempts: 8
  #       discard_on Gateway::Declined
  #
  #       step(:validate) { |ctx| { total: Order.find(ctx.input[:order_id]).total! } }
  #       step :reserve, after: :validate, handler: ReserveInventory
  #       step :charge, after: :validate, timeout: 20
  #       step :ship, after: %i[reserve charge]
  #
  #       def charge(ctx)
  #         Gateway.charge(ctx.results[:validate][:total], key: ctx.idempotency_key)
  #       end
  #
  #       def ship = Carrier.label(ctx.input[:order_id])
  #     end
  #
  #     OrderFulfillment.enqueue(order_id: 42)
  #
  # It is the same as a template in YAML with a handler class for each step: {.template} is that template, which workers
  # register for the classes that they load. A mistake in it is a {ConfigurationError} when the class loads.
  #
  # A step runs in a new instance, so instance variables are its own. What its block or method returns is its result. A
  # class without steps may hold what several workflows share; settings, steps and error rules are inherited.
  class Workflow
    extend Enqueuing

    # Namespace of a workflow that names none and is in no module.
    DEFAULT_NAMESPACE = 'default'
    # Version of a workflow that names none; its content is added to it, see {.version}.
    DEFAULT_VERSION = '0.0.0'

    class << self
      # @return [Array<Class>] the workflows that are loaded and have steps, by name, without those that code reloading
      #   has replaced
      def loaded
        classes = subclasses
        classes.each { |workflow| classes.concat(workflow.subclasses) }
        classes.select { |workflow| workflow.current? && workflow.definition.steps.any? }.sort_by(&:name)
      end

      # Sets or returns the template's namespace. Without it, that is the module that the class is in:
      # `Shop::OrderFulfillment` is `shop/order_fulfillment`.
      #
      # @param value [String, Symbol, nil]
      # @return [String]
      def namespace(value = nil)
        change.namespace = value.to_s if value
        definition.namespace || Template.underscore(outer_module) || DEFAULT_NAMESPACE
      end

      # Sets or returns the template's name: that of the class unless set.
      #
      # @param value [String, Symbol, nil]
      # @return [String]
      def workflow_name(value = nil)
        change.workflow_name = value.to_s if value
        definition.workflow_name || Template.underscore(checked_name.split('::').last)
      end

      # Sets or returns the template's semantic version. A version never changes its content: the broker refuses other
      # steps under the same version, and tasks that have begun go on with theirs. A workflow that sets none, and each
      # one where {Configuration#versions_follow_content} is set, gets a version made from its content, so that nobody
      # has to count while the workflow is still being written.
      #
      # @param value [String, nil]
      # @return [String]
      def version(value = nil)
        value ? change.version = value.to_s : template.version
      end

      # Sets or returns what the workflow is for.
      # @param text [String, nil]
      # @return [String, nil]
      def description(text = nil)
        change.description = text if text
        definition.description
      end

      # The JSON schema of the input: what does not satisfy it is refused when it is enqueued.
      # @param schema [Hash]
      # @return [void]
      def input_schema(schema) = change.input_schema = schema

      # Laid under the input of each task, map by map.
      # @param input [Hash]
      # @return [void]
      def input_defaults(input) = change.input_defaults = input

      # The class whose `initialize_task` may adjust or refuse a request before it is sent.
      # @param handler [Class, String]
      # @return [void]
      # @see TaskHandler::Base
      def task_handler(handler) = change.task_handler = handler

      # Adds a step.
      #
      # @param name [Symbol, String]
      # @param after [Symbol, Array<Symbol>] the steps that it waits for, defined above it
      # @param handler [Class, String, #call, nil] what runs it: a handler class or its name, or something to call.
      #   Without it, the block, or the method of the step's name.
      # @param attempts [Integer] most attempts, the first one included
      # @param timeout [Numeric, nil] seconds until an attempt is given up; the broker's 300 when nil
      # @param backoff [Symbol, Hash, nil] time between attempts: `:exponential`, `:linear`, `:fixed`, or
      #   `{ kind:, base_seconds:, cap_seconds: }`; exponential from 1 s to 300 s when nil
      # @param config [Hash] the step's `handler_config`, which its handler sees as `ctx.config`
      # @param events [Array<Symbol>] events that the step may publish
      # @param skippable [Boolean] whether a request may bypass the step
      # @param description [String, nil]
      # @yield [ctx] runs the step, in a new instance of this class
      # @yieldparam ctx [Context]
      # @yieldreturn [Object] the result: any JSON value
      # @return [Symbol] the name
      # @raise [ConfigurationError]
      def step(name, after: [], handler: nil, attempts: StepDefinition::ATTEMPTS, timeout: nil, backoff: nil,
               config: {}, events: [], skippable: false, description: nil, &block)
        change.add(StepDefinition.new(name: name.to_s, after: Array(after).map(&:to_s), handler: handler,
                                      attempts: attempts, timeout: timeout, backoff: backoff, config: config,
                                      events: Array(events).map(&:to_s), skippable: skippable, description: description,
                                      workflow: self, block: block))
      end

      # What becomes of an attempt that fails with one of these errors: another one follows.
      #
      # @param errors [Array<Class, String>] error classes, or their names
      # @param wait [Numeric, #call, nil] seconds until then, or what gives them for the number of the attempt that
      #   failed; the step's backoff when nil
      # @param attempts [Integer, nil] most attempts of a step that ends like this; those of the step when nil
      # @return [void]
      def retry_on(*errors, wait: nil, attempts: nil)
        change.add_rule(ErrorRule.new(errors, retryable: true, wait: wait, attempts: attempts))
      end

      # What becomes of an attempt that fails with one of these errors: the step has failed for good.
      #
      # @param errors [Array<Class, String>] error classes, or their names
      # @return [void]
      def discard_on(*errors)
        change.add_rule(ErrorRule.new(errors, retryable: false, wait: nil, attempts: nil))
      end

      # @return [Template] what this class says, as a template
      # @raise [ConfigurationError] when a step has nothing that runs it, or the class has no name
      def template
        @template ||= Template.new(self)
      end

      # @api private
      # @param step [String]
      # @return [StepRun] what runs this step of a template; looked up by name, so that reloaded code is found
      # @raise [ConfigurationError]
      def step_handler(step)
        step_runs.fetch(step) do
          definition = self.definition.step(step) or
            raise Errors::ConfigurationError.new("workflow #{name} has no step #{step}",
                                                 context: { workflow: name, step: step })
          step_runs[step] = StepRun.new(self, definition)
        end
      end

      # @api private
      # @return [Definition]
      def definition
        @definition ||= equal?(Workflow) ? Definition.new : superclass.definition.dup
      end

      # @api private
      # Whether the constant of its name is still this class.
      def current?
        !name.nil? && Object.const_defined?(name) && Object.const_get(name).equal?(self)
      end

      private

      # What was made from the definition is made anew.
      def change
        @template = nil
        @step_runs = nil
        definition
      end

      def step_runs = @step_runs ||= {}

      def checked_name
        name or raise Errors::ConfigurationError, 'a workflow class needs a name: workers look it up'
      end

      def outer_module = checked_name.split('::')[-2]
    end

    # @return [Context] what the step that runs has at hand
    attr_reader :ctx

    # @api private
    def initialize(ctx)
      @ctx = ctx
    end
  end
end
