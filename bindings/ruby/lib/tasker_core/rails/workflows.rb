# frozen_string_literal: true

require_relative '../errors'

module TaskerCore
  module Rails
    # The classes in `app/workflows`, of the application and of its engines.
    #
    # @api private
    class Workflows
      FOLDER = '/app/workflows'
      private_constant :FOLDER

      def initialize(app)
        @app = app
      end

      # Loads them all, so that {Workflow.loaded} knows them.
      # @return [void]
      # @raise [Exception] what a file raises while it loads
      def load
        return if @app.config.eager_load
        return @app.eager_load! unless ::Rails.autoloaders.main

        roots = ::Rails.autoloaders.main.dirs
        roots.select { |root| root.include?(FOLDER) }.each { |root| load_folder(root, roots - [root]) }
      end

      private

      # A folder below that is a root as well, such as `concerns`, has names of its own.
      def load_folder(root, others)
        Dir[File.join(root, '**', '*.rb')].each do |file|
          next if others.any? { |other| other.start_with?("#{root}/") && file.start_with?("#{other}/") }

          constant(root, file)
        end
      end

      def constant(root, file)
        parts = file.delete_prefix("#{root}/").delete_suffix('.rb').split('/')
        inflector = ::Rails.autoloaders.main.inflector
        Object.const_get(parts.map { |part| inflector.camelize(part, file) }.join('::'))
      end
    end
  end
end
