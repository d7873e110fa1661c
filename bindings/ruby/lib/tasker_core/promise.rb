# frozen_string_literal: true

module TaskerCore
  # A value that another thread will give. The first value given stands.
  #
  # @api private
  class Promise
    def initialize
      @mutex = Mutex.new
      @given = ConditionVariable.new
      @done = false
    end

    def give(value)
      @mutex.synchronize do
        return false if @done

        @done = true
        @value = value
        @given.broadcast
      end
      true
    end

    def given? = @mutex.synchronize { @done }

    # @param timeout [Numeric, nil] seconds; `nil` waits for ever
    # @return [Array(Boolean, Object)] whether there is a value, and the value
    def wait(timeout = nil)
      deadline = timeout && (Clock.now + timeout)
      @mutex.synchronize do
        until @done
          remaining = deadline && (deadline - Clock.now)
          break if remaining && remaining <= 0

          @given.wait(@mutex, remaining)
        end
        [@done, @value]
      end
    end
  end

  # Seconds on the monotonic clock, for deadlines and durations.
  #
  # @api private
  module Clock
    def self.now = Process.clock_gettime(Process::CLOCK_MONOTONIC)
  end
end
