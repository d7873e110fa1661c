# frozen_string_literal: true

require_relative '../promise'
require_relative 'runner'

module TaskerCore
  class Worker
    # The threads that run handlers. They know nothing of sockets.
    #
    # 1. Runs jobs in the order in which they came, as many at once as there are threads.
    # 2. Interrupts the one job that it is asked to, and nothing else.
    # 3. Gives every job back, even when a handler ends its thread.
    #
    # @api private
    class Pool
      # A thread's present job. The lock decides whether an interrupt comes before or after the job's end.
      Slot = Struct.new(:thread, :job, :interrupted, :lock)
      # A thread that has computed for this long lets the others, and so the results, go first.
      TURN_SECONDS = 0.001
      private_constant :Slot, :TURN_SECONDS

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

      # Ends the threads: at once, or when they have nothing to do.
      def stop(kill: false)
        @killed = kill
        @jobs.close
        @slots.each { |slot| slot.thread.kill } if kill
        @slots.each { |slot| slot.thread.join(1) }
      end

      private

      def start(slot, index)
        slot.thread = Thread.new { Thread.handle_interrupt(StepInterrupt => :never) { work(slot, index) } }
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
        replace(slot, job, index) unless job.ended?
        @on_end.call(job) unless @killed
      end

      # Its batch is closed, it was cancelled, or the broker has given it up already.
      def not_wanted?(job)
        job.batch.closed || job.step.cancelled? || job.expired?(Clock.now)
      end

      # The handler ended this thread: the job gets an outcome, the pool a new thread.
      def replace(slot, job, index)
        @runner.fail(job, Errors::RetryableError.new('the handler ended the thread that ran it'))
        start(slot, index) unless @killed
      end

      # From here on no interrupt is meant for this job; one that is on its way is let in and forgotten.
      def settle(slot)
        interrupted = slot.lock.synchronize do
          slot.job = nil
          slot.interrupted.tap { slot.interrupted = false }
        end
        Thread.handle_interrupt(StepInterrupt => :immediate) { Thread.pass } if interrupted
      rescue StepInterrupt
        nil
      end
    end
  end
end
