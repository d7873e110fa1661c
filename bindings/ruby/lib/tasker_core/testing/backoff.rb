# frozen_string_literal: true

require 'time'

module TaskerCore
  module Testing
    # When a failed step is tried again, as the broker has it, without the spread.
    #
    # @api private
    class Backoff
      KINDS = %w[exponential linear fixed].freeze
      BASE_SECONDS = 1
      CAP_SECONDS = 300
      # Longest wait that a handler may ask for: a day.
      ASKED_MAX = 86_400
      SECONDS = /\A\d+(\.\d+)?\z/
      private_constant :BASE_SECONDS, :CAP_SECONDS, :ASKED_MAX, :SECONDS

      # @param text [String, nil] what an error says: seconds, or an HTTP date
      # @return [Rational, nil] seconds; nil when it is neither
      def self.asked(text)
        return unless text

        text = text.strip
        wait = SECONDS.match?(text) ? text.to_r : Time.httpdate(text).to_r - Time.now.to_r
        # Up to a full millisecond.
        Rational((wait * 1000).ceil, 1000).clamp(0, ASKED_MAX)
      rescue ArgumentError
        nil
      end

      # @param given [String, Hash, nil] `retry_backoff` of a template
      # @raise [ArgumentError]
      def initialize(given)
        given = { 'kind' => given } unless given.is_a?(Hash)
        unknown = given.keys - %w[kind base_seconds cap_seconds]
        raise ArgumentError, "retry_backoff has an unknown key #{unknown.first}" if unknown.any?

        @kind = given['kind'] || 'exponential'
        raise ArgumentError, "retry_backoff is none of #{KINDS.join(', ')}" unless KINDS.include?(@kind)

        @base = seconds(given['base_seconds'] || BASE_SECONDS)
        @cap = seconds(given['cap_seconds'] || CAP_SECONDS)
        raise ArgumentError, 'base_seconds is above cap_seconds, which no delay passes' if @base > @cap

        freeze
      end

      # @param attempt [Integer] the one that failed, from 1
      # @return [Rational] seconds
      def delay(attempt)
        grown = case @kind
                when 'exponential' then @base * (2**(attempt - 1))
                when 'linear' then @base * attempt
                else @base
                end
        [grown, @cap].min
      end

      private

      def seconds(value)
        return value.to_r if value.is_a?(Numeric) && !value.negative?

        raise ArgumentError, "#{value.inspect} are no seconds"
      end
    end
  end
end
