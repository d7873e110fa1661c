# frozen_string_literal: true

module TaskerCore
  # Base of task handlers.
  module TaskHandler
    # A task handler looks at each request before it is submitted. A template names it as `task_handler_class`;
    # {Client#initialize_task} runs it in the submitting process.
    #
    #     class OrderHandler < TaskerCore::TaskHandler::Base
    #       def initialize_task(request)
    #         amount = request[:context].dig(:payment_info, :amount)
    #         raise TaskerCore::ValidationError.new('too much', field: 'payment_info.amount') if amount > 10_000
    #
    #         request[:context][:approved_by] = 'rule 7'
    #         super
    #       end
    #     end
    class Base
      # @return [IndifferentHash] the template's `handler_config`
      def config = @config || IndifferentHash.new.freeze

      # @return [IndifferentHash] the template as registered
      def task_config = @task_config || IndifferentHash.new.freeze

      # @return [Logger]
      def logger = @logger || TaskerCore.logger

      # @param config [Hash] the template's `handler_config`
      # @param task_config [Hash] the template
      # @param logger [Logger]
      # @param client [Client] for {#handle}
      def initialize(config: {}, task_config: {}, logger: nil, client: nil)
        @config = IndifferentHash.wrap(config || {})
        @task_config = IndifferentHash.wrap(task_config || {})
        @logger = logger
        @client = client
      end

      # Looks at a request; may change it in place or return another one, and refuses it by raising, for example a
      # {Errors::ValidationError}.
      #
      # @param request [IndifferentHash] `namespace`, `name`, `version`, `context` and the other request fields
      # @return [Hash] the request to submit
      def initialize_task(request)
        request
      end

      # Dispatches what is ready of a task. The broker does so by itself; this reports what the call did.
      #
      # @param task_id [String]
      # @return [Types::TaskTried]
      def handle(task_id)
        (@client ||= Client.new).try_task_if_ready(task_id)
      end

      # @api private
      def tasker_core_attach(client)
        @client = client
      end
    end
  end
end
