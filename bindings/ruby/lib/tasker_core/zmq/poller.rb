# frozen_string_literal: true

require_relative 'library'

module TaskerCore
  module ZMQ
    # Waits until one of several sockets, or a file descriptor, has something to do. A socket that is only read from is
    # waited for by its descriptor: libzmq would ask each socket twice before it sleeps, and once more after.
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
        @sockets = nil
      end

      # @param sockets [Array<Array(Socket, Boolean)>] each with whether room to send is waited for as well
      # @param timeout_ms [Integer] -1 waits for ever; 0 keeps Ruby's lock
      # @return [Boolean] whether the descriptor can be read
      def wait(sockets, timeout_ms)
        arrange(sockets) unless sockets == @sockets
        timeout_ms = 0 unless sockets.all? { |socket, _| socket.silent? }
        count = sockets.size + 1
        found = timeout_ms.zero? ? Library.zmq_poll_now(@items, count, 0) : Library.zmq_poll(@items, count, timeout_ms)
        return false if found.zero?

        # After an interrupted or failed poll the sockets are read, and say what is wrong.
        sockets.each_with_index { |(socket, _), index| socket.readable = true if found == -1 || happened?(index + 1) }
        happened?(0)
      end

      private

      # Nearly always the sockets are those of the time before.
      def arrange(sockets)
        @items = FFI::MemoryPointer.new(ITEM_BYTES, sockets.size + 1)
        put(0, FFI::Pointer::NULL, @fd, POLLIN)
        sockets.each_with_index do |(socket, writable), index|
          pointer = writable ? socket.pointer : FFI::Pointer::NULL
          put(index + 1, pointer, socket.descriptor, writable ? POLLIN | POLLOUT : POLLIN)
        end
        @sockets = sockets
      end

      def happened?(index) = @items.get_int16((index * ITEM_BYTES) + 14) != 0

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
