# frozen_string_literal: true

require 'date'
require 'yaml'
require_relative '../errors'
require_relative '../handlers'
require_relative '../promise'
require_relative 'task_request'

module TaskerCore
  class Client
    # Lets the task handler that a template names look at requests before they are submitted.
    #
    # 1. Asks the broker which class a template names, and remembers the answer for a short time.
    # 2. Runs `initialize_task` of a new instance, which may change or refuse the request.
    #
    # @api private
    class TaskHandlers
      # Seconds for which an answer is used again: a newly registered version is seen after that.
      REMEMBERED = 30
      Remembered = Struct.new(:definition, :until)
      private_constant :REMEMBERED, :Remembered

      def initialize(client, handlers, logger)
        @client = client
        @handlers = handlers
        @logger = logger
        @definitions = {}
        @mutex = Mutex.new
      end

      # @param request [IndifferentHash]
      # @return [IndifferentHash] the request to submit
      def prepare(request)
        definition = definition_for(request)
        return request unless definition.task_handler_class

        handler = build(definition)
        accepted(handler.initialize_task(request), request, handler)
      end

      private

      def definition_for(request)
        key = "#{request[:namespace]}/#{request[:name]}"
        key += "@#{request[:version]}" if request[:version]
        remembered = @mutex.synchronize { @definitions[key] }
        return remembered.definition if remembered && remembered.until > Clock.now

        definition = @client.show_template(key)
        @mutex.synchronize { @definitions[key] = Remembered.new(definition, Clock.now + REMEMBERED) }
        definition
      end

      def build(definition)
        name = definition.task_handler_class
        handler_class = @handlers.resolve(name)
        unless handler_class.is_a?(Class) && handler_class.method_defined?(:initialize_task)
          raise Errors::ConfigurationError, "task handler #{name} has no initialize_task"
        end

        task_config = YAML.safe_load(definition.yaml, permitted_classes: [Date, Time], aliases: true)
        handler = Handlers.instantiate(handler_class, config: definition.handler_config || {},
                                                      task_config: task_config, logger: @logger, client: @client)
        handler.tasker_core_attach(@client) if handler.respond_to?(:tasker_core_attach)
        handler
      end

      # A handler that changed the request in place may return whatever it likes, except a Hash that is no request.
      def accepted(returned, request, handler)
        return request unless returned.is_a?(Hash)

        TaskRequest.normalize(returned)
      rescue Errors::ValidationError => e
        raise Errors::ConfigurationError, "#{handler.class}#initialize_task returned something else: #{e.message}"
      end
    end
  end
end
