# frozen_string_literal: true

module TaskerCore
  module Execution
    # One attempt of a step, as middleware, error handlers and logs see it.
    class Attempt
      # Of the thread, and so of all fibers in it: a thread runs one step at a time.
      CURRENT = :tasker_core_holder
      Holder = Struct.new(:job)
      private_constant :CURRENT, :Holder

      class << self
        # @return [Attempt, nil] the attempt that this thread is running
        def current = Thread.current.thread_variable_get(CURRENT)&.job&.attempt

        # @api private
        # Says once where this thread's jobs are found, rather than each of them: most steps are never asked for.
        # @param holder [#job]
        def held_by(holder)
          Thread.current.thread_variable_set(CURRENT, holder)
        end

        # @api private
        # Runs the block as that of a job, in a thread that has none of its own.
        # @param job [Worker::Job]
        def during(job)
          outer = Thread.current.thread_variable_get(CURRENT)
          held_by(Holder.new(job))
          yield
        ensure
          held_by(outer)
        end
      end

      # @return [Exception, nil] why it failed: a {RetryableError} or {PermanentError} if its handler returned an error
      attr_accessor :error

      # @api private
      # @param job [#task, #step, #sequence, #handler]
      def initialize(job)
        @job = job
      end

      # @return [Task]
      def task = @job.task

      # @return [Step]
      def step = @job.step

      # @return [Sequence]
      def sequence = @sequence ||= @job.sequence

      # @return [String, nil] the span that this one is part of: the broker's, or that in which the task was submitted
      def traceparent = step.traceparent || task.traceparent

      # What runs the step. It is made when it is first asked for, at the latest within the innermost middleware. A
      # workflow's step runs in an instance of its class that is made only then; here is what calls it.
      #
      # @return [Object, nil] nil after the end of an attempt that did not come to make it
      # @raise [Errors::ConfigurationError] when there is no such handler
      def handler
        @handler ||= @job.handler || @runner&.handler_for(@job)
      end

      # @api private
      # @param runner [#handler_for] makes the handler, from now until the end
      def open(runner)
        @runner = runner
        self
      end

      # @api private
      # No handler is made from now on.
      def close
        @runner = nil
        @handler ||= @job.handler
        self
      end

      # @return [String]
      def inspect = "#<#{self.class.name} #{step.name} of #{task.task_id}, attempt #{step.attempt}>"
    end
  end
end
