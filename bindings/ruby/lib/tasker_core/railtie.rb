# frozen_string_literal: true

require 'active_support/ordered_options'
require_relative 'rails/setup'

module TaskerCore
  # Makes the gem at home in a Rails application.
  #
  # 1. Takes over the environment, the logger, what `config/tasker.yml` and `config.tasker` say, all before the
  #    application's initializers, which have the last word with {TaskerCore.configure}.
  # 2. Has steps run as requests do: with code reloading where that is on, and with connections given back.
  # 3. Brings the adapter `:tasker` for Active Job.
  #
  # `config.tasker` knows the keys of `config/tasker.yml`, and `logger`.
  class Railtie < ::Rails::Railtie
    config.tasker = ActiveSupport::OrderedOptions.new

    initializer 'tasker_core.configure', after: :initialize_logger, before: :load_config_initializers do |app|
      Rails::Setup.new(app, TaskerCore.configuration).apply
    end

    initializer 'tasker_core.active_job', before: 'active_job.set_configs' do
      require 'active_job/queue_adapters/tasker_adapter' if defined?(::ActiveJob)
    end
  end
end
