# frozen_string_literal: true

require_relative '../errors'
require_relative '../handlers'
require_relative 'context'
require_relative 'ruling'

module TaskerCore
  class Workflow
    # Runs one step of a workflow class, as a handler of templates.
    #
    # 1. Calls the step's block, method or handler, with a {Context} or with what handlers get.
    # 2. Says about an error what the class's rules say.
    #
    # @api private
    class StepRun
      # @param workflow [Class]
      # @param definition [StepDefinition]
      def initialize(workflow, definition)
        @workflow = workflow
        @definition = definition
        @method = definition.method? ? workflow.instance_method(definition.name) : nil
        freeze
      end

      def process(task, sequence, step)
        ctx = Context.new(task, sequence, step)
        @method ? call_method(ctx) : call_handler(ctx)
      rescue StandardError, ScriptError => e
        raise ruled(e, step)
      end

      private

      def call_method(ctx)
        instance = @workflow.new(ctx)
        @method.arity.zero? ? @method.bind_call(instance) : @method.bind_call(instance, ctx)
      end

      def call_handler(ctx)
        handler = instance(ctx)
        method = handler.method(handler.respond_to?(:process) ? :process : :call)
        handler.tasker_core_attach(ctx.step) if handler.respond_to?(:tasker_core_attach)
        takes_context?(handler, method) ? handler.public_send(method.name, ctx) : pass(handler, method, ctx)
      end

      def instance(ctx)
        handler = @definition.handler
        handler = constant(handler) if handler.is_a?(String)
        return handler unless handler.is_a?(Class)

        Handlers.instantiate(handler, config: ctx.config, logger: ctx.logger)
      end

      def constant(name)
        Object.const_get(name, false)
      rescue NameError
        raise Errors::ConfigurationError.new("handler class #{name} of #{@definition} does not exist",
                                             context: { handler_class: name })
      end

      # One parameter is the context; more are task, sequence and step.
      def takes_context?(handler, method)
        parameters = handler.is_a?(Proc) ? handler.parameters : method.parameters
        parameters.count { |kind, _| %i[req opt].include?(kind) } == 1
      end

      def pass(handler, method, ctx)
        arguments = [ctx.task, ctx.sequence, ctx.step]
        arguments = arguments.first(handler.arity) if handler.is_a?(Proc) && handler.lambda? && handler.arity >= 0
        handler.public_send(method.name, *arguments)
      end

      def ruled(error, step)
        rule = @workflow.definition.rule_for(error)
        limit = rule&.attempts || @definition.attempts
        retryable = rule ? rule.retryable? : retryable?(error)
        Ruling.give(error, retryable: retryable && attempt_since_reset(step) < limit, wait: rule&.wait(step.attempt))
      end

      # An operator who retries a step has given it new attempts on top of those that it had.
      def attempt_since_reset(step)
        given = step.retry_limit - @workflow.definition.attempts_max(@definition)
        given.positive? ? step.attempt - given : step.attempt
      end

      def retryable?(error)
        error.is_a?(Errors::Error) ? error.retryable? : !error.is_a?(ScriptError)
      end
    end
  end
end
