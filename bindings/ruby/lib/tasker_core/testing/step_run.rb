# frozen_string_literal: true

require_relative '../json_text'
require_relative 'backoff'

module TaskerCore
  module Testing
    # One step of a task: its state, attempts and result, moved as the broker moves them.
    class StepRun
      # @return [String] `pending`, `in_progress`, `waiting_for_retry`, `complete`, `error`, `cancelled` or
      #   `resolved_manually`
      attr_reader :state
      # @return [Integer] attempts made
      attr_reader :attempts
      # @return [Time, nil] when the next attempt is due
      attr_reader :retry_at
      # @api private
      attr_reader :template, :limit, :result_text, :progress_text, :failure, :finished_at, :duration_us

      # @api private
      def initialize(template)
        @template = template
        @state = 'pending'
        @attempts = 0
        @limit = template.retry_limit
        @bypassed = false
      end

      # @return [String]
      def name = template.name
      # @return [Object, nil] frozen, with string or symbol keys
      def result = result_text && JsonText.load(result_text)
      # @return [Object, nil] what it said last of its progress
      def progress = progress_text && JsonText.load(progress_text)
      # @return [String, nil] class of the latest error
      def error_class = failure&.fetch('class')
      # @return [String, nil] message of the latest error
      def error_message = failure&.fetch('message')
      # @return [String, nil] code of the latest error
      def error_code = failure && failure['code']

      # @api private
      # Whether its children may run.
      def satisfied? = %w[complete resolved_manually].include?(state)
      # @api private
      # Whether an operator settled it, rather than the request.
      def resolved? = state == 'resolved_manually' && !@bypassed

      # @api private
      def begin
        @before = state
        @state = 'in_progress'
        @attempts += 1
      end

      # @api private
      # As if the attempt had not begun.
      def take_back
        return unless state == 'in_progress'

        @state = @before
        @attempts -= 1
      end

      # @api private
      # @param texts [Array<String>]
      def progressed(texts) = @progress_text = texts.last || @progress_text

      # @api private
      # @param outcome [Hash] a `StepOutcome`
      # @param now [Time]
      def settle(outcome, now)
        @duration_us = outcome['duration_us']
        @failure = outcome['error']
        @failure ? fail(now) : finish('complete', now, outcome['result'])
      end

      # @api private
      def resolve(result, now, bypassed: false)
        @bypassed = bypassed
        finish('resolved_manually', now, result)
      end

      # @api private
      def cancel(now) = finish('cancelled', now)

      # @api private
      def reset
        @limit = attempts + template.retry_limit
        @state = 'pending'
        @finished_at = nil
      end

      # @return [String]
      def inspect = "#<#{self.class.name} #{name} #{state}>"

      private

      def fail(now)
        return finish('error', now) unless @failure['retryable'] && template.retryable? && attempts < limit

        @state = 'waiting_for_retry'
        since_reset = attempts - [limit - template.retry_limit, attempts - 1].min
        @retry_at = now + (Backoff.asked(@failure['retry_after']) || template.backoff.delay(since_reset))
      end

      def finish(state, now, result = nil)
        @state = state
        @result_text = result
        @retry_at = nil
        @finished_at = now
      end
    end
  end
end
