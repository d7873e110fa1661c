# frozen_string_literal: true

require 'yaml'
require_relative 'errors'

module TaskerCore
  # The worker's part of the configuration file that it shares with the broker: `[worker]` in TOML, `worker:` in YAML.
  # The other parts are the broker's and are not looked at.
  #
  # @api private
  module ConfigFile
    # Key => what its value has to be, and how to say so. The same keys as in `config/default.toml`.
    KEYS = {
      'broker' => ['a text', ->(value) { value.is_a?(String) }],
      'server_public_key' => ['a text', ->(value) { value.is_a?(String) }],
      'secret_key_file' => ['a text', ->(value) { value.is_a?(String) }],
      'name' => ['a text', ->(value) { value.is_a?(String) }],
      'concurrency' => ['a whole number above 0', ->(value) { value.is_a?(Integer) && value.positive? }],
      'processes' => ['a whole number from 0 on', ->(value) { count?(value) }],
      'max_memory_mb' => ['a whole number from 0 on', ->(value) { count?(value) }],
      'max_steps' => ['a whole number from 0 on', ->(value) { count?(value) }],
      'timeout_seconds' => ['a whole number from 0 to 3600',
                            ->(value) { value.is_a?(Integer) && (0..3600).cover?(value) }],
      'log_format' => ['text or json', ->(value) { %w[text json].include?(value) }],
      'namespaces' => ['a list of texts', ->(value) { texts?(value) }],
      'require' => ['a list of texts', ->(value) { texts?(value) }],
      'templates' => ['a list of texts', ->(value) { texts?(value) }]
    }.freeze

    module_function

    # @param path [String] `.toml`, `.yaml` or `.yml`
    # @return [Hash{Symbol=>Object}] the keys of the worker's part
    # @raise [Errors::ConfigurationError] naming the file and the key
    def load(path)
      document = read(path)
      section = document.is_a?(Hash) ? document.fetch('worker', {}) : document
      raise Errors::ConfigurationError, "#{path}: worker has to be a table of keys" unless section.is_a?(Hash)

      section.each { |key, value| check(path, key, value) }
      section.transform_keys(&:to_sym)
    end

    def read(path)
      text = File.read(path, encoding: 'UTF-8')
      case File.extname(path)
      when '.toml' then toml(path, text)
      when '.yaml', '.yml' then YAML.safe_load(text, filename: path) || {}
      else raise Errors::ConfigurationError, "#{path}: a configuration file ends in .toml, .yaml or .yml"
      end
    rescue SystemCallError => e
      raise Errors::ConfigurationError, "#{path} cannot be read: #{e.message}"
    rescue Psych::Exception => e
      raise Errors::ConfigurationError, "#{path} is not YAML: #{e.message}"
    end

    def toml(path, text)
      require 'tomlrb'
      Tomlrb.parse(text)
    rescue LoadError
      raise Errors::ConfigurationError, "#{path}: reading TOML needs the gem tomlrb (Debian: ruby-tomlrb)"
    rescue Tomlrb::ParseError => e
      raise Errors::ConfigurationError, "#{path} is not TOML: #{e.message.strip}"
    end

    def check(path, key, value)
      expected, valid = KEYS[key]
      unless expected
        raise Errors::ConfigurationError, "#{path}: worker.#{key} is not known (known: #{KEYS.keys.join(', ')})"
      end
      return if valid.call(value)

      raise Errors::ConfigurationError, "#{path}: worker.#{key} has to be #{expected}, not #{value.inspect}"
    end

    def count?(value) = value.is_a?(Integer) && !value.negative?
    def texts?(value) = value.is_a?(Array) && value.all?(String)

    private_class_method :read, :toml, :check
  end
end
