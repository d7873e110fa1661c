# frozen_string_literal: true

require_relative '../errors'
require_relative '../json_text'

module TaskerCore
  module Execution
    # The step that a handler runs.
    class Step
      # The broker takes no more events with one result.
      EVENTS_MAX = 100
      # The broker takes no longer progress, in bytes of JSON.
      PROGRESS_BYTES_MAX = 4096

      # What the wire may leave out.
      NONE = [].freeze
      private_constant :NONE

      # @return [String]
      attr_reader :name
      # @return [String] id of the task
      attr_reader :task_id

      # @api private
      # @param fields [Hash] a `BatchStep`, frozen: what a handler does not ask for is not taken out
      # @param task_id [String]
      # @param outlet [#progressed, nil] told how far the step is, as JSON text
      def initialize(fields, task_id, outlet = nil)
        @task_id = task_id
        @outlet = outlet
        @name = fields['name']
        @fields = fields
      end

      # @return [String] the handler as the template names it
      def handler_class = @fields['handler']

      # @return [Integer] number of this attempt, from 1
      def attempt = @fields['attempt']
      alias attempts attempt

      # @return [String, nil] the broker's span of this attempt (W3C Trace Context), when it traces
      def traceparent = @fields['traceparent']

      # @return [Integer] most attempts
      def retry_limit = @fields['retry_limit']

      # @return [Float] seconds after which the broker gives this attempt up
      def timeout_seconds = @fields['timeout_seconds']

      # @return [Array<String>] names of the parents
      def parents = @fields['parents'] || NONE

      # @return [Array<String>] events that this step may publish
      def custom_events = @fields['custom_events'] || NONE

      # @return [IndifferentHash] the step's `handler_config`, frozen
      def handler_config
        @handler_config ||= JsonText.load(@fields['inputs'] || '{}')
      end
      alias inputs handler_config

      # @return [Boolean] whether another attempt may follow a failure
      def retryable? = @fields['retryable'] ? true : false
      alias retryable retryable?

      # @return [Boolean] whether this is the last attempt
      def last_attempt? = !retryable? || attempt >= retry_limit

      # @return [Boolean] whether the task was cancelled or the attempt given up: a long handler looks now and then
      def cancelled? = @cancelled || false

      # @return [String] the same for all attempts of this step: a key for calls that must take effect only once
      def idempotency_key = "#{task_id}:#{name}"

      # Publishes an event once the result of this step is stored.
      #
      # @param event [String, Symbol] a name that the template lists in `custom_events`
      # @param payload [Object] any JSON value
      # @return [void]
      def publish_event(event, payload = {})
        event = event.to_s
        unless custom_events.include?(event)
          known = custom_events.empty? ? 'it lists none' : "it lists #{custom_events.join(', ')}"
          raise Errors::ConfigurationError, "the template does not list #{event} in custom_events (#{known})"
        end

        raise Errors::PermanentError, "a step publishes at most #{EVENTS_MAX} events" if @events&.size == EVENTS_MAX

        (@events ||= []) << { 'name' => event, 'payload' => JsonText.dump(payload, place: "payload of #{event}") }
        nil
      end

      # Says how far this step is, for whoever looks at the task meanwhile. A handler may call it as often as it likes:
      # the latest is sent, once a second at most, and nothing waits for it. It is not stored, and gone with the
      # attempt.
      #
      # @param value [Object] any JSON value of at most {PROGRESS_BYTES_MAX} bytes, for example `{ done: 40, of: 100 }`
      # @return [void]
      def report_progress(value)
        text = JsonText.dump(value, place: 'progress')
        if text.bytesize > PROGRESS_BYTES_MAX
          raise Errors::PermanentError, "progress has #{text.bytesize} bytes, at most #{PROGRESS_BYTES_MAX} are taken"
        end

        @outlet&.progressed(text)
        nil
      end

      # @api private
      # @return [Hash] as they came, for another process
      attr_reader :fields

      # @api private
      def published_events = @events
      # @api private
      def cancel! = @cancelled = true

      def inspect = "#<#{self.class.name} #{name} attempt #{attempt} of #{retry_limit}>"
    end
  end
end
