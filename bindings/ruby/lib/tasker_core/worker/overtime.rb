# frozen_string_literal: true

module TaskerCore
  class Worker
    # Interrupts handlers that overrun their time while the broker is silent. Lives in the loop's thread.
    #
    # @api private
    class Overtime
      # @param batches [#call] all that are open
      # @yield [job] interrupts it
      def initialize(event_loop, batches, &interrupt)
        @event_loop = event_loop
        @batches = batches
        @interrupt = interrupt
      end

      # @param deadline [Float] of a job that has come, on the monotonic clock
      def watch(deadline)
        limit = deadline + GRACE_SECONDS
        return if @timer && @timer.at <= limit

        @timer&.cancel
        @timer = @event_loop.after(limit - Clock.now) { look }
      end

      private

      def look
        @timer = nil
        limit = Clock.now - GRACE_SECONDS
        overdue, others = unfinished.partition { |job| job.deadline <= limit }
        overdue.each { |job| @interrupt.call(job) }
        next_deadline = others.map(&:deadline).min
        watch(next_deadline) if next_deadline
      end

      def unfinished
        jobs = @batches.call.reject(&:ended?).flat_map(&:jobs)
        jobs.reject { |job| job.ended? || job.interrupted }
      end
    end
  end
end
