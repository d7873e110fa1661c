# frozen_string_literal: true

require_relative '../errors'

module TaskerCore
  class CLI
    # The application whose steps a worker process runs.
    #
    # 1. Loads what it is told to: files, folders of files, folders of Rails applications. Without, the Rails
    #    application in the present folder, if there is one.
    # 2. Says what a Rails application's own settings are.
    #
    # @api private
    class Application
      RAILS = 'config/environment.rb'
      private_constant :RAILS

      # @param paths [Array<String>]
      def initialize(paths)
        @paths = paths.empty? && File.file?(RAILS) ? ['.'] : paths
      end

      # @param console [Logger] where the process writes until told otherwise
      # @return [Hash{Symbol=>Object}] options that the application has for its workers
      # @raise [Errors::ConfigurationError]
      def load(console)
        @paths.each { |path| load_path(path) }
        options = rails&.prepare(console) || {}
        options.delete(:require)&.each { |path| load_path(path) }
        options
      end

      private

      # Knows Rails, and so is loaded only with it.
      def rails
        return unless defined?(::Rails::Railtie)

        require_relative '../rails/application'
        Rails::Application.current
      end

      def load_path(path)
        return load_folder(path) if File.directory?(path)

        load_railtie if File.expand_path(path).delete_suffix('.rb').end_with?(RAILS.delete_suffix('.rb'))
        require(File.exist?(path) || File.exist?("#{path}.rb") ? File.expand_path(path) : path)
      rescue LoadError => e
        raise Errors::ConfigurationError, "#{path} cannot be loaded: #{e.message}"
      end

      def load_folder(path)
        environment = File.join(path, RAILS)
        return load_path(environment) if File.file?(environment)

        Dir[File.join(path, '**', '*.rb')].each { |file| require File.expand_path(file) }
      end

      # This gem is here already, and was not told of Rails.
      def load_railtie
        require 'rails'
        require_relative '../railtie'
      end
    end
  end
end
