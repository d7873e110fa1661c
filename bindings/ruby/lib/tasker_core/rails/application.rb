# frozen_string_literal: true

require_relative 'reloading'
require_relative 'settings'
require_relative 'workflows'

module TaskerCore
  module Rails
    # The Rails application of a worker process.
    #
    # 1. Loads its workflows, which Rails itself loads early only in production.
    # 2. Says what the worker is to serve and how, as far as the application's settings do.
    # 3. Shows on the terminal what goes to the application's log.
    # 4. Watches the code where it is reloaded.
    #
    # @api private
    class Application
      # @return [Application, nil] that of this process, when there is one
      def self.current
        new(::Rails.application) if ::Rails.application&.initialized?
      end

      def initialize(app)
        @app = app
      end

      # @param console [Logger] where a worker without an application writes
      # @return [Hash{Symbol=>Object}] options of the worker
      # @raise [Errors::ConfigurationError]
      def prepare(console)
        show_log(console)
        Workflows.new(@app).load
        watch unless @app.config.cache_classes
        settings = Settings.of(@app).worker
        # Whoever names what to serve means nothing else.
        settings = { queues: ['*'], **settings } if tasker_runs_jobs? && !settings[:namespaces]
        settings
      end

      private

      def watch
        TaskerCore.configuration.on(:startup) { |worker| Reloading.new(@app, worker).start }
      end

      def tasker_runs_jobs?
        defined?(::ActiveJob::Base) && ::ActiveJob::Base.queue_adapter_name == 'tasker'
      end

      def show_log(console)
        logger = ::Rails.logger
        return if logger.equal?(console) || ActiveSupport::Logger.logger_outputs_to?(logger, $stdout, $stderr)

        if logger.respond_to?(:broadcast_to)
          logger.broadcast_to(console)
        else
          logger.extend(ActiveSupport::Logger.broadcast(console))
        end
      end
    end
  end
end
