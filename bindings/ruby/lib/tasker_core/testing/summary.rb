# frozen_string_literal: true

module TaskerCore
  module Testing
    # What a task and its steps look like on the wire.
    #
    # @api private
    module Summary
      ACTIONS = { 'has_ready_steps' => 'execute_ready_steps', 'processing' => 'wait_for_completion',
                  'waiting_for_retry' => 'wait_for_retry', 'waiting_for_dependencies' => 'wait_for_dependencies',
                  'blocked_by_failures' => 'handle_failures' }.freeze
      STATES = %w[pending in_progress complete error cancelled resolved_manually waiting_for_retry].freeze
      private_constant :ACTIONS, :STATES

      module_function

      # @param task [TaskRun]
      # @return [Hash{String=>Object}] a `TaskSummary`
      def of(task)
        counts = counts(task)
        status = execution_status(task, counts)
        {
          'task_id' => task.id, 'namespace' => task.namespace, 'name' => task.name, 'version' => task.version,
          'state' => task.state, 'priority' => task.priority, 'counts' => counts, 'execution_status' => status,
          'recommended_action' => task.state == 'cancelled' ? 'none' : ACTIONS.fetch(status, 'none'),
          'completion_percentage' => percentage(counts), 'health' => health(counts),
          'created_at_ms' => ms(task.created_at), 'finished_at_ms' => ms(task.finished_at),
          'run_at_ms' => task.request['run_at_ms'], 'tags' => task.tags
        }.compact
      end

      # @return [Hash{String=>Object}] a `StepSummary`
      def step(task, step, result:, now:)
        {
          'name' => step.name, 'state' => step.state, 'attempts' => step.attempts, 'retry_limit' => step.limit,
          'ready' => task.ready?(step), 'parents' => step.template.parents,
          'retry_in_ms' => step.retry_at && [((step.retry_at.to_r - now.to_r) * 1000).ceil, 0].max,
          'finished_at_ms' => ms(step.finished_at), 'duration_us' => step.duration_us,
          'error_class' => step.error_class, 'error_message' => step.error_message, 'error_code' => step.error_code,
          'result' => result ? step.result_text : nil
        }.compact
      end

      def counts(task)
        by_state = task.steps.map(&:state).tally
        { 'total' => task.steps.size, 'ready' => task.steps.count { |step| task.ready?(step) },
          **STATES.to_h { |state| [state, by_state.fetch(state, 0)] } }
      end

      def execution_status(task, counts)
        return 'all_complete' if counts['complete'] + counts['resolved_manually'] == counts['total']
        return 'blocked_by_failures' if task.state == 'cancelled'
        return 'has_ready_steps' if counts['ready'].positive?
        return 'processing' if counts['in_progress'].positive?
        return 'waiting_for_retry' if counts['waiting_for_retry'].positive?

        counts['error'].positive? ? 'blocked_by_failures' : 'waiting_for_dependencies'
      end

      def percentage(counts)
        ((counts['complete'] + counts['resolved_manually']) * 100.0 / counts['total']).round(2)
      end

      def health(counts)
        return 'healthy' if (counts['error'] + counts['waiting_for_retry']).zero?

        live = counts.values_at('ready', 'in_progress', 'waiting_for_retry').sum
        counts['error'].positive? && live.zero? ? 'blocked' : 'recovering'
      end

      def ms(time) = time && (time.to_r * 1000).floor

      private_class_method :counts, :execution_status, :percentage, :health, :ms
    end
  end
end
