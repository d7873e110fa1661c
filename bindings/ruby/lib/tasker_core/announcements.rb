# frozen_string_literal: true

require_relative 'protocol'
require_relative 'requests'

module TaskerCore
  # Announcements that nobody waits for, of one connection. Lives in the loop's thread.
  #
  # 1. At most one is on its way: the broker looks into its inbox for all that was put there before.
  # 2. Who asks meanwhile may have come after that look: one more follows when the answer is there.
  # 3. One that is lost costs nothing but the time until it expires: the broker finds the requests by itself.
  # 4. A broker that takes none is not asked again before the next connection.
  #
  # @api private
  class Announcements
    # @param requests [Requests] where answers are waited for
    # @yield [pending] sends it
    def initialize(requests, logger:, &transmit)
      @requests = requests
      @logger = logger
      @transmit = transmit
    end

    # @param timeout [Numeric] seconds after which an unanswered one counts as lost
    def announce(timeout)
      return if @unwanted
      return @timeout = timeout if on_its_way?

      @requests.forget(@pending.id) if @pending
      id = Protocol.correlation_id
      @pending = Requests::Pending.new(id, 'AnnounceTasks', { 'correlation_id' => id }, self, Clock.now + timeout,
                                       false)
      @requests.add(@pending, &@transmit)
    end

    # The answer, or an error, in the place of a promise.
    def give(answer)
      @pending = nil
      timeout = @timeout
      @timeout = nil
      return refused(answer) if answer.is_a?(Protocol::Message) && answer.type == 'Error'

      announce(timeout) if timeout && answer.is_a?(Protocol::Message)
    end

    # There is a new connection, perhaps to another broker.
    def link_up = @unwanted = false

    private

    def on_its_way? = @pending && Clock.now < @pending.expires_at

    def refused(answer)
      return if answer['retryable']

      @unwanted = true
      @logger.warn("the broker takes no announcements of tasks: #{answer['code']}: #{answer['message']}")
    end
  end
end
