# frozen_string_literal: true

require 'socket'

module TaskerCore
  class CLI
    # Tells a service manager such as systemd how this process is (`sd_notify`): datagrams to the socket that it names.
    # Without one, nothing is said.
    #
    # @api private
    class ServiceManager
      # @param environment [Hash{String=>String}] with `NOTIFY_SOCKET`, `WATCHDOG_USEC` and `WATCHDOG_PID`
      def initialize(logger, environment = ENV)
        @logger = logger
        @watchdog_seconds = watchdog(environment)
        path = environment['NOTIFY_SOCKET'].to_s
        return if path.empty?

        # An "@" stands for the zero byte of an abstract socket.
        @address = Socket.sockaddr_un(path.sub(/\A@/, "\0"))
        @socket = Socket.new(:UNIX, :DGRAM)
      rescue ArgumentError => e
        @logger.warn("NOTIFY_SOCKET is of no use: #{e.message}")
      end

      # @return [Float, nil] it wants a sign of life that often
      attr_reader :watchdog_seconds

      def ready = tell('READY=1')
      def stopping = tell('STOPPING=1')
      def alive = tell('WATCHDOG=1')
      def status(text) = tell("STATUS=#{text}")

      private

      def watchdog(environment)
        mine = environment.fetch('WATCHDOG_PID', Process.pid.to_s) == Process.pid.to_s
        microseconds = environment['WATCHDOG_USEC'].to_i
        microseconds / 1e6 if mine && microseconds.positive?
      end

      def tell(text)
        @socket&.sendmsg_nonblock(text, 0, @address, exception: false)
      rescue SystemCallError => e
        @logger.warn("the service manager cannot be told: #{e.message}")
        @socket = nil
      end
    end
  end
end
