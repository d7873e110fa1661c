# frozen_string_literal: true

require 'securerandom'
require_relative 'socket'

module TaskerCore
  module ZMQ
    # What happens to the connections of a socket. Made before the socket connects, and closed before it.
    #
    # @api private
    class Monitor
      HANDSHAKE_DONE = 0x1000
      DISCONNECTED = 0x0200
      BROKEN_OFF = 0x0800
      MISUNDERSTOOD = 0x2000
      KEY_REFUSED = 0x4000
      # The detail of `MISUNDERSTOOD`: one side wants CURVE, and the other does not.
      MECHANISM_MISMATCH = 0x1100_0002
      private_constant :HANDSHAKE_DONE, :DISCONNECTED, :BROKEN_OFF, :MISUNDERSTOOD, :KEY_REFUSED, :MECHANISM_MISMATCH

      # @param socket [Socket]
      def initialize(socket)
        @watched = socket
        address = "inproc://tasker-core-monitor-#{SecureRandom.hex(8)}"
        socket.monitor(address, HANDSHAKE_DONE | DISCONNECTED | BROKEN_OFF | MISUNDERSTOOD | KEY_REFUSED)
        @events = Socket.new(:pair)
        @events.connect(address)
        @poll_socket = [@events, false].freeze
      end

      # To be waited for, without room to send.
      # @return [Array(Socket, Boolean)]
      attr_reader :poll_socket

      # @yieldparam what [Symbol] `:up`, `:down`, `:broken_off` (tried again by itself), `:key_refused` or `:mechanism`
      #   (not tried again)
      # @yieldparam address [String]
      # @return [Boolean] whether anything has happened
      def read
        busy = false
        while (frames = @events.receive)
          busy = true
          yield what(*frames[0].unpack('SL')), frames[1]
        end
        busy
      end

      def close
        @watched.monitor(nil)
        @events.close
      end

      private

      def what(event, value)
        case event
        when HANDSHAKE_DONE then :up
        when DISCONNECTED then :down
        when KEY_REFUSED then :key_refused
        else event == MISUNDERSTOOD && value == MECHANISM_MISMATCH ? :mechanism : :broken_off
        end
      end
    end
  end
end
