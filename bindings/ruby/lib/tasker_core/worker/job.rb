# frozen_string_literal: true

require_relative '../execution/attempt'
require_relative '../execution/sequence'
require_relative '../execution/step'
require_relative '../execution/task'

module TaskerCore
  class Worker
    # One attempt of one step, from its arrival until the broker has its outcome.
    #
    #     waiting -> running -> complete | error
    #        '----------'-------------------------> returned
    #
    # Its outcome is kept until the broker acknowledges it, its status until the batch is closed.
    #
    # @api private
    class Job
      # @return [Batch]
      attr_reader :batch
      attr_reader :task, :step, :deadline
      # `:waiting`, `:running`, `:complete`, `:error` or `:returned`
      attr_accessor :state
      # The `StepOutcome` as it travels, until it is acknowledged.
      attr_reader :outcome
      # Whether the broker has acknowledged the outcome, or the return.
      attr_accessor :acknowledged
      # The id of the registration that carried the outcome, when one did.
      attr_accessor :carried_by
      # Whether its handler was interrupted because it ran for too long.
      attr_accessor :interrupted
      # Whether its handler was interrupted because the worker stops.
      attr_accessor :stopped
      # When its progress was sent last, on the monotonic clock.
      attr_accessor :progress_at
      # Whether an outcome that the broker refused was replaced once.
      attr_accessor :replaced
      # What runs it, once it is made.
      attr_accessor :handler

      # @param received_at [Float] on the monotonic clock
      def initialize(batch, task, fields, received_at)
        @batch = batch
        @task = task
        @step = Execution::Step.new(fields, task.task_id, self)
        @deadline = received_at + step.timeout_seconds.to_f
        @state = :waiting
      end

      def outcome=(outcome)
        @payload_bytes = nil
        @outcome = outcome
      end

      # @return [Hash] a `StepReference`
      def reference
        { 'batch_id' => batch.id, 'task_id' => task.task_id, 'step' => step.name, 'attempt' => step.attempt }
      end

      # @return [Hash] a `CompletedStep`
      def completed
        { 'task_id' => task.task_id, 'step' => step.name, 'attempt' => step.attempt, 'status' => state.name }
      end

      # Whether a `StepReference` means this job.
      def named?(reference)
        step.name == reference['step'] && task.task_id == reference['task_id'] &&
          step.attempt == reference['attempt'] && batch.id == reference['batch_id']
      end

      # @return [Array<String>] the JSON texts that the outcome carries
      def payloads
        texts = [outcome['result'], outcome['metadata'], outcome.dig('error', 'context')]
        outcome['events']&.each { |event| texts << event['payload'] }
        texts.compact
      end

      # @return [Integer] bytes of {#payloads}
      def payload_bytes = @payload_bytes ||= payloads.sum(&:bytesize)

      # @return [String] for people
      def description = "#{step.name} of #{task.task_id}, attempt #{step.attempt}"

      def ended? = state != :waiting && state != :running
      def expired?(now) = now > deadline

      # @return [Execution::Attempt] what the application sees of it
      def attempt = @attempt ||= Execution::Attempt.new(self)

      # Says how far it is. Called in handler threads.
      # @param text [String] JSON text
      def progressed(text) = batch.session.progressed(self, text)

      # @return [Execution::Sequence]
      def sequence = Execution::Sequence.new(task, step.parents, batch)
    end

    # The steps that came in one message.
    #
    # @api private
    class Batch
      attr_reader :id, :jobs
      # When it came, on the monotonic clock.
      attr_reader :received_at
      # When the first of its steps times out, on the monotonic clock.
      attr_reader :deadline
      # The session that what becomes of it is owed to.
      attr_accessor :session
      # When its closing report was sent last, on the monotonic clock.
      attr_accessor :completed_at
      # Whether the broker has closed it: whatever its steps still do is of no interest.
      attr_accessor :closed

      # @param fields [Hash] an `ExecuteBatch`
      def initialize(fields, session, received_at)
        @id = fields['batch_id']
        @session = session
        @received_at = received_at
        tasks = fields['tasks'].map { |task| Execution::Task.new(task) }
        @jobs = fields['steps'].map { |step| Job.new(self, tasks.fetch(step['task']), step, received_at) }
        @deadline = @jobs.map(&:deadline).min
        @open = @jobs.size
        @closed = false
      end

      # Result of a step that is not a parent. Called in handler threads.
      def fetch_result(task_id, name) = session.fetch_result(task_id, name)

      # @return [Job, nil] a batch has a step of a task once
      def job(task_id, step)
        @names ||= jobs.to_h { |job| [[job.task.task_id, job.step.name], job] }
        @names[[task_id, step]]
      end

      # Notes that one more job has ended.
      # @return [Boolean] whether it was the last
      def job_ended = (@open -= 1).zero?
      def ended? = @open.zero?
    end
  end
end
