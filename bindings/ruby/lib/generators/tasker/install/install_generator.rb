# frozen_string_literal: true

require 'rails/generators/base'

module Tasker
  module Generators
    # `rails generate tasker:install`
    class InstallGenerator < ::Rails::Generators::Base
      desc 'Adds config/tasker.yml and the base class of workflows, and the worker to Procfile.dev if there is one.'
      source_root File.expand_path('templates', __dir__)

      def create_settings
        template 'tasker.yml.tt', 'config/tasker.yml'
      end

      def create_base_class
        template 'application_workflow.rb.tt', 'app/workflows/application_workflow.rb'
      end

      def add_to_procfile
        return unless File.exist?(File.expand_path('Procfile.dev', destination_root))

        append_to_file 'Procfile.dev', "tasker: bundle exec tasker-worker\n"
      end

      private

      # Applications that share a broker keep their workflows apart.
      def application_name = ::Rails.application.class.name.deconstantize.underscore.tr('/', '_')
    end
  end
end
