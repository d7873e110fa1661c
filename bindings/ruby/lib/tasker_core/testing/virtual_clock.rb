# frozen_string_literal: true

module TaskerCore
  module Testing
    # The time by which tests decide what is due: `Time.now`, which a test may have changed by other means, and what was
    # travelled on top of it.
    #
    # @api private
    class VirtualClock
      # @return [Rational] seconds that were travelled
      attr_accessor :offset

      def initialize
        @offset = 0r
      end

      # @return [Time]
      def now = Time.now + offset

      # @param seconds [Numeric]
      def travel(seconds)
        @offset += seconds.to_r
      end

      # @param time [Time]
      def travel_to(time)
        @offset = time.to_time.to_r - Time.now.to_r
      end

      # Never goes back.
      # @param time [Time]
      def advance_to(time)
        ahead = time.to_r - now.to_r
        @offset += ahead if ahead.positive?
      end

      # A moment that the application computed from `Time.now`, as this clock will show it.
      # @param time_ms [Integer] since the epoch
      # @return [Time]
      def moment(time_ms) = Time.at(Rational(time_ms, 1000)) + offset
    end
  end
end
