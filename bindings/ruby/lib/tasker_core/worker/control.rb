# frozen_string_literal: true

require_relative '../link'
require_relative '../protocol'
require_relative '../zmq'

module TaskerCore
  class Worker
    # Hints that brokers publish to all workers. Whatever must be known comes over the work endpoint as well.
    #
    # @api private
    class Control
      # @yield [fields] a `Control`
      def initialize(endpoints, logger, &on_hint)
        @logger = logger
        @on_hint = on_hint
        @socket = ZMQ::Socket.new(:sub, rcvhwm: 1000, ipv6: 1, reconnect_ivl: 50, reconnect_ivl_max: 1000,
                                        subscribe: 'control.')
        endpoints.each { |endpoint| @socket.connect(endpoint) }
      end

      def pump
        Link::BURST.times do
          frames = @socket.receive or return false
          read(frames)
        end
        true
      end

      def poll_sockets = [[@socket, false]]
      def close = @socket.close

      private

      def read(frames)
        message = Protocol.decode(*frames.last(2))
        @on_hint.call(message.fields) if message.type == 'Control'
      rescue Protocol::MalformedError => e
        @logger.warn("dropped a control message: #{e.message}")
      end
    end
  end
end
