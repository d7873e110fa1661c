# frozen_string_literal: true

require_relative 'errors'
require_relative 'promise'
require_relative 'protocol'

module TaskerCore
  # Commands that wait for their reply, by correlation id. Lives in the loop's thread; {.await} is for the others.
  #
  # @api private
  class Requests
    Pending = Struct.new(:id, :type, :fields, :promise, :expires_at, :repeatable)

    # A request of the calling thread: made, posted to the loop, waited for, and forgotten whatever happens.
    #
    # @param event_loop [EventLoop]
    # @param requests [Requests]
    # @param repeatable [Boolean] whether it may be sent again after a reconnect
    # @yield [pending] in the loop's thread: sends it
    # @return [Protocol::Message] the reply
    def self.await(event_loop, requests, type, fields, timeout:, repeatable: false, &send)
      id = Protocol.correlation_id
      pending = Pending.new(id, type, { 'correlation_id' => id, **fields }, Promise.new, Clock.now + timeout,
                            repeatable)
      event_loop.post { requests.add(pending, &send) }
      given, reply = pending.promise.wait(timeout)
      unless given
        raise Errors::RequestTimeoutError.new("no reply to #{type} in #{timeout} s",
                                              timeout_duration: timeout)
      end
      raise reply if reply.is_a?(Exception)
      raise Errors::CommandRefusedError.from(reply.fields) if reply.type == 'Error'

      reply
    ensure
      event_loop.post { requests.forget(id) } unless given
    end

    def initialize
      @pending = {}
    end

    def add(pending)
      @pending[pending.id] = pending
      yield pending
    end

    def forget(id) = @pending.delete(id)

    # @return [Boolean] whether somebody waited for this message
    def resolve(message)
      pending = @pending.delete(message.correlation_id) or return false
      pending.promise.give(message)
      true
    end

    # Gives the error to all that wait.
    def fail_all(error)
      @pending.each_value { |pending| pending.promise.give(error) }
      @pending.clear
    end

    # What may be sent again: its reply may have gone down with the connection.
    def repeatable = @pending.each_value.select(&:repeatable)
  end
end
