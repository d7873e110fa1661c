# frozen_string_literal: true

require_relative 'library'

module TaskerCore
  module ZMQ
    # Waits until one of several sockets, or a file descriptor, has something to do.
    #
    # @api private
    class Poller
      POLLIN = 1
      POLLOUT = 2
      # struct zmq_pollitem_t: socket, file descriptor, events, events that happened
      ITEM_BYTES = 16
      private_constant :POLLIN, :POLLOUT, :ITEM_BYTES

      # @param io [IO] a descriptor that is always waited for
      def initialize(io)
        @fd = io.fileno
        @capacity = 0
      end

      # @param sockets [Array<Array(Socket, Boolean)>] each with whether room to send is waited for as well
      # @param timeout_ms [Integer] -1 waits for ever
      # @return [Boolean] whether the descriptor can be read
      def wait(sockets, timeout_ms)
        reserve(sockets.size + 1)
        put(0, FFI::Pointer::NULL, @fd, POLLIN)
        sockets.each_with_index do |(socket, writable), index|
          put(index + 1, socket.pointer, 0, writable ? POLLIN | POLLOUT : POLLIN)
        end
        # An interrupted or failed poll looks like one that timed out: the sockets are read next and say what is wrong.
        Library.zmq_poll(@items, sockets.size + 1, timeout_ms)
        @items.get_int16(14) != 0
      end

      private

      def reserve(count)
        return if count <= @capacity

        @capacity = count
        @items = FFI::MemoryPointer.new(ITEM_BYTES, count)
      end

      def put(index, pointer, descriptor, events)
        offset = index * ITEM_BYTES
        @items.put_pointer(offset, pointer)
        @items.put_int(offset + 8, descriptor)
        @items.put_int16(offset + 12, events)
        @items.put_int16(offset + 14, 0)
      end
    end
  end
end
