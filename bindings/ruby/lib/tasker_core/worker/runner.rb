# frozen_string_literal: true

require_relative '../errors'
require_relative '../execution/attempt'
require_relative '../instrumentation'
require_relative '../json_text'
require_relative '../log_format'
require_relative '../promise'
require_relative '../types'
require_relative 'failure'

module TaskerCore
  class Worker
    # Interrupts a handler that has run for too long. A class of its own, so that the pool can mask exactly this.
    #
    # @api private
    class StepInterrupt < Errors::TimeoutError; end

    # Interrupts a handler because the worker's time for stopping is up. No StandardError: a handler that rescues errors
    # to try again is not meant to rescue this.
    #
    # @api private
    class StopInterrupt < Exception; end # rubocop:disable Lint/InheritException

    # What the pool masks outside of handlers.
    INTERRUPTS = [StepInterrupt, StopInterrupt].freeze
    private_constant :INTERRUPTS

    # Runs one job and makes its outcome. Whatever a handler does, there is an outcome, unless the worker stopped it:
    # then the job is returned.
    #
    # 1. Runs the handler, with the application's middleware around it.
    # 2. Tells the libraries of {Instrumentation} of it, and the application's error handlers of a failure.
    #
    # @api private
    class Runner
      LET_IN = INTERRUPTS.to_h { |kind| [kind, :immediate] }.freeze

      # @param configuration [Configuration] whose reloader, middleware and error handlers count
      def initialize(handlers, logger, configuration: TaskerCore.configuration)
        @handlers = handlers
        @logger = logger
        @reloader = configuration.reloader
        @lifecycle = configuration.lifecycle
        @middleware = configuration.worker_middleware
        @instruments = Instrumentation.loaded
        @tags = logger.respond_to?(:push_tags) && !logger.formatter.is_a?(LogFormat::Tagging)
      end

      # Called with {INTERRUPTS} masked: they can only ever hit the application's own code.
      # @param job [Job]
      def run(job)
        @reloader ? reloaded(job) : attempt(job)
      end

      # The outcome of a job that cannot be run, or whose result the broker will not take.
      # @param error [Exception]
      def fail(job, error)
        times = job.outcome&.slice('started_at_us', 'duration_us') || { 'started_at_us' => 0, 'duration_us' => 0 }
        job.outcome = failed(job, error).update(times)
        job.state = :error
      end

      # The outcome of a job whose process has died. The application hears of it in a thread of its own.
      # @param error [Exception]
      def lose(job, error)
        job.attempt.error = error
        self.fail(job, error)
        failure = job.outcome['error']
        Thread.new { tell(job, failure) } if @lifecycle.failures?
      end

      # @param job [Job]
      # @return [Object] its handler
      def handler_for(job)
        step = job.step
        handler = @handlers.build(step.handler_class, config: step.handler_config, logger: @logger)
        handler.tasker_core_attach(step) if handler.respond_to?(:tasker_core_attach)
        job.handler = handler
      end

      private

      # Around everything that is the application's. What is raised before the step has run, by code that does not load,
      # is the step's failure; what comes after it changes nothing any more.
      def reloaded(job)
        @reloader.call { attempt(job) }
      rescue Exception => e # rubocop:disable Lint/RescueException -- it runs the application's code
        log(job, e)
        self.fail(job, e) unless job.outcome || job.state == :returned
      end

      def attempt(job)
        started_at = Process.clock_gettime(Process::CLOCK_REALTIME, :microsecond)
        started = Process.clock_gettime(Process::CLOCK_MONOTONIC, :microsecond)
        outcome = @tags ? tagged(job) : instrumented(job)
        failed = outcome.key?('error')
        # The failure of a handler that was stopped is the stop's.
        return job.state = :returned if job.stopped && failed

        outcome['started_at_us'] = started_at
        outcome['duration_us'] = Process.clock_gettime(Process::CLOCK_MONOTONIC, :microsecond) - started
        tell(job, outcome['error']) if failed && @lifecycle.failures?
        job.outcome = outcome
        job.state = failed ? :error : :complete
      end

      # With a logger that has tags; for others, {LogFormat} looks at what the thread is doing.
      def tagged(job)
        @logger.push_tags(LogFormat::Tag.new(job))
        instrumented(job)
      ensure
        @logger.pop_tags
      end

      def instrumented(job)
        return ending_of(job) if @instruments.empty?

        Instrumentation.perform(@instruments, job, @logger) { ending_of(job) }
      end

      def ending_of(job)
        returned = Thread.handle_interrupt(LET_IN) { call(job) }
        case returned
        when Types::StepHandlerCallResult::Success then complete(job, returned.result, returned.metadata)
        when Types::StepHandlerCallResult::Error then refused(job, returned)
        else complete(job, returned, nil)
        end
      rescue Exception => e # rubocop:disable Lint/RescueException -- a handler may raise anything
        log(job, e) unless job.stopped
        job.attempt.error = e
        failed(job, e)
      end

      # Before the job has its outcome: whoever waits for it, or interrupts it, does so until the application is done.
      def tell(job, error)
        attempt = job.attempt.close
        last = !error['retryable'] || attempt.step.last_attempt?
        Thread.handle_interrupt(LET_IN) { @lifecycle.failed(attempt.error, attempt, last: last) }
      rescue *INTERRUPTS => e
        @logger.warn("told nobody else of the failure of #{attempt.step.name} of #{attempt.task.task_id}: #{e.message}")
      end

      def call(job)
        # As a rule there is none, and the way of every step is kept short.
        return perform(job, handler_for(job)) if @middleware.entries.empty?

        attempt = job.attempt.open(self)
        @middleware.invoke(attempt) { perform(job, attempt.handler) }
      end

      def perform(job, handler)
        return handler.process(job.task, job.sequence, job.step) if handler.respond_to?(:process)
        return invoke(handler, job) if handler.respond_to?(:call)

        raise Errors::ConfigurationError, "handler #{job.step.handler_class} has neither process nor call"
      end

      # A lambda may leave out the last parameters, as a block may.
      def invoke(handler, job)
        arguments = [job.task, job.sequence, job.step]
        arguments = arguments.first(handler.arity) if handler.is_a?(Proc) && handler.lambda? && handler.arity >= 0
        handler.call(*arguments)
      end

      def complete(job, result, metadata)
        outcome = job.reference
        outcome['status'] = 'complete'
        outcome['result'] = JsonText.dump(result, place: 'result')
        outcome['metadata'] = JsonText.dump(metadata, place: 'metadata') unless metadata.nil? || metadata.empty?
        events = job.step.published_events and outcome['events'] = events
        outcome
      end

      def refused(job, returned)
        job.attempt.error = returned.to_exception
        metadata = returned.metadata.empty? ? nil : JsonText.dump(returned.metadata, place: 'metadata')
        { **job.reference, 'status' => 'error', 'error' => Failure.from_result(returned),
                           'metadata' => metadata }.compact
      end

      def failed(job, error)
        { **job.reference, 'status' => 'error', 'error' => Failure.from_exception(error) }
      end

      def log(job, error)
        @logger.warn do
          "step #{job.step.name} of task #{job.task.task_id} failed in attempt #{job.step.attempt}: " \
            "#{error.class}: #{error.message}\n#{Failure.backtrace_of(error)&.first(3)&.join("\n")}"
        end
      end
    end
  end
end
