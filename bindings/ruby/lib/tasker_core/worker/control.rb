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

      # @param worker [#cancelled, #drain_requested, #curve] told of what is hinted
      # @param sessions [Array<Session>] with the brokers whose hints count
      def initialize(endpoints, event_loop, worker, sessions, logger)
        @worker = worker
        @sessions = sessions
        @logger = logger
        @subscriber = Subscriber.new(endpoints, ['control.'], event_loop: event_loop, logger: logger,
                                                              curve: worker.curve) { |frames| read(frames) }
      end

      private

      def read(frames)
        message = Protocol.decode(*frames.last(2))
        obey(message.fields) if message.type == 'Control'
      rescue Protocol::MalformedError => e
        @logger.warn("dropped a control message: #{e.message}")
      end

      # @param hint [Hash] a `Control`
      def obey(hint)
        sessions = @sessions.select { |session| session.broker?(hint['broker_id']) }
        return if sessions.empty?

        case hint['kind']
        when 'cancel'
          jobs = sessions.flat_map { |session| session.reports.batches.flat_map(&:jobs) }
          @worker.cancelled(jobs.select { |job| job.task.task_id == hint['task_id'] }, 'cancelled')
        when 'drain' then @worker.drain_requested('all workers drain')
        when 'pause' then @logger.info('the broker is stopping; results are kept until it is back')
        end
      end
    end
  end
end
