# frozen_string_literal: true

require_relative 'event_loop'
require_relative 'protocol'
require_relative 'records'
require_relative 'subscriber'

module TaskerCore
  # Events of the broker, handed to a block: see {Client#subscribe}.
  #
  # 1. A thread of its own owns the SUB socket; another one calls the block, so that a slow block loses nothing at once.
  # 2. At most {BACKLOG_MAX} events wait for the block; what comes beyond that counts as a gap.
  class Subscription
    # Events that wait for the block at most.
    BACKLOG_MAX = 10_000

    # @api private
    def initialize(endpoints, topics, on_gap:, logger:, curve: nil, &block)
      raise ArgumentError, 'subscribe needs a block' unless block

      @endpoints = endpoints
      @topics = topics.map(&:to_s)
      @on_gap = on_gap
      @logger = logger
      @curve = curve
      @block = block
      @backlog = Thread::Queue.new
    end

    # @api private
    def start
      @event_loop = EventLoop.new('tasker-events', logger: @logger)
      @event_loop.start do
        # Numbers count over everything that is published: only who receives all of it can see a gap.
        topics = @on_gap ? [''] : @topics
        subscriber = Subscriber.new(@endpoints, topics, event_loop: @event_loop, logger: @logger, curve: @curve,
                                                        backlog: BACKLOG_MAX) { |frames| note(frames) }
        @event_loop.add(subscriber)
      end
      @caller = Thread.new { call_block }
      @caller.name = 'tasker-subscriber'
      self
    end

    # Ends the subscription; an event that the block is busy with is finished first.
    def close
      @event_loop.stop
      @backlog.close
      @caller.join unless Thread.current.equal?(@caller)
      nil
    end

    private

    def note(frames)
      raise Protocol::MalformedError, "an event has #{frames.size} frames instead of 3" unless frames.size == 3

      topic = frames.shift
      message = Protocol.decode(*frames)
      note_gap(message)
      return unless message.type == 'Event' && @topics.any? { |prefix| topic.start_with?(prefix) }

      @backlog.size < BACKLOG_MAX ? @backlog << Types::Event.from(message.fields) : gap(1)
    rescue Protocol::MalformedError, JSON::ParserError => e
      @logger.warn("dropped an event: #{e.message}")
    end

    def note_gap(message)
      return unless @on_gap

      sequence = message['sequence']
      missing = message['broker_id'] == @broker_id ? sequence - @sequence - 1 : 0
      @broker_id = message['broker_id']
      @sequence = sequence
      gap(missing) if missing.positive?
    end

    def gap(missing)
      @backlog << missing if @on_gap
    end

    def call_block
      while (item = @backlog.pop)
        begin
          item.is_a?(Integer) ? @on_gap.call(item) : @block.call(item)
        rescue StandardError => e
          @logger.error("the block of a subscription failed: #{e.class}: #{e.message}")
        end
      end
    end
  end
end
