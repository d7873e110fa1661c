# frozen_string_literal: true

require_relative 'nursery'

module TaskerCore
  class Worker
    # The processes that run handlers, in the place of a {Pool}. A source of the loop, in whose thread it lives unless
    # a method says otherwise.
    #
    # 1. Hands each job to the child that has least to do, and keeps those for which no thread is free.
    # 2. Passes on what jobs ask, and what they are told.
    # 3. Gives every job back, even when its child has died: as a failure if it had started, unless the worker stops it,
    #    else as not started.
    #
    # @api private
    class Children
      # What a job may ask of its batch.
      QUESTIONS = %w[fetch_result].freeze

      # @param limits [Hash] see {Nursery#initialize}
      # @yield [job] when a job has ended
      def initialize(count, threads, runner, worker:, event_loop:, logger:, limits:, &on_end)
        @event_loop = event_loop
        @runner = runner
        @worker = worker
        @on_end = on_end
        @waiting = []
        @nursery = Nursery.new(count, threads, self, event_loop: event_loop, logger: logger,
                                                     limits: limits) do |io, marks|
          ChildProcess.new(io, marks, size: threads, runner: runner, worker: worker, logger: logger).run
        end
        @nursery.open
      end

      # @param jobs [Array<Job>]
      def push(jobs)
        @waiting.concat(jobs)
        dispatch
      end

      # There is no lock of Ruby to give way with.
      def attended = nil

      # The worker drains: there is no need of further children.
      # @return [Array<Job>] those that no child has been handed yet
      def take_waiting
        @nursery.close
        @waiting.slice!(0..)
      end

      # From any thread.
      # @return [Array<Job>] those that children have
      def running = @nursery.children.flat_map(&:jobs)

      # @return [Array<Thread>] none is in this process
      def threads = []

      # Tells the handler of this job, which may look.
      def cancel(job)
        job.step.cancel!
        @nursery.children.any? { |child| child.tell('cancel', job) }
      end

      # Raises in the handler of this job, if it runs.
      # @param error [StepInterrupt]
      # @return [Boolean] whether a child has it
      def interrupt(job, error)
        @nursery.children.any? { |child| child.tell('interrupt', job, error.message, error.timeout_duration) }
      end

      # Raises {StopInterrupt} in every handler that runs. From any thread.
      def interrupt_all
        @event_loop.post do
          running.each { |job| job.stopped = true }
          tell_all('stop')
        end
      end

      # Ends the children at once, whatever they do. From any thread.
      def kill
        @nursery.close
        @nursery.children.each(&:kill)
      end

      # Ends the children: at once, or when they have nothing to do. After the loop has ended, which tells them so.
      # @return [Boolean] whether they have ended
      def stop(kill: false)
        @nursery.close
        self.kill if kill
        return true if @nursery.wait(1)

        self.kill
        @nursery.wait(1)
      end

      # Renews the children, one after the other. From any thread.
      def roll = @event_loop.post { @nursery.roll }

      # Has each child write to the log what its threads do. From any thread.
      def dump = @event_loop.post { tell_all('dump') }

      # @return [Array<Hash>] from any thread: process id, state and running steps of each child
      def status
        @nursery.children.map { |child| { pid: child.pid, state: child.state, busy: child.load, steps: child.handed } }
      end

      # A source of the loop.

      def pump = channels.map(&:pump).any?
      def flush = channels.each(&:flush)
      def poll_sockets = channels.flat_map(&:poll_sockets)

      # Children take it as the end.
      def close = channels.each(&:close)

      # What children say, and the nursery of them.

      def child_ready(child)
        @nursery.ready(child)
        dispatch
      end

      def jobs_ended(child, jobs)
        jobs.each(&@on_end)
        @nursery.jobs_ended(child)
        dispatch
      end

      # Questions take their time, as the loop's thread must not.
      # @yield [answer, error] in the loop's thread; the error as bytes
      def asked(job, question, arguments, &answer)
        Thread.new do
          answered = [ask(job, question, arguments), nil]
        rescue StandardError => e
          answered = [nil, bytes(e)]
        ensure
          @event_loop.post { answer.call(*answered) }
        end
      end

      # @param how [String] a child has ended
      # @param started [Array<Job>] what it leaves
      # @param others [Array<Job>]
      def child_ended(how, started, others)
        started.each do |job|
          next job.state = :returned if job.stopped

          @runner.lose(job, Errors::ProcessDiedError.new("#{how}, while it ran this step", retry_after: 0))
        end
        started.each(&@on_end)
        others.each { |job| give_back(job) }
      end

      # No child can be had.
      def hopeless(error) = @worker.pool_failed(error)

      private

      def ask(job, question, arguments)
        raise Errors::PermanentError, "#{question} is no question" unless QUESTIONS.include?(question)

        job.batch.public_send(question, *arguments)
      end

      # Some errors have with them what cannot leave the process.
      def bytes(error)
        Marshal.dump(error)
      rescue TypeError
        Marshal.dump(Errors::RetryableError.new("#{error.class}: #{error.message}"))
      end

      def channels = @nursery.children.map(&:channel)
      def tell_all(*message) = channels.each { |channel| channel.send(*message) }

      def dispatch
        busy = {}.compare_by_identity
        while @waiting.any? && (child = @nursery.freest)
          job = @waiting.shift
          next give_back(job) if job.batch.closed || job.step.cancelled?

          child.take(job)
          busy[child] = true
        end
        busy.each_key(&:hand_over)
      end

      def give_back(job)
        job.state = :returned
        @on_end.call(job)
      end
    end
  end
end
