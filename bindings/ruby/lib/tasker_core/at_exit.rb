# frozen_string_literal: true

require_relative 'zmq'

module TaskerCore
  # Closes what is still open when the process ends: libzmq's threads must not outlive its static data, which the C
  # runtime tears down at exit. Without this, one process in twelve that left its client open died of a segmentation
  # fault.
  #
  # @api private
  module AtExit
    # Longest wait for one loop, in seconds; past it the process ends without waiting for the rest.
    STOP_TIMEOUT = 2
    private_constant :STOP_TIMEOUT

    @mutex = Mutex.new
    @loops = []

    class << self
      # @param event_loop [EventLoop] one that has just started
      def watch(event_loop)
        @mutex.synchronize do
          # Loops of a parent process do not run here.
          @loops = [] unless @pid == Process.pid
          at_exit { close_all } unless @pid
          @pid = Process.pid
          @loops << event_loop
        end
      end

      # @param event_loop [EventLoop] one that has ended
      def forget(event_loop)
        @mutex.synchronize { @loops.delete(event_loop) }
      end

      # Stops all loops and ends the context.
      def close_all
        loops = @mutex.synchronize { @pid == Process.pid ? @loops.dup : [] }
        ZMQ.terminate if loops.map { |event_loop| event_loop.stop(STOP_TIMEOUT) }.all?
      end
    end
  end
end
