# frozen_string_literal: true

require_relative 'errors'
require_relative 'link'
require_relative 'zmq'

module TaskerCore
  # One SUB connected to brokers, used in an {EventLoop}: hands on the frames that arrive. Where its key is refused it
  # says so, and tries again later, because the broker's list may change.
  #
  # @api private
  class Subscriber
    AGAIN_SECONDS = 5
    private_constant :AGAIN_SECONDS

    # @param endpoints [Array<String>]
    # @param topics [Array<String>] prefixes
    # @param backlog [Integer] messages that wait to be read at most
    # @yieldparam frames [Array<String>]
    def initialize(endpoints, topics, event_loop:, logger:, curve: nil, backlog: 1000, &on_frames)
      @endpoints = endpoints
      @topics = topics
      @event_loop = event_loop
      @logger = logger
      @curve = curve
      @backlog = backlog
      @on_frames = on_frames
      connect
    end

    def pump
      busy = @monitor.read { |what, address| note(what, address) }
      Link::BURST.times do
        frames = @socket.receive or return busy
        @on_frames.call(frames)
      end
      true
    end

    # It sends nothing.
    def flush = nil

    def poll_sockets = [[@socket, false], @monitor.poll_socket]

    def close
      @monitor.close
      @socket.close
    end

    private

    def connect
      @connections = 0
      @socket = ZMQ::Socket.new(:sub, rcvhwm: @backlog, ipv6: 1, reconnect_ivl: 50, reconnect_ivl_max: 1000,
                                      **@curve&.options.to_h)
      @topics.each { |topic| @socket.set(:subscribe, topic) }
      @monitor = ZMQ::Monitor.new(@socket)
      @endpoints.each { |endpoint| @socket.connect(endpoint) }
    end

    def note(what, address)
      case what
      when :up then @connections += 1
      when :down then @connections -= 1 if @connections.positive?
      when :key_refused, :mechanism
        @logger.error(Errors::KeyRefusedError.for(what, address, keys: !@curve.nil?).message)
        @event_loop.after(AGAIN_SECONDS) { reopen }
      end
    end

    def reopen
      return if @connections.positive?

      close
      connect
    end
  end
end
