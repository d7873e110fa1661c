# frozen_string_literal: true

require 'forwardable'
require_relative '../protocol'
require_relative '../subscriber'

module TaskerCore
  class Worker
    # Hints that brokers publish to all workers. Whatever must be known comes over the work endpoint as well.
    #
    # @api private
    class Control
      extend Forwardable

      def_delegators :@subscriber, :pump, :flush, :poll_sockets, :close

      # @yield [fields] a `Control`
      def initialize(endpoints, event_loop, logger, curve, &on_hint)
        @logger = logger
        @on_hint = on_hint
        @subscriber = Subscriber.new(endpoints, ['control.'], event_loop: event_loop, logger: logger,
                                                              curve: curve) { |frames| read(frames) }
      end

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
