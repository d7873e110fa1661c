# frozen_string_literal: true

require_relative '../errors'

module TaskerCore
  class Workflow
    # What `retry_on` and `discard_on` say of an error.
    #
    # @api private
    class ErrorRule
      attr_reader :attempts

      def initialize(errors, retryable:, wait:, attempts:)
        raise Errors::ConfigurationError, 'retry_on and discard_on need an error class' if errors.empty?

        wrong = errors.find { |error| !error.is_a?(Module) && !error.is_a?(String) }
        raise Errors::ConfigurationError, "#{wrong.inspect} is no error class" if wrong
        unless attempts.nil? || (attempts.is_a?(Integer) && attempts.positive?)
          raise Errors::ConfigurationError, "attempts: #{attempts.inspect} is no positive whole number"
        end
        unless wait.nil? || wait.respond_to?(:call) || (wait.respond_to?(:to_f) && !wait.to_f.negative?)
          raise Errors::ConfigurationError, "wait: #{wait.inspect} are no seconds"
        end

        @errors = errors.freeze
        @retryable = retryable
        @wait = wait
        @attempts = attempts
        freeze
      end

      # A name matches a class or module of that name, so that what is not loaded can be spoken of.
      def for?(error)
        @errors.any? do |kind|
          kind.is_a?(String) ? error.class.ancestors.any? { |ancestor| ancestor.name == kind } : error.is_a?(kind)
        end
      end

      def retryable? = @retryable

      # @param attempt [Integer] the one that failed
      # @return [Numeric, nil] seconds to wait
      def wait(attempt) = @wait.respond_to?(:call) ? @wait.call(attempt) : @wait
    end
  end
end
