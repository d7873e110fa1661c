# frozen_string_literal: true

require_relative 'zmq/library'
require_relative 'zmq/socket'
require_relative 'zmq/monitor'
require_relative 'zmq/poller'

module TaskerCore
  # A thin binding to the system's libzmq: just what a worker and a client need.
  #
  # 1. Sends and receives never wait: they are made with `DONTWAIT` and hold Ruby's lock for a microsecond.
  # 2. Only polling and closing may wait, and they let other Ruby threads run meanwhile.
  # 3. The context belongs to one process: after a fork, the child makes its own.
  # 4. A socket belongs to the thread that made it.
  #
  # @api private
  module ZMQ
    @mutex = Mutex.new

    class << self
      # @return [FFI::Pointer] this process's context
      def context
        @mutex.synchronize do
          # What a parent process made is never touched: its I/O threads do not exist here.
          @context = nil unless @pid == Process.pid
          @pid = Process.pid
          @context ||= Library.zmq_ctx_new
        end
      end

      # Ends the context: waits until all sockets are closed and their last messages are out, or have lingered.
      def terminate
        context = @mutex.synchronize do
          mine = @context if @pid == Process.pid
          @context = nil
          mine
        end
        return unless context

        nil while Library.zmq_ctx_term(context) == -1 && Library.error_number == Library::EINTR
      end
    end
  end
end
