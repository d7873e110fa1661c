# frozen_string_literal: true

require 'delegate'
require_relative '../client'

module TaskerCore
  module Testing
    # A client without a broker: all that a {TaskerCore::Client} does, up to the messages, which {Engine} answers.
    class FakeClient < TaskerCore::Client
      # The inbox of a database has no part in it: transactional tasks are enqueued after the commit.
      undef_method :announce_tasks if method_defined?(:announce_tasks)

      # @api private
      # @param answers [Answers]
      def initialize(answers)
        super()
        @connection = answers
      end

      # @api private
      # Forgets which task handlers templates name.
      def forget
        @task_handlers = TaskHandlers.new(self, TaskerCore.configuration.handlers, TaskerCore.logger)
      end

      # In inline mode time passes until the task has ended, without sleeping; in fake mode nothing happens.
      #
      # @param timeout [Numeric] seconds
      # @return [Types::TaskWaited]
      def wait_for_task(task_id, timeout: 30)
        ask('WaitForTask', Types::TaskWaited, { 'task_id' => task_id, 'timeout_ms' => (timeout * 1000).ceil })
      end

      # @raise [ConfigurationError] always: {Testing.events} lists what steps have published
      def subscribe(*)
        raise Errors::ConfigurationError,
              'events are not sent in fake and inline mode; TaskerCore::Testing.events lists what steps have published'
      end

      # Nothing is closed: all tests share it.
      def close = nil
    end

    # What {TaskerCore.client} is while tests run: the client of the calling thread's mode. Tasks of fake and inline
    # mode stay with it when the mode ends.
    #
    # @api private
    class Switch < Delegator
      OF_A_TASK = %i[task_status wait_for_task try_task_if_ready cancel_task retry_task resolve_step].freeze
      private_constant :OF_A_TASK

      # @param fake [FakeClient]
      # @yieldreturn [TaskerCore::Client] the real one
      def initialize(fake, &real) # rubocop:disable Lint/MissingSuper -- there is no one object to delegate to
        @fake = fake
        @real = real
      end

      def __getobj__ = Testing.disabled? ? @real.call : @fake

      OF_A_TASK.each do |name|
        define_method(name) do |task_id, *rest, **options|
          client = Testing.engine.task?(task_id) ? @fake : __getobj__
          client.public_send(name, task_id, *rest, **options)
        end
      end
    end
  end
end
