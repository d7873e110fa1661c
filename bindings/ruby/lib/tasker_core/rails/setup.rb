# frozen_string_literal: true

require_relative 'settings'

module TaskerCore
  # What belongs to Rails applications only. Rails itself is `::Rails` here.
  module Rails
    # Sets the gem's configuration up for one application.
    #
    # @api private
    class Setup
      # Environments in which nobody wants to count versions.
      UNVERSIONED = %w[development test].freeze
      # Told to Rails' error reports as the source.
      SOURCE = 'step.tasker'
      private_constant :UNVERSIONED, :SOURCE

      # @param app [::Rails::Application]
      # @param configuration [Configuration]
      def initialize(app, configuration)
        @app = app
        @configuration = configuration
      end

      # @return [void]
      def apply
        @configuration.environment = ::Rails.env.to_s
        @configuration.versions_follow_content = UNVERSIONED.include?(@configuration.environment)
        @configuration.logger = @app.config.tasker.logger || ::Rails.logger
        @configuration.reloader = reloader
        @configuration.backtrace_cleaner = method(:clean)
        @configuration.on_error { |error, attempt| report(error, attempt) } if ::Rails.respond_to?(:error)
        apply_settings(Settings.of(@app).client)
      end

      private

      # Without code reloading it is the executor alone.
      def reloader
        source = source_option
        ->(&step) { @app.reloader.wrap(**source, &step) }
      end

      def source_option = ::Rails.gem_version >= Gem::Version.new('7.1') ? { source: SOURCE } : {}

      # Where a failure is in gems only, all of it is of use.
      def clean(backtrace)
        cleaned = ::Rails.backtrace_cleaner.clean(backtrace)
        cleaned.empty? ? backtrace : cleaned
      end

      # To those who subscribe to the errors of Rails 7 and later: as handled while another attempt follows.
      def report(error, attempt)
        step = attempt.step
        handled = Worker::Failure.retryable?(error) && !step.last_attempt?
        ::Rails.error.report(error, handled: handled, severity: handled ? :warning : :error, **source_option,
                                    context: { task_id: attempt.task.task_id, template: attempt.task.template,
                                               step: step.name, attempt: step.attempt })
      end

      def apply_settings(client)
        keys = client.slice(:server_public_key, :secret_key_file)
        @configuration.curve = keys if keys.any?
        client.except(*keys.keys).each { |key, value| @configuration.public_send("#{key}=", value) }
      end
    end
  end
end
