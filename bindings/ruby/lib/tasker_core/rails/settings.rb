# frozen_string_literal: true

require 'active_support/configuration_file'
require_relative '../config_file'

module TaskerCore
  module Rails
    # What `config/tasker.yml` says for an environment, over what it says for all (`shared`), and under `config.tasker`.
    #
    # @api private
    class Settings
      FILE = 'config/tasker.yml'
      TEXT = ['a text', ->(value) { value.is_a?(String) && !value.empty? }].freeze
      TEXTS = ['a list of texts', ->(value) { value.is_a?(Array) && value.all?(String) }].freeze
      ENDPOINTS = ['a text or a list of texts', ->(value) { Array(value).any? && Array(value).all?(String) }].freeze
      # Key => what its value has to be.
      CLIENT = {
        'broker' => ENDPOINTS, 'events' => ENDPOINTS, 'server_public_key' => TEXT, 'secret_key_file' => TEXT,
        'request_timeout' => ['a number above 0', ->(value) { value.is_a?(Numeric) && value.positive? }]
      }.freeze
      # A worker's part has what the file of other workers has; it connects as the client does.
      WORKER = ConfigFile::KEYS.except(*CLIENT.keys).merge('queues' => TEXTS).freeze
      private_constant :TEXT, :TEXTS, :ENDPOINTS

      # @param app [::Rails::Application]
      # @return [Settings]
      # @raise [Errors::ConfigurationError] naming the file, the environment and the key
      def self.of(app)
        in_code = app.config.tasker.to_h.except(:logger).deep_stringify_keys
        file = app.root.join(FILE)
        settings = file.exist? ? from_file(file.to_s, ::Rails.env.to_s) : new({}, FILE)
        settings.under(new(in_code, 'config.tasker'))
      end

      # @param path [String]
      # @param environment [String]
      # @return [Settings]
      def self.from_file(path, environment)
        document = ActiveSupport::ConfigurationFile.parse(path) || {}
        raise Errors::ConfigurationError, "#{path} has to be a table of environments" unless document.is_a?(Hash)

        shared, own = ['shared', environment].map do |section|
          new(document[section] || {}, "#{path}: #{section}")
        end
        shared.under(own)
      rescue Errors::ConfigurationError
        raise
      rescue StandardError => e
        raise Errors::ConfigurationError, "#{path} cannot be read: #{e.message}"
      end

      # @return [Hash{Symbol=>Object}] what clients and workers need: `broker`, `events`, keys
      attr_reader :client
      # @return [Hash{Symbol=>Object}] what is a worker's alone
      attr_reader :worker

      # @param values [Hash{String=>Object}] nil counts as absent
      # @param place [String] what errors name
      def initialize(values, place)
        @place = place
        values = table(values, place)
        worker = table(values.delete('worker') || {}, "#{place}.worker")
        @client = checked(values, CLIENT, place, also: ['worker'])
        @worker = checked(worker, WORKER, "#{place}.worker")
        freeze
      end

      # @return [Settings] with what the other one says in place of what this one says
      def under(other)
        merged = client.merge(other.client, worker: worker.merge(other.worker))
        Settings.new(merged.deep_stringify_keys, @place)
      end

      private

      def table(values, place)
        return values.compact if values.is_a?(Hash)

        raise Errors::ConfigurationError, "#{place} has to be a table of keys, not #{values.inspect}"
      end

      def checked(values, known, place, also: [])
        values.to_h do |key, value|
          expected, valid = known[key]
          unless expected
            raise Errors::ConfigurationError, "#{place}.#{key} is not known (known: #{[*known.keys, *also].join(', ')})"
          end
          unless valid.call(value)
            raise Errors::ConfigurationError, "#{place}.#{key} has to be #{expected}, not #{value.inspect}"
          end

          [key.to_sym, value]
        end
      end
    end
  end
end
