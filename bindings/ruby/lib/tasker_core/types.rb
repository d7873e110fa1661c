# frozen_string_literal: true

require_relative 'errors'

module TaskerCore
  # Values that handlers return and that the client answers with.
  module Types
    # What a handler may return to say more than its result.
    #
    #     TaskerCore::Types::StepHandlerCallResult.success(result: { total: 12 }, metadata: { operation: 'sum' })
    #     TaskerCore::Types::StepHandlerCallResult.error(error_type: 'RetryableError', message: 'busy', retryable: true)
    class StepHandlerCallResult
      # @return [Hash] what the handler says about the run
      attr_reader :metadata

      # @param result [Object] any JSON value
      # @param metadata [Hash]
      # @return [Success]
      def self.success(result: nil, metadata: {})
        Success.new(result: result, metadata: metadata)
      end

      # @param error_type [String] an error class, with or without its modules: `PermanentError`
      # @param message [String]
      # @param error_code [String, nil]
      # @param retryable [Boolean]
      # @param metadata [Hash] kept with the error; `retry_after` says when to try again
      # @return [Error]
      def self.error(error_type:, message:, error_code: nil, retryable: false, metadata: {})
        Error.new(error_type: error_type, message: message, error_code: error_code, retryable: retryable,
                  metadata: metadata)
      end

      # @return [Boolean]
      def success? = is_a?(Success)
      alias success success?

      # The step is complete.
      class Success < StepHandlerCallResult
        # @return [Object] any JSON value
        attr_reader :result

        # @api private
        def initialize(result:, metadata: {})
          super()
          @result = result
          @metadata = metadata || {}
          freeze
        end
      end

      # The attempt failed.
      class Error < StepHandlerCallResult
        # @return [String] the error's class
        attr_reader :error_type
        # @return [String]
        attr_reader :message
        # @return [String, nil]
        attr_reader :error_code
        # @return [Boolean]
        attr_reader :retryable

        # @api private
        def initialize(error_type:, message:, error_code: nil, retryable: false, metadata: {})
          super()
          @error_type = error_type.to_s
          @message = message.to_s
          @error_code = error_code
          @retryable = retryable ? true : false
          @metadata = metadata || {}
          freeze
        end

        # @api private
        # @return [Exception] what a handler could have raised instead
        def to_exception
          kind = retryable ? Errors::RetryableError : Errors::PermanentError
          kind.new(message, error_code: error_code, context: metadata)
        end
      end
    end
  end
end
