# frozen_string_literal: true

module TaskerCore
  # Everything that this library raises, and what handlers raise to say how a step failed.
  #
  # | raised by a handler | another attempt? |
  # |---|---|
  # | {RetryableError} | yes, after `retry_after` or the template's backoff |
  # | {PermanentError}, {ValidationError}, {NotFoundError}, {ConfigurationError} | no |
  # | {TimeoutError} | yes |
  # | {NetworkError} | yes for 5xx, 429 and no status; no for any other 4xx |
  # | any other `StandardError` | yes |
  #
  # The classes that handlers use are also reachable without the module, as `TaskerCore::RetryableError` and so on.
  module Errors
    # Base of all errors of this library.
    class Error < StandardError
      # @return [Hash] facts that travel with the error and are kept by the broker
      attr_reader :context
      # @return [String, nil] a code of the application
      attr_reader :error_code

      # @param message [String]
      # @param error_code [String, nil] a code of the application, for example `PAYMENT_DECLINED`
      # @param context [Hash] facts to keep with the error
      def initialize(message = nil, error_code: nil, context: {})
        super(message)
        @error_code = error_code
        @context = context || {}
      end

      # @return [String] the class name without its modules
      def error_class
        self.class.name.to_s.split('::').last
      end

      # @return [Boolean] whether another attempt may help
      def retryable?
        true
      end

      # @return [Hash] further facts that the class itself knows
      def details
        {}
      end
    end

    # Something is set up wrongly: a missing handler class, an unknown option, a broken template file.
    class ConfigurationError < Error
      def retryable? = false
    end

    # Base of the errors that handlers raise.
    class ProceduralError < Error; end

    # A temporary failure: try again, after `retry_after` seconds when that is given.
    class RetryableError < ProceduralError
      # @return [Numeric, String, Time, nil] seconds, an HTTP date, or a time
      attr_reader :retry_after

      # @param message [String]
      # @param retry_after [Numeric, String, Time, nil] when to try again: seconds, an HTTP date, or a time
      # @param error_code [String, nil]
      # @param context [Hash]
      def initialize(message = nil, retry_after: nil, error_code: nil, context: {})
        super(message, error_code: error_code, context: context)
        @retry_after = retry_after
      end
    end

    # A failure that no further attempt can mend.
    class PermanentError < ProceduralError
      def retryable? = false
    end

    # Data is not as it has to be.
    class ValidationError < PermanentError
      # @return [String, nil] the field at fault
      attr_reader :field

      # @param message [String]
      # @param field [String, nil] the field at fault
      # @param error_code [String, nil]
      # @param context [Hash]
      def initialize(message = nil, field: nil, error_code: nil, context: {})
        super(message, error_code: error_code, context: context)
        @field = field
      end

      def details = { field: field }.compact
    end

    # Something that has to exist does not.
    class NotFoundError < PermanentError
      # @return [String, nil] what kind of thing was looked for
      attr_reader :resource_type

      # @param message [String]
      # @param resource_type [String, nil] what kind of thing was looked for
      # @param error_code [String, nil]
      # @param context [Hash]
      def initialize(message = nil, resource_type: nil, error_code: nil, context: {})
        super(message, error_code: error_code, context: context)
        @resource_type = resource_type
      end

      def details = { resource_type: resource_type }.compact
    end

    # Something took too long.
    class TimeoutError < ProceduralError
      # @return [Numeric, nil] the time that was allowed, in seconds
      attr_reader :timeout_duration

      # @param message [String]
      # @param timeout_duration [Numeric, nil] the time that was allowed, in seconds
      # @param error_code [String, nil]
      # @param context [Hash]
      def initialize(message = nil, timeout_duration: nil, error_code: nil, context: {})
        super(message, error_code: error_code, context: context)
        @timeout_duration = timeout_duration
      end

      def details = { timeout_duration: timeout_duration }.compact
    end

    # A call over the network failed.
    class NetworkError < ProceduralError
      # @return [Integer, nil] HTTP status, when there was an answer
      attr_reader :status_code

      # @param message [String]
      # @param status_code [Integer, nil] HTTP status, when there was an answer
      # @param error_code [String, nil]
      # @param context [Hash]
      def initialize(message = nil, status_code: nil, error_code: nil, context: {})
        super(message, error_code: error_code, context: context)
        @status_code = status_code
      end

      def retryable?
        status_code.nil? || status_code == 429 || !(400..499).cover?(status_code)
      end

      def details = { status_code: status_code }.compact
    end

    # The process that ran a step has ended before the step. The message says which one it was, and how it ended.
    class ProcessDiedError < RetryableError; end

    # A value cannot be written as JSON; the message names the place.
    class NotJsonError < PermanentError; end

    # The broker did not answer in time. The command may or may not have been carried out.
    class RequestTimeoutError < TimeoutError; end

    # The connection was closed, or its thread ended, while a request waited for its answer.
    class ConnectionClosedError < Error; end

    # There is no such task yet: the transaction that makes it has not committed, or never will.
    class NotEnqueuedError < Error; end

    # The broker did not let us in: it does not list our key, or demands one and we have none, or has none and we do.
    class KeyRefusedError < Error
      # @api private
      # @param what [Symbol] `:key_refused` or `:mechanism`
      def self.for(what, address, keys:)
        return new("the broker at #{address} refused this key") if what == :key_refused

        new("the broker at #{address} " + (keys ? 'knows no keys, and one was given' : 'demands a key'))
      end

      def retryable? = false
    end

    # The broker refused a command.
    class CommandRefusedError < Error
      # @return [String] one of the protocol's error codes, for example `unknown_template`
      attr_reader :code
      # @return [String, nil] the field at fault
      attr_reader :field
      # @return [Integer, nil] the limit that was passed
      attr_reader :limit
      # @return [String, nil] where the fault is: `file:line: key`, JSON pointer, or byte
      attr_reader :position
      # @return [Float, nil] seconds to wait before another try
      attr_reader :retry_after

      # @api private
      # @param fields [Hash] the body of an `Error` message
      def initialize(fields)
        super(fields['message'].to_s, error_code: fields['code'])
        @code = fields['code'].to_s
        @retryable = fields['retryable'] ? true : false
        @field, @limit, @position = fields.values_at('field', 'limit', 'position')
        @retry_after = fields['retry_after_ms'] && (fields['retry_after_ms'] / 1000.0)
      end

      def retryable? = @retryable

      def details
        { code: code, field: field, limit: limit, position: position }.compact
      end

      # @api private
      # @param fields [Hash] the body of an `Error` message
      # @return [CommandRefusedError] of the class that fits the code
      def self.from(fields)
        REFUSALS.fetch(fields['code'], CommandRefusedError).new(fields)
      end
    end

    # The broker knows no such template, version, task, step or worker.
    class UnknownResourceError < CommandRefusedError; end
    # Something in the command is not valid: a field, JSON, a template, a context.
    class InvalidCommandError < CommandRefusedError; end
    # The command does not apply in the present state, or contradicts what is stored.
    class ConflictError < CommandRefusedError; end
    # The broker cannot take the command now; the same command may succeed later.
    class UnavailableError < CommandRefusedError; end
    # The role of this peer does not allow the command.
    class ForbiddenError < CommandRefusedError; end

    REFUSALS = {
      'unknown_template' => UnknownResourceError, 'unknown_version' => UnknownResourceError,
      'unknown_task' => UnknownResourceError, 'unknown_step' => UnknownResourceError,
      'unknown_worker' => UnknownResourceError,
      'malformed_message' => InvalidCommandError, 'unsupported_version' => InvalidCommandError,
      'unknown_message' => InvalidCommandError, 'invalid_field' => InvalidCommandError,
      'invalid_json' => InvalidCommandError, 'too_large' => InvalidCommandError,
      'invalid_template' => InvalidCommandError, 'invalid_context' => InvalidCommandError,
      'template_conflict' => ConflictError, 'invalid_state' => ConflictError, 'refused' => CommandRefusedError,
      'overloaded' => UnavailableError, 'unavailable' => UnavailableError, 'forbidden' => ForbiddenError
    }.freeze
    private_constant :REFUSALS
  end

  Error = Errors::Error
  RetryableError = Errors::RetryableError
  PermanentError = Errors::PermanentError
  ValidationError = Errors::ValidationError
  NotFoundError = Errors::NotFoundError
  TimeoutError = Errors::TimeoutError
  NetworkError = Errors::NetworkError
  ConfigurationError = Errors::ConfigurationError
  ProceduralError = Errors::ProceduralError
end
