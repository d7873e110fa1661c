# frozen_string_literal: true

require_relative '../errors'
require_relative 'error_rule'
require_relative 'step_definition'

module TaskerCore
  class Workflow
    # What a workflow class has been told so far.
    #
    # 1. Holds settings, steps and error rules; a copy goes to subclasses.
    # 2. Refuses a step at the line that defines it: a name that is taken, a parent that is not there. Since parents
    #    come first, there are no cycles.
    #
    # @api private
    class Definition
      attr_accessor :namespace, :workflow_name, :version, :description, :input_schema, :input_defaults, :task_handler
      # @return [Array<StepDefinition>] in the order of definition
      attr_reader :steps
      # @return [Array<ErrorRule>] the latest first
      attr_reader :rules

      def initialize
        @steps = []
        @rules = []
      end

      def initialize_copy(original)
        super
        @steps = original.steps.dup
        @rules = original.rules.dup
        # Identity is each class's own.
        @workflow_name = @version = @description = nil
      end

      # @param name [String]
      # @return [StepDefinition, nil]
      def step(name) = @steps.find { |step| step.name == name }

      # @param step [StepDefinition]
      # @return [Symbol] its name
      # @raise [Errors::ConfigurationError]
      def add(step)
        refuse("#{step} is defined twice") if step(step.name)

        unknown = step.after.reject { |parent| step(parent) }
        refuse("#{step} comes after #{unknown.first}, #{parent_hint(step, unknown.first)}") if unknown.any?

        @steps << step
        step.name.to_sym
      end

      # @param rule [ErrorRule]
      def add_rule(rule)
        @rules.unshift(rule)
        nil
      end

      # @param error [Exception]
      # @return [ErrorRule, nil] the latest that speaks of this error
      def rule_for(error) = @rules.find { |rule| rule.for?(error) }

      # As many as any rule may ask for; {StepRun} ends a step whose rule has fewer.
      # @param step [StepDefinition]
      # @return [Integer] most attempts of whatever error
      def attempts_max(step) = [step.attempts, *rules.filter_map(&:attempts)].max

      private

      def parent_hint(step, parent)
        return 'which is itself' if parent == step.name

        above = steps.map(&:name)
        "which is not defined above it (#{above.empty? ? 'it is the first step' : "defined: #{above.join(', ')}"})"
      end

      def refuse(message)
        raise Errors::ConfigurationError, message
      end
    end
  end
end
