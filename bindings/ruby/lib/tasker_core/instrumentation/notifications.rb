# frozen_string_literal: true

module TaskerCore
  module Instrumentation
    # Events of `ActiveSupport::Notifications`: `perform.tasker_core` and `enqueue.tasker_core`.
    #
    # @api private
    module Notifications
      PERFORM = 'perform.tasker_core'
      ENQUEUE = 'enqueue.tasker_core'

      module_function

      def loaded? = defined?(::ActiveSupport::Notifications) ? true : false

      def perform(job)
        return yield unless listening?(PERFORM)

        payload = { task_id: job.task.task_id, namespace: job.task.namespace, name: job.task.name,
                    version: job.task.version, step: job.step.name, attempt: job.step.attempt,
                    retry_limit: job.step.retry_limit }
        ::ActiveSupport::Notifications.instrument(PERFORM, payload) do
          outcome = yield
          payload[:state] = job.stopped && outcome.key?('error') ? :returned : outcome['status'].to_sym
          note(payload, job.attempt.error) if payload[:state] == :error
        end
      end

      def enqueue(request)
        return yield unless listening?(ENQUEUE)

        fields = IndifferentHash.wrap(request)
        payload = { namespace: fields[:namespace], name: fields[:name], version: fields[:version],
                    idempotency_key: fields[:idempotency_key] }
        ::ActiveSupport::Notifications.instrument(ENQUEUE, payload) do
          outcome = yield or next
          payload.update(task_id: outcome.task_id, duplicate: outcome.duplicate?)
          note(payload, outcome.error)
        end
      end

      def listening?(event) = ::ActiveSupport::Notifications.notifier.listening?(event)

      # As the library does for what is raised.
      def note(payload, error)
        payload.update(exception: [error.class.name, error.message], exception_object: error) if error
      end

      private_class_method :listening?, :note
    end
  end
end
