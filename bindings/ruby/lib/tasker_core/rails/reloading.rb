# frozen_string_literal: true

require_relative 'workflows'

module TaskerCore
  module Rails
    # Keeps a worker's registration up to date while its application's code changes. That a step runs the code of now
    # is the reloader's doing; this is for what the broker has to know: new workflows, and workflows with other steps.
    #
    # @api private
    class Reloading
      # Seconds between looks at the files, as long as no step runs and looks as well.
      LOOK_SECONDS = 0.5
      private_constant :LOOK_SECONDS

      # @param app [::Rails::Application]
      # @param worker [Worker]
      def initialize(app, worker)
        @app = app
        @worker = worker
        @changes = Thread::Queue.new
      end

      # @return [Thread]
      def start
        # The block is run as one of the reloader.
        changes = @changes
        @app.reloader.to_prepare { changes << true }
        thread = Thread.new do
          loop do
            sleep(LOOK_SECONDS)
            look
          end
        end
        thread.name = 'tasker-reloading'
        thread
      end

      private

      # Code that does not load is told once, and looked at again when it has changed.
      def look
        @app.reloader.wrap do
          next if @changes.empty?

          @changes.clear
          Workflows.new(@app).load
          @worker.workflows_changed
        end
      rescue StandardError, ScriptError => e
        TaskerCore.logger.error("the workflows cannot be loaded: #{e.class}: #{e.message}")
      end
    end
  end
end
