# frozen_string_literal: true

require_relative '../promise'
require_relative 'thread_dump'

module TaskerCore
  class Worker
    # What a worker says of itself to those who look after it. From any thread.
    #
    # @api private
    class Vitals
      def initialize(worker, event_loop, pool)
        @worker = worker
        @event_loop = event_loop
        @pool = pool
      end

      # @param timeout [Numeric] seconds
      # @return [Boolean] whether the loop turns: it answers within the time
      def responsive?(timeout = 1)
        answer = Promise.new
        @event_loop.post { answer.give(true) }
        answer.wait(timeout).first
      end

      # @return [Hash{Symbol=>Object}] name, standing and counts
      def status
        { name: @worker.name, version: VERSION, pid: Process.pid, registered: @worker.registered?,
          stopping: @worker.stopping?, concurrency: @worker.concurrency, busy: @pool.running.size,
          processes: @pool.status }
      end

      # @return [Array<String>] the steps that run now, each with its task and attempt
      def running_steps = @pool.running.map(&:description)

      # Writes to the log what every thread does, of each process.
      def dump_threads(logger)
        ThreadDump.write(logger, running_steps)
        @pool.dump
      end
    end
  end
end
