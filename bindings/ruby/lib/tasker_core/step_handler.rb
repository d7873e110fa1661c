# frozen_string_literal: true

module TaskerCore
  # Base of step handlers.
  module StepHandler
    autoload :Api, File.expand_path('step_handler/api', __dir__)

    # A handler runs one step of a workflow. A subclass has `process(task, sequence, step)` or
    # `call(task, sequence, step)`; a new instance is made for each run, so instance variables are its own.
    #
    #     class ReserveStock < TaskerCore::StepHandler::Base
    #       def process(task, sequence, step)
    #         order = sequence.get_results('validate_order')
    #         logger.info("task #{task.task_id}, attempt #{step.attempt}")
    #         { reserved: order[:items].size, warehouse: config[:warehouse] }
    #       end
    #     end
    #
    # What it returns is the step's result: any JSON value, or a {Types::StepHandlerCallResult}. What it raises is the
    # failure of this attempt: see {Errors}. The same step may start again, even while an earlier start still runs:
    # `step.idempotency_key` is the same over all attempts.
    #
    # Classes that do not inherit from this one work as well, as do procs and lambdas
    # (see {TaskerCore.register_handler}).
    class Base
      # @return [IndifferentHash] the step's `handler_config`
      def config = @config || IndifferentHash.new.freeze

      # @return [Logger]
      def logger = @logger || TaskerCore.logger

      # @param config [Hash] the step's `handler_config`
      # @param logger [Logger]
      def initialize(config: {}, logger: nil)
        @config = IndifferentHash.wrap(config || {})
        @logger = logger
      end

      # Publishes an event once the result of this step is stored. The template lists its name in `custom_events`.
      #
      # @param name [String, Symbol]
      # @param payload [Object] any JSON value
      # @return [void]
      def publish_event(name, payload = {})
        raise Errors::ConfigurationError, 'publish_event works only while a step runs' unless @tasker_core_step

        @tasker_core_step.publish_event(name, payload)
      end

      # @param result [Object] any JSON value
      # @param metadata [Hash]
      # @return [Types::StepHandlerCallResult::Success]
      def success(result: nil, metadata: {})
        Types::StepHandlerCallResult.success(result: result, metadata: metadata)
      end

      # @return [Types::StepHandlerCallResult::Error]
      # @see Types::StepHandlerCallResult.error
      def failure(message:, error_type: 'PermanentError', error_code: nil, retryable: false, metadata: {})
        Types::StepHandlerCallResult.error(error_type: error_type, message: message, error_code: error_code,
                                           retryable: retryable, metadata: metadata)
      end

      # @api private
      def tasker_core_attach(step)
        @tasker_core_step = step
      end
    end
  end
end
