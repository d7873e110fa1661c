# frozen_string_literal: true

require 'securerandom'
require_relative 'protocol'
require_relative 'zmq'

module TaskerCore
  # One DEALER connected to a broker, used in an {EventLoop}.
  #
  # 1. Sends the messages of a turn of the loop together, so that the broker can handle them in one go, or keeps them
  #    until there is a connection with room.
  # 2. Hands each message that arrives to the owner; bytes that are none are logged and dropped.
  # 3. Tells the owner when the connection comes and goes, and when the broker refuses the key.
  #
  # @api private
  class Link
    # Messages read before others get their turn.
    BURST = 256
    # Messages kept while there is no room for them; whoever sends more is told so.
    OUTBOX_MAX = 10_000
    # Messages that are taken in one, and bytes that are sent in one: more than it takes to wake a thread is not saved.
    BUNDLE_MAX = 16
    BUNDLE_BYTES_MAX = 65_536
    # A path on which nothing is acknowledged for so long is dead, and the connection is made anew; as the broker does.
    UNACKNOWLEDGED_MS = 20_000

    # Time of the last message from the broker, on the monotonic clock.
    attr_reader :heard_at
    # How many messages the broker takes in one, until the connection is lost.
    attr_writer :bundle_max

    # @param endpoints [Array<String>]
    # @param owner [#message, #link_up, #link_down, #link_refused]
    # @param curve [Curve, nil]
    def initialize(endpoints, owner:, logger:, curve: nil)
      @owner = owner
      @logger = logger
      @endpoints = endpoints
      @curve = curve
      @outbox = []
      connect
    end

    # @return [Boolean]
    def up? = @connections.positive?

    # Tries again where the broker has refused the key: libzmq does not.
    def reopen
      return unless @refused && !up?

      close
      connect
    end

    # @param expires_at [Float, nil] when the message is of no use any more, on the monotonic clock
    # @return [Boolean] `false` when there is no room and too much is waiting already
    def send(type, fields, expires_at: nil)
      flush if @outbox.size >= OUTBOX_MAX
      return false if @outbox.size >= OUTBOX_MAX

      @outbox << [Protocol.encode(type, fields), expires_at]
      true
    end

    # Forgets what was not sent yet.
    def clear = @outbox.clear

    def pump
      busy = @monitor.read { |what, address| note_connection(what, address) }
      BURST.times do
        frames = @socket.receive or return busy
        deliver(frames)
      end
      true
    end

    def flush
      until @outbox.empty?
        frames, expires_at = @outbox.first
        next @outbox.shift if expires_at && expires_at < Clock.now

        size = bundle_size
        frames = @outbox.first(size).flat_map(&:first) if size > 1
        return unless @socket.send_frames(frames)

        @outbox.shift(size)
      end
    end

    # The same arrays each time, which are soon compared.
    def poll_sockets = @outbox.empty? ? @to_read : @to_send

    def close
      @monitor.close
      @socket.close
    end

    private

    # With `immediate`, messages wait here and not in a connection that may never come: what has expired is not sent.
    def connect
      @connections = 0
      @bundle_max = 1
      @refused = false
      @socket = ZMQ::Socket.new(:dealer, routing_id: SecureRandom.hex(16), immediate: 1, linger: 1000, ipv6: 1,
                                         sndhwm: 1000, rcvhwm: 1000, reconnect_ivl: 50, reconnect_ivl_max: 1000,
                                         tcp_keepalive: 1, tcp_maxrt: UNACKNOWLEDGED_MS, handshake_ivl: 5000,
                                         **@curve&.options.to_h)
      @monitor = ZMQ::Monitor.new(@socket)
      @to_read, @to_send = [false, true].map { |sends| [[@socket, sends].freeze, @monitor.poll_socket].freeze }
      @endpoints.each { |endpoint| @socket.connect(endpoint) }
    end

    def note_connection(what, address)
      case what
      when :up
        @connections += 1
        @owner.link_up
      when :down
        # Also said of a connection whose handshake was never completed.
        return unless up?

        @connections -= 1
        return if up?

        @bundle_max = 1
        @owner.link_down
      when :key_refused, :mechanism then note_refusal(Errors::KeyRefusedError.for(what, address, keys: !@curve.nil?))
      else
        hint = @curve ? '; is the server key right?' : ''
        @logger.warn("the broker at #{address} did not complete the handshake#{hint}")
      end
    end

    def note_refusal(error)
      @refused = true
      @logger.error(error.message)
      @owner.link_refused(error) unless up?
    end

    # How many of the messages that wait are sent as one.
    def bundle_size
      most = [@bundle_max, @outbox.size].min
      return 1 if most <= 1

      bytes = 0
      fit = @outbox.first(most).take_while do |frames, expires_at|
        expires_at.nil? && (bytes += frames[1].bytesize) <= BUNDLE_BYTES_MAX
      end
      [fit.size, 1].max
    end

    # A message, or a bundle of them.
    def deliver(frames)
      @heard_at = Clock.now
      return hand_over(*frames) if frames.size == 2

      if frames.size.odd?
        @logger.warn("dropped a message of the broker: it has #{frames.size} frames instead of 2")
      else
        frames.each_slice(2) { |header, body| hand_over(header, body) }
      end
    end

    def hand_over(header, body)
      @owner.message(Protocol.decode(header, body))
    rescue Protocol::MalformedError => e
      @logger.warn("dropped a message of the broker: #{e.message}")
    rescue NameError, IndexError, TypeError, JSON::ParserError => e
      # A field is missing or of another type: that costs this message, not the connection.
      @logger.error("dropped a message of the broker: #{e.class}: #{e.message}\n#{e.backtrace.first(3).join("\n")}")
    end
  end
end
