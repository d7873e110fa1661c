# frozen_string_literal: true

require 'securerandom'
require_relative '../json_text'
require_relative '../promise'
require_relative '../worker/job'
require_relative '../worker/runner'

module TaskerCore
  module Testing
    # Runs one attempt of a step as a worker does, from the fields of a batch to those of an outcome.
    #
    # 1. Goes through the worker's own runner and serialisation.
    # 2. Lets through what is no failure of the step: a failed expectation, an interrupt.
    # 3. Notes the progress that the step reports.
    #
    # @api private
    class Attempt
      # Exceptions that a worker takes for a failure of the step.
      FAILURES = [StandardError, ScriptError, SystemExit].freeze
      private_constant :FAILURES

      # The worker's runner, with the exception at hand.
      class Runner < Worker::Runner
        # @return [Exception, nil] what the last job raised
        attr_reader :exception

        private

        def failed(job, error)
          raise error unless FAILURES.any? { |kind| error.is_a?(kind) }

          @exception = error
          super
        end
      end

      private_constant :Runner

      # @return [Hash{String=>Object}] a `StepOutcome`
      attr_reader :outcome
      # @return [Exception, nil] what the handler raised
      attr_reader :exception
      # @return [Execution::Step]
      attr_reader :step
      # @return [Array<String>] what the step reported of its progress, as JSON text
      attr_reader :progress

      # @param task [Hash{String=>Object}] a `BatchTask`
      # @param step [Hash{String=>Object}] a `BatchStep`
      # @param handlers [Handlers]
      # @yield [name] JSON text of the result of an earlier step; raises when there is none
      def initialize(task, step, handlers: TaskerCore.configuration.handlers, &results)
        @results = results
        @handlers = handlers
        fields = { 'batch_id' => SecureRandom.uuid, 'tasks' => [task], 'steps' => [{ **step, 'task' => 0 }] }
        @job = Worker::Batch.new(fields, self, Clock.now).jobs.first
        @step = @job.step
        @progress = []
      end

      # @return [Attempt]
      def run
        runner = Runner.new(@handlers, TaskerCore.logger)
        Execution::Attempt.during(@job) { runner.run(@job) }
        @outcome = @job.outcome
        @exception = runner.exception
        self
      end

      # Tells the handler that its outcome is not wanted any more.
      def cancel = @step.cancel!

      # The result of an earlier step, which a worker would have at hand or ask the broker for.
      def fetch_result(_task_id, name) = @results.call(name)

      # A worker would send the latest of them, now and then.
      def progressed(_job, text)
        @progress << text
      end
    end
  end
end
