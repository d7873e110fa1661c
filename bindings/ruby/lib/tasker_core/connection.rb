# frozen_string_literal: true

require_relative 'announcements'
require_relative 'event_loop'
require_relative 'link'
require_relative 'requests'

module TaskerCore
  # A client's connection to the broker.
  #
  # 1. Any thread asks and waits; one thread of its own owns the socket.
  # 2. Replies are matched by correlation id; what comes too late is dropped.
  # 3. In a forked child it starts anew: nothing of the parent's is touched.
  #
  # @api private
  class Connection
    def initialize(endpoints, logger:, curve: nil)
      @endpoints = endpoints
      @curve = curve
      @logger = logger
      @mutex = Mutex.new
    end

    # @return [Protocol::Message] the reply
    # @raise [Errors::CommandRefusedError, Errors::RequestTimeoutError, Errors::ConnectionClosedError,
    #   Errors::KeyRefusedError]
    def request(type, fields, timeout:, repeatable: false)
      event_loop, requests = opened
      Requests.await(event_loop, requests, type, fields, timeout: timeout, repeatable: repeatable) do |pending|
        transmit(pending)
      end
    end

    # Tells the broker that there is something in its inbox, and does not wait for the answer.
    #
    # @param timeout [Numeric] seconds after which it is not sent any more
    # @raise [Errors::ConnectionClosedError]
    def announce(timeout:)
      event_loop, _, announcements = opened
      event_loop.post { announcements.announce(timeout) }
    end

    def close
      event_loop = @mutex.synchronize do
        @closed = true
        @event_loop if @pid == Process.pid
      end
      return unless event_loop

      event_loop.post { @requests.fail_all(Errors::ConnectionClosedError.new('the client was closed')) }
      event_loop.stop
    end

    # @api private called by the link, in the loop's thread
    def message(message)
      return if @requests.resolve(message) || message.type != 'Error'

      @logger.warn("the broker refused something: #{message['code']}: #{message['message']}")
    end

    # @api private called by the link
    def link_up
      @announcements.link_up
      @requests.repeatable.each { |pending| transmit(pending) } if @interrupted
      @interrupted = false
    end

    # @api private called by the link
    def link_down = @interrupted = true

    # @api private called by the link
    def link_refused(error)
      @link.clear
      @requests.fail_all(error)
    end

    private

    def transmit(pending)
      # The broker's list of keys may have changed since.
      @link.reopen
      return if @link.send(pending.type, pending.fields, expires_at: pending.expires_at)

      @requests.forget(pending.id)
      pending.promise.give(Errors::ConnectionClosedError.new('too many commands wait for a connection to the broker'))
    end

    def opened
      @mutex.synchronize do
        raise Errors::ConnectionClosedError, 'the client was closed' if @closed

        start unless @pid == Process.pid && @event_loop.running?
        [@event_loop, @requests, @announcements]
      end
    end

    def start
      @pid = Process.pid
      @requests = requests = Requests.new
      @announcements = Announcements.new(requests, logger: @logger) { |pending| transmit(pending) }
      @interrupted = false
      @event_loop = event_loop = EventLoop.new('tasker-client', logger: @logger)
      event_loop.on_crash = ->(error) { requests.fail_all(Errors::ConnectionClosedError.new(error.message)) }
      event_loop.start do
        @link = Link.new(@endpoints, owner: self, logger: @logger, curve: @curve)
        event_loop.add(@link)
      end
    end
  end
end
