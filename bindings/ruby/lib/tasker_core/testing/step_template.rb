# frozen_string_literal: true

require_relative '../json_text'
require_relative 'backoff'

module TaskerCore
  module Testing
    # One step of a template, with what the broker takes for what it does not say.
    #
    # @api private
    class StepTemplate
      KEYS = %w[name handler_class description dependent_system depends_on_step depends_on_steps default_retryable
                default_retry_limit retry_backoff skippable timeout_seconds handler_config custom_events].freeze
      RETRY_LIMIT = 3
      TIMEOUT_SECONDS = 300
      private_constant :KEYS, :RETRY_LIMIT, :TIMEOUT_SECONDS

      # @return [String]
      attr_reader :name, :handler, :inputs
      # @return [Array<String>]
      attr_reader :parents, :custom_events
      # @return [Integer]
      attr_reader :retry_limit
      # @return [Numeric] seconds
      attr_reader :timeout
      # @return [Backoff]
      attr_reader :backoff

      # @param given [Hash{String=>Object}]
      # @param events [Array<String>] events that every step of the template may publish
      # @raise [ArgumentError]
      def initialize(given, events)
        unknown = given.keys - KEYS
        raise ArgumentError, "unknown key #{unknown.first}" if unknown.any?

        @name = text(given, 'name')
        @handler = text(given, 'handler_class')
        @parents = [*given['depends_on_step'], *given['depends_on_steps']].map(&:to_s).uniq.freeze
        @retryable = given.fetch('default_retryable', true)
        @retry_limit = @retryable ? count(given['default_retry_limit'] || RETRY_LIMIT) : 1
        @backoff = Backoff.new(given['retry_backoff'])
        @skippable = given['skippable'] || false
        @timeout = given['timeout_seconds'] || TIMEOUT_SECONDS
        @inputs = JsonText.dump(given['handler_config'] || {}, place: 'handler_config')
        @custom_events = (Array(given['custom_events']) | events).freeze
        freeze
      end

      def retryable? = @retryable
      def skippable? = @skippable

      private

      def text(given, key)
        value = given[key].to_s
        raise ArgumentError, "#{key} is missing" if value.empty?

        value
      end

      def count(value)
        return value if value.is_a?(Integer) && value.positive?

        raise ArgumentError, "default_retry_limit is #{value.inspect}, which is no positive whole number"
      end
    end
  end
end
