# frozen_string_literal: true

require_relative '../promise'
require_relative 'runner'

module TaskerCore
  class Worker
    # The threads that run handlers. They know nothing of sockets.
    #
    # 1. Runs jobs in the order in which they came, as many at once as there are threads.
    # 2. Interrupts the one job that it is asked to, or all that run, and nothing else.
    # 3. Gives every job back, even when a handler ends its thread. What is killed is not given back.
    #
    # @api private
    class Pool
      # A thread's present job. The lock decides whether an interrupt comes before or after the job's end.
      Slot = Struct.new(:thread, :job, :interrupted, :lock)
      # A thread that has computed for this long lets the others, and so the results, go first.
      TURN_SECONDS = 0.001
      MASKED = INTERRUPTS.to_h { |kind| [kind, :never] }.freeze
      LET_IN = INTERRUPTS.to_h { |kind| [kind, :immediate] }.freeze
      private_constant :Slot, :TURN_SECONDS, :MASKED, :LET_IN

      attr_reader :size

      # @yield [job] in the pool's thread, when the job has ended
      def initialize(size, runner, &on_end)
        @size = size
        @runner = runner
        @on_end = on_end
        @jobs = Thread::Queue.new
        @killed = false
        @slots = Array.new(size) { |index| start(Slot.new(nil, nil, false, Mutex.new), index) }
      end

      def push(job) = @jobs << job

      # @return [Array<Job>] those that no thread has taken yet
      def take_waiting
        waiting = []
        waiting << @jobs.pop(true) until @jobs.empty?
        waiting
      rescue ThreadError
        waiting
      end

      # @return [Array<Job>] those that run
      def running = @slots.filter_map(&:job)

      # @return [Array<Thread>]
      def threads = @slots.map(&:thread)

      # Raises in the handler of this job, if it runs.
      # @return [Boolean] whether it runs
      def interrupt(job, error)
        slot = @slots.find { |candidate| candidate.job.equal?(job) } or return false
        slot.lock.synchronize do
          return false unless slot.job.equal?(job) && !slot.interrupted

          slot.interrupted = true
          slot.thread.raise(error)
        end
        true
      end

      # Raises {StopInterrupt} in every handler that runs, whether or not it was interrupted before.
      def interrupt_all
        @slots.each do |slot|
          slot.lock.synchronize do
            next unless slot.job

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
      # @return [Boolean] whether they have ended, a second later at most
      def stop(kill: false)
        @jobs.close
        self.kill if kill
        limit = Clock.now + 1
        threads.map { |thread| thread.join([limit - Clock.now, 0].max) }.all?
      end

      private

      def start(slot, index)
        slot.thread = Thread.new { Thread.handle_interrupt(MASKED) { work(slot, index) } }
        slot.thread.name = "tasker-step-#{index}"
        slot.thread.report_on_exception = false
        slot
      end

      def work(slot, index)
        turn_began = Clock.now
        while (job = @jobs.pop)
          run(slot, job, index)
          next if Clock.now - turn_began < TURN_SECONDS

          Thread.pass
          turn_began = Clock.now
        end
      end

      def run(slot, job, index)
        slot.lock.synchronize { slot.job = job }
        job.state = :running
        not_wanted?(job) ? job.state = :returned : @runner.run(job)
      ensure
        settle(slot)
        replace(slot, job, index) unless job.ended? || @killed
        @on_end.call(job) if job.ended?
      end

      # Its batch is closed, it was cancelled, or the broker has given it up already.
      def not_wanted?(job)
        job.batch.closed || job.step.cancelled? || job.expired?(Clock.now)
      end

      # The handler ended this thread: the job gets an outcome, the pool a new thread.
      def replace(slot, job, index)
        @runner.fail(job, Errors::RetryableError.new('the handler ended the thread that ran it'))
        start(slot, index)
      end

      # From here on no interrupt is meant for this job; those that are on their way are let in and forgotten.
      def settle(slot)
        interrupted = slot.lock.synchronize do
          slot.job = nil
          slot.interrupted.tap { slot.interrupted = false }
        end
        forget_interrupt while interrupted && Thread.pending_interrupt?
      end

      def forget_interrupt
        Thread.handle_interrupt(LET_IN) { Thread.pass }
      rescue *INTERRUPTS
        nil
      end
    end
  end
end
