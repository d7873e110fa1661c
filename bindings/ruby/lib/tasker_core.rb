# frozen_string_literal: true

require_relative 'tasker_core/version'
require_relative 'tasker_core/errors'
require_relative 'tasker_core/configuration'
require_relative 'tasker_core/types'
require_relative 'tasker_core/records'
require_relative 'tasker_core/step_handler'
require_relative 'tasker_core/task_handler'
require_relative 'tasker_core/trace_context'
require_relative 'tasker_core/client'
require_relative 'tasker_core/worker'
require_relative 'tasker_core/workflow'

# Workers and client of the Tasker Core workflow broker.
#
#     TaskerCore.configure do |config|
#       config.broker = 'tcp://127.0.0.1:7570'
#       config.logger = Rails.logger
#     end
#
#     client = TaskerCore::Client.new
#     task = client.initialize_task(namespace: 'fulfillment', name: 'process_order', context: { order_id: 7 })
#     client.wait_for_task(task.task_id, timeout: 60).state # => "complete"
module TaskerCore
  @configuration = Configuration.new
  @mutex = Mutex.new

  class << self
    # @return [Configuration] the defaults of this process
    attr_reader :configuration

    # @yieldparam configuration [Configuration]
    # @return [Configuration]
    def configure
      yield configuration
      configuration
    end

    # The client of this process: made when it is first asked for, shared by all threads, and good after a fork.
    # @return [Client]
    def client
      @client || @mutex.synchronize { @client ||= Client.new }
    end

    # @return [Client, nil] nil has the next one made from the present configuration
    attr_writer :client

    # @api private
    # Whether there is a client already.
    def client? = !@client.nil?

    # @return [Logger]
    def logger = configuration.logger

    # Gives a name of a template's `handler_class` a handler that is not a constant of that name.
    #
    #     TaskerCore.register_handler('Square') { |task, _sequence, _step| task.context[:n]**2 }
    #
    # @param name [String, Symbol] as templates spell it
    # @param handler [Class, Proc, Method, #call] or a block
    # @return [Object] the handler
    def register_handler(name, handler = nil, &block)
      configuration.handlers.register(name, handler || block)
    end
  end
end

require_relative 'tasker_core/railtie' if defined?(Rails::Railtie)
