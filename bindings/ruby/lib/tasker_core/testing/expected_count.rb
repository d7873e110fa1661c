# frozen_string_literal: true

module TaskerCore
  module Testing
    # How many of something a test expects.
    #
    # @api private
    class ExpectedCount
      NAMES = { 1 => 'once', 2 => 'twice', 3 => 'three times' }.freeze
      private_constant :NAMES

      # @param range [Range]
      # @param words [String] before the number
      def initialize(range = 1.., words = 'at least')
        @range = range
        @words = words
      end

      def self.exactly(count) = new(count..count, 'exactly')
      def self.at_least(count) = new(count.., 'at least')
      def self.at_most(count) = new(0..count, 'at most')

      def met_by?(count) = @range.cover?(count)

      def to_s
        number = @words == 'at most' ? @range.end : @range.begin
        "#{@words} #{ExpectedCount.times(number)}"
      end

      # @return [String]
      def self.times(number) = NAMES.fetch(number, "#{number} times")
    end
  end
end
