# frozen_string_literal: true

module TaskerCore
  module Testing
    # What has become of a task, for tests that compare it: one of fake or inline mode, or one of a broker.
    #
    # @api private
    class TaskReport
      # @param subject [Task, TaskRun, Types::TaskStatus, Types::TaskInitialized, String] a string is an id
      # @raise [ArgumentError]
      def initialize(subject)
        @status = status_of(subject)
      end

      # @return [String]
      def state = @status.state
      def complete? = @status.task.complete?

      # @param name [Symbol, String]
      # @return [Types::StepSummary, nil]
      def step(name) = @status.step(name)

      # @return [Array<String>] steps that have completed, the first to complete first
      def completed
        id = @status.task.task_id
        return Testing.engine.task(id).completed_steps if Testing.engine.task?(id)

        @status.steps.select { |step| step.state == 'complete' }.sort_by(&:finished_at_ms).map(&:name)
      end

      # @return [String] every step with its state, and its error
      def to_s
        steps = @status.steps.map { |step| "\n  #{step.name}: #{step.state}#{error(step)}" }
        "the task is #{state}:#{steps.join}"
      end

      # @param step [Types::StepSummary]
      # @return [String]
      def error(step)
        return '' unless step.error_class

        code = " (#{step.error_code})" if step.error_code
        ", #{step.error_class}#{code}: #{step.error_message}"
      end

      private

      def status_of(subject)
        case subject
        when Task then subject.status(steps: true)
        when TaskRun then subject.task.status(steps: true)
        when Types::TaskStatus then subject
        when Types::TaskInitialized then status_of(subject.task_id)
        when String then TaskerCore.client.task_status(subject, steps: true)
        else raise ArgumentError, "#{subject.inspect} is no task"
        end
      end
    end
  end
end
