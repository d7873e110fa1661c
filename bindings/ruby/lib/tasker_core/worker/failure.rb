# frozen_string_literal: true

require 'time'
require_relative '../errors'
require_relative '../json_text'

module TaskerCore
  class Worker
    # From what a handler raised, or returned as an error, to the `StepError` that travels.
    #
    # @api private
    module Failure
      BACKTRACE_LINES = 30
      # Longer messages are cut: they are for people.
      MESSAGE_BYTES = 16_384
      # Code that is broken, or that wants to end the process, fails again the next time.
      PERMANENT = [ScriptError, SystemExit].freeze
      private_constant :PERMANENT

      module_function

      # @param error [Exception]
      # @return [Hash{String=>Object}]
      def from_exception(error)
        context = error.respond_to?(:context) && error.context.is_a?(Hash) ? error.context : {}
        context = error.details.merge(context) if error.is_a?(Errors::Error)
        fields(class: class_name(error), message: message_of(error),
               code: error.respond_to?(:error_code) ? error.error_code : nil, retryable: retryable?(error),
               retry_after: error.respond_to?(:retry_after) ? error.retry_after : nil,
               backtrace: backtrace_of(error), context: context)
      end

      # @param result [Types::StepHandlerCallResult::Error]
      # @return [Hash{String=>Object}]
      def from_result(result)
        metadata = IndifferentHash.wrap(result.metadata)
        fields(class: full_name(result.error_type), message: result.message, code: result.error_code,
               retryable: result.retryable, retry_after: metadata[:retry_after], backtrace: nil,
               context: metadata[:context].is_a?(Hash) ? metadata[:context] : metadata.except(:retry_after))
      end

      # @param error [Exception]
      # @return [Array<String>, nil] without the lines that the application does not care for
      def backtrace_of(error)
        cleaner = TaskerCore.configuration.backtrace_cleaner
        cleaner && error.backtrace ? cleaner.call(error.backtrace) : error.backtrace
      end

      # @param error [Exception]
      # @return [Boolean] whether another attempt may help
      def retryable?(error)
        return error.retryable? if error.is_a?(Errors::Error) || error.is_a?(Workflow::Ruling)

        PERMANENT.none? { |permanent| error.is_a?(permanent) }
      end

      def fields(error)
        {
          'class' => error[:class], 'message' => text(error[:message]).byteslice(0, MESSAGE_BYTES).scrub(''),
          'retryable' => error[:retryable], 'code' => error[:code]&.then { |code| text(code) },
          'retry_after' => after(error[:retry_after]), 'context' => json(error[:context]),
          'backtrace' => error[:backtrace]&.first(BACKTRACE_LINES)&.map { |line| text(line) }
        }.compact
      end

      # How a handler was interrupted is nobody's business: it timed out.
      def class_name(error)
        return Errors::TimeoutError.name if error.is_a?(StepInterrupt)

        error.class.name || error.class.inspect
      end

      def message_of(error)
        error.message
      rescue StandardError => e
        "(its message could not be made: #{e.class})"
      end

      def after(value)
        case value
        when nil then nil
        when Integer, Float then value.to_s
        when Numeric then value.to_f.to_s
        when Time then value.httpdate
        else text(value)
        end
      end

      # What explains a failure must not fail itself: a context that is no JSON is sent as text.
      def json(context)
        return if context.empty?

        JsonText.dump(context, place: 'context')
      rescue Errors::NotJsonError
        JsonText.dump({ 'text' => text(context.inspect) })
      end

      def text(value)
        utf8 = value.to_s.dup.force_encoding(Encoding::UTF_8) if value.to_s.encoding == Encoding::BINARY
        (utf8 || value.to_s.encode(Encoding::UTF_8, invalid: :replace, undef: :replace)).scrub.delete("\0")
      end

      def full_name(error_type)
        known = !error_type.include?('::') && Errors.const_defined?(error_type, false)
        known ? "TaskerCore::Errors::#{error_type}" : error_type
      rescue NameError
        error_type
      end

      private_class_method :fields, :class_name, :message_of, :after, :json, :text, :full_name
    end
  end
end
