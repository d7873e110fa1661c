# frozen_string_literal: true

require_relative '../execution/attempt'
require_relative '../promise'
require_relative 'runner'

module TaskerCore
  class Worker
    # The threads that run handlers. They know nothing of sockets.
    #
    # 1. Starts jobs in the order in which they came, as many at once as there are threads.
    # 2. Interrupts the one job that it is asked to, or all that run, and nothing else.
    # 3. Gives every job back, even when a handler ends its thread. What is killed is not given back.
    #
    # To wake a thread costs more than to run a small handler. So jobs wake one thread, and whichever thread takes a job
    # while others wait wakes one more, which gets Ruby's lock as soon as a handler waits for something, or computes for
    # long: no job waits for a handler while a thread is free, and a batch of small jobs is done by one or two threads.
    #
    # @api private
    class Pool
      # A thread's present job, and what wakes the thread when it has none.
      Slot = Struct.new(:thread, :job, :interrupted, :bell, keyword_init: true)
      # When handlers have computed for this long, the loop's thread, and so the results, get their turn.
      TURN_SECONDS = 0.001
      MASKED = INTERRUPTS.to_h { |kind| [kind, :never] }.freeze
      private_constant :Slot, :TURN_SECONDS, :MASKED

      attr_reader :size

      # @yield [job] in the pool's thread, when the job has ended; the pool must not be called from there
      def initialize(size, runner, &on_end)
        @size = size
        @runner = runner
        @on_end = on_end
        # Guards what follows, and the slots. An interrupt comes before or after a job's end, never at it.
        @lock = Mutex.new
        @waiting = []
        # Slots without a job. The last to come is the first to go: its stack is still in the caches.
        @idle = []
        # The one that was woken and has not come yet.
        @woken = nil
        @closed = @killed = false
        @turn_began = Clock.now
        @slots = Array.new(size) { Slot.new(bell: ConditionVariable.new) }
        @slots.each_with_index { |slot, index| start(slot, index) }
      end

      # @param jobs [Array<Job>]
      def push(jobs)
        attended
        @lock.synchronize do
          @waiting.concat(jobs)
          wake_one
        end
      end

      # Notes that the loop's thread has its turn, or has had it.
      def attended = @turn_began = Clock.now

      # @return [Array<Job>] those that no thread has taken yet
      def take_waiting = @lock.synchronize { @waiting.slice!(0..) }

      # @return [Array<Job>] those that run
      def running = @slots.filter_map(&:job)

      # @return [Array<Thread>]
      def threads = @slots.map(&:thread)

      # Tells the handler of this job, which may look.
      def cancel(job) = job.step.cancel!

      # Raises in the handler of this job, if it runs.
      # @return [Boolean] whether it runs
      def interrupt(job, error)
        @lock.synchronize do
          slot = @slots.find { |candidate| candidate.job.equal?(job) }
          return false unless slot && !slot.interrupted

          slot.interrupted = true
          slot.thread.raise(error)
        end
        true
      end

      # Raises {StopInterrupt} in every handler that runs, whether or not it was interrupted before.
      def interrupt_all
        @lock.synchronize do
          @slots.select(&:job).each do |slot|
            slot.job.stopped = slot.interrupted = true
            slot.thread.raise(StopInterrupt, 'the worker stops')
          end
        end
      end

      # Ends the threads at once, whatever they do; their jobs are not given back.
      def kill
        @killed = true
        threads.each(&:kill)
      end

      # Ends the threads: at once, or when they have nothing to do.
      # @return [Boolean] whether no handler runs any more, after so many seconds at most
      def stop(kill: false, seconds: 1)
        @lock.synchronize do
          @closed = true
          @idle.each { |slot| slot.bell.signal }
        end
        self.kill if kill
        limit = Clock.now + seconds
        threads.each { |thread| thread.join([limit - Clock.now, 0].max) }
        running.empty?
      end

      # What {Children} have to say and to do besides: nothing here.

      def status = []
      def dump = nil
      def roll = nil

      private

      def start(slot, index)
        slot.thread = Thread.new { Thread.handle_interrupt(MASKED) { work(slot, index) } }
        slot.thread.name = "tasker-step-#{index}"
        slot.thread.report_on_exception = false
      end

      def work(slot, index)
        Execution::Attempt.held_by(slot)
        while (job = exchange(slot))
          run(job, turn)
        end
      ensure
        thread_ended(slot, index)
      end

      # Gives back the job that the slot had, and waits for the next. From then on no interrupt is meant for the former;
      # those that are on their way are let in and forgotten.
      def exchange(slot)
        interrupted = false
        job = @lock.synchronize do
          give_back(slot)
          interrupted = slot.interrupted
          next_job(slot) unless interrupted
        end
        return job unless interrupted

        slot.interrupted = false
        forget_interrupt while Thread.pending_interrupt?
        @lock.synchronize { next_job(slot) }
      end

      def give_back(slot)
        job = slot.job or return
        slot.job = nil
        @on_end.call(job) if job.ended?
      end

      def next_job(slot)
        rest(slot) while @waiting.empty? && !@closed
        slot.job = @waiting.shift
        wake_one
        slot.job
      end

      # A slot may also wake by itself.
      def rest(slot)
        @idle << slot
        slot.bell.wait(@lock)
      ensure
        forget(slot)
      end

      # It is not idle any more, or not there.
      def forget(slot)
        @woken.equal?(slot) ? @woken = nil : @idle.delete_if { |idle| idle.equal?(slot) }
      end

      # One at a time: the one that comes wakes the next if there is still need.
      def wake_one
        return if @woken || @waiting.empty?

        @woken = @idle.pop
        @woken&.bell&.signal
      end

      # The lock of Ruby goes to whoever has waited longest: that may be a thread that was woken for the next job, which
      # gets a turn as well. Then the loop's thread is next.
      # @return [Float] the time
      def turn
        now = Clock.now
        return now if now - @turn_began < TURN_SECONDS

        @turn_began = now
        Thread.pass
        Clock.now
      end

      def run(job, now)
        job.state = :running
        not_wanted?(job, now) ? job.state = :returned : @runner.run(job)
      end

      # Its batch is closed, it was cancelled, or the broker has given it up already.
      def not_wanted?(job, now)
        job.batch.closed || job.step.cancelled? || job.expired?(now)
      end

      # When a handler has ended the thread, the job gets an outcome, and the pool a new thread, which gives it back. A
      # thread that somebody ends while it wakes leaves that to others.
      def thread_ended(slot, index)
        job = slot.job
        return @lock.synchronize { job ? give_back(slot) : wake_one } if job.nil? || @killed

        @runner.fail(job, Errors::RetryableError.new('the handler ended the thread that ran it')) unless job.ended?
        slot.interrupted = false
        start(slot, index)
      end

      def forget_interrupt
        Thread.handle_interrupt(Runner::LET_IN) { Thread.pass }
      rescue *INTERRUPTS
        nil
      end
    end
  end
end
