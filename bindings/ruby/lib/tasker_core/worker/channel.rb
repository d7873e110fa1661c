# frozen_string_literal: true

require 'ffi'
require 'msgpack'

module TaskerCore
  class Worker
    # One end of the connection between a supervisor and a child: MessagePack arrays over a pair of UNIX sockets. A
    # source of an {EventLoop}, in either process.
    #
    # 1. Sends what a turn of the loop has brought about in one go, or keeps it until there is room.
    # 2. Hands each message that arrives to its block.
    # 3. Says once when the other end is gone, after everything that had been sent before.
    #
    # @api private
    class Channel
      READ_BYTES = 65_536
      # Reads before other sources get their turn.
      BURST = 64
      private_constant :READ_BYTES, :BURST

      # Whether there may be something to read; set by the loop's poller.
      attr_writer :readable

      # @param io [UNIXSocket] this end
      # @param on_end [#call] called when the other end is gone
      # @yield [kind, *rest] a message
      def initialize(io, on_end:, &on_message)
        @io = io
        @on_end = on_end
        @on_message = on_message
        @readable = true
        @read = String.new(capacity: READ_BYTES)
        @unpacker = MessagePack::Unpacker.new(freeze: true)
        @out = String.new
      end

      # @param message [Array] a kind, and what goes with it
      def send(*message)
        @out << MessagePack.pack(message)
      end

      def pump
        return false unless @readable && !@io.closed?

        BURST.times { return false unless read }
        true
      end

      def flush
        until @out.empty? || @io.closed?
          written = @io.write_nonblock(@out, exception: false)
          return if written == :wait_writable

          @out.slice!(0, written)
        end
      rescue Errno::EPIPE, Errno::ECONNRESET
        # Reading says so as well, after what has come before.
        @out.clear
      end

      def poll_sockets = @io.closed? ? [] : [[self, !@out.empty?]]
      def close = @io.close

      # What a poller asks of a socket.
      def pointer = FFI::Pointer::NULL
      def descriptor = @io.fileno
      def silent? = true

      private

      # @return [Boolean] whether there may be more
      def read
        case @io.read_nonblock(READ_BYTES, @read, exception: false)
        when :wait_readable then @readable = false
        when nil then ended
        else @unpacker.feed_each(@read) { |message| @on_message.call(*message) } || true
        end
      rescue Errno::ECONNRESET
        ended
      end

      def ended
        close
        @on_end.call
        false
      end
    end
  end
end
