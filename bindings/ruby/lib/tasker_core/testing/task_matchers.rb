# frozen_string_literal: true

require 'rspec/expectations'
require_relative '../testing'
require_relative 'task_report'

module TaskerCore
  module Testing
    # What the matchers of tasks have in common.
    #
    # @api private
    class TaskMatcher
      include RSpec::Matchers::Composable

      def matches?(subject)
        @report = TaskReport.new(subject)
        met?
      end

      def failure_message = "expected the task to #{description}, but #{@report}"
      def failure_message_when_negated = "expected the task not to #{description}, but #{@report}"
    end

    # What {Matchers#have_completed_steps} makes.
    class CompletedStepsMatcher < TaskMatcher
      # @api private
      def initialize(steps)
        super()
        @steps = steps.map(&:to_s)
      end

      # Demands that they completed one after the other, as they are given.
      # @return [self]
      def in_order
        @in_order = true
        self
      end

      # @api private
      def description = "have completed #{@steps.join(', ')}#{' in this order' if @in_order}"

      # @api private
      def failure_message = super + order

      private

      def met?
        completed = @report.completed
        (@steps - completed).empty? && (!@in_order || (completed & @steps) == @steps)
      end

      def order = @in_order ? "\ncompleted in the order: #{@report.completed.join(', ')}" : ''
    end

    # What {Matchers#have_failed_step} makes.
    class FailedStepMatcher < TaskMatcher
      # @api private
      def initialize(step)
        super()
        @step = step.to_s
      end

      # @param kind [Class, String, nil] the error's class, or one above it; a name has to be exactly that of the class
      # @param message [String, Regexp, #===, nil]
      # @param code [String, nil] a code of the application
      # @return [self]
      def with_error(kind = nil, message = nil, code: nil)
        @kind = kind
        @message = message
        @code = code
        self
      end

      # @api private
      def description
        error = [@kind, @message&.inspect, (@code && "code #{@code}")].compact
        "have failed in #{@step}#{" with #{error.join(', ')}" if error.any?}"
      end

      private

      def met?
        step = @report.step(@step)
        step&.state == 'error' && kind?(step) && (@code.nil? || @code.to_s == step.error_code) && message?(step)
      end

      def kind?(step)
        return true if @kind.nil? || @kind.to_s == step.error_class
        return false unless @kind.is_a?(Class) && Object.const_defined?(step.error_class)

        Object.const_get(step.error_class) <= @kind
      end

      def message?(step)
        case step.error_message
        when @message || String then true
        else false
        end
      end
    end

    # What {Matchers#be_complete_task} makes.
    class CompleteTaskMatcher < TaskMatcher
      # @api private
      def description = 'be complete'

      private

      def met? = @report.complete?
    end
  end
end
