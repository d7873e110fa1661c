# frozen_string_literal: true

require_relative '../errors'

module TaskerCore
  module Testing
    # Which mode a thread is in: that of its innermost block, or that of the process.
    #
    # @api private
    class Modes
      KEY = :tasker_core_testing_modes
      private_constant :KEY

      # @return [Symbol] of threads that are in no block
      attr_accessor :process

      def initialize
        @process = :disabled
      end

      # @return [Symbol] `:fake`, `:inline` or `:disabled`
      def current = blocks.last || process

      # Until the block ends, in this thread only.
      def within(mode)
        blocks.push(mode)
        yield
      ensure
        blocks.pop
      end

      private

      def blocks
        Thread.current.thread_variable_get(KEY) || [].tap { |none| Thread.current.thread_variable_set(KEY, none) }
      end
    end
  end
end
