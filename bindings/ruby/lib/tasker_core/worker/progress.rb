# frozen_string_literal: true

require_relative '../promise'
require_relative 'runner'

module TaskerCore
  class Worker
    # What running steps say about how far they are, on its way to one broker.
    #
    # 1. Sends what a step says at once, and then once a second at most: the latest stands.
    # 2. Keeps nothing: what cannot be sent now is lost.
    #
    # @api private
    class Progress
      # A step is heard once in so many seconds: often enough for whoever looks at it, and rare for the broker.
      INTERVAL_SECONDS = 1
      # An interrupt of the handler waits until what it said is on its way.
      MASKED = INTERRUPTS.to_h { |kind| [kind, :never] }.freeze
      private_constant :MASKED

      # @param event_loop [EventLoop]
      # @yield [job, text] in the loop's thread: sends it
      def initialize(event_loop, &send)
        @event_loop = event_loop
        @send = send
        @lock = Mutex.new
        @waiting = {}.compare_by_identity
      end

      # Called in handler threads.
      #
      # @param text [String] JSON text
      def say(job, text)
        Thread.handle_interrupt(MASKED) do
          known = @lock.synchronize do
            known = @waiting.key?(job)
            @waiting[job] = text
            known
          end
          @event_loop.post { take(job) } unless known
        end
      end

      private

      def take(job)
        due_at = job.progress_at ? job.progress_at + INTERVAL_SECONDS : 0
        now = Clock.now
        return @event_loop.after(due_at - now) { take(job) } if due_at > now && !job.ended?

        text = @lock.synchronize { @waiting.delete(job) }
        return if job.ended?

        job.progress_at = now
        @send.call(job, text)
      end
    end
  end
end
