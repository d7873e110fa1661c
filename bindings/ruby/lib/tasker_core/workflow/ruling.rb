# frozen_string_literal: true

module TaskerCore
  class Workflow
    # Put on an error that a step raised: what its workflow says about another attempt. Class, message and backtrace
    # stay the error's own.
    #
    # @api private
    module Ruling
      # @param error [Exception]
      # @param retryable [Boolean] whether another attempt follows
      # @param wait [Numeric, nil] seconds until then; nil leaves what the error itself says
      # @return [Exception] the error
      def self.give(error, retryable:, wait: nil)
        error = error.dup if error.frozen?
        error.extend(self)
        error.rule(retryable, wait)
      end

      def rule(retryable, wait)
        @tasker_core_retryable = retryable
        @tasker_core_wait = wait
        self
      end

      def retryable? = @tasker_core_retryable

      def retry_after = @tasker_core_wait || (defined?(super) ? super : nil)
    end
  end
end
