# frozen_string_literal: true

require_relative '../indifferent_hash'
require_relative '../json_text'
require_relative 'backoff'

module TaskerCore
  module Testing
    # How one attempt of a step ended: what {StepHarness#run} answers with. Everything has been through JSON.
    class Outcome
      # Why an attempt failed.
      #
      # @!attribute error_class
      #   @return [String] name of the error's class
      # @!attribute message
      #   @return [String]
      # @!attribute code
      #   @return [String, nil] a code of the application
      # @!attribute retryable
      #   @return [Boolean] whether another attempt may help
      # @!attribute retry_after
      #   @return [Numeric, nil] seconds that the handler asked for
      # @!attribute context
      #   @return [IndifferentHash] facts that are kept with the error
      # @!attribute exception
      #   @return [Exception, nil] what was raised; nil when the handler returned the error
      Error = Struct.new(:error_class, :message, :code, :retryable, :retry_after, :context, :exception,
                         keyword_init: true) do
        alias_method :retryable?, :retryable
      end

      # An event that the step published.
      Event = Struct.new(:name, :payload)

      # @return [Error, nil]
      attr_reader :error
      # @return [Array<Event>]
      attr_reader :events
      # @return [Array] what the step reported of its progress
      attr_reader :progress

      # @api private
      # @param attempt [Attempt] one that has run
      def initialize(attempt)
        @fields = attempt.outcome
        @step = attempt.step
        @events = (@fields['events'] || []).map { |event| Event.new(event['name'], JsonText.load(event['payload'])) }
        @progress = attempt.progress.map { |text| JsonText.load(text) }
        @error = error_of(@fields['error'], attempt.exception) if @fields['error']
        freeze
      end

      # @return [Boolean] whether the step is complete
      def complete? = error.nil?
      # @return [Boolean]
      def failed? = !complete?
      # @return [Boolean] whether another attempt follows: the error is retryable, and attempts are left
      def retried? = failed? && error.retryable? && !@step.last_attempt?
      # @return [Object, nil] frozen, with string or symbol keys at every level
      def result = @fields['result'] && JsonText.load(@fields['result'])
      # @return [IndifferentHash] what the handler said about the run
      def metadata = JsonText.load(@fields['metadata'] || '{}')

      # @return [String]
      def inspect
        what = complete? ? "complete #{@fields['result']}" : "#{error.error_class}: #{error.message}"
        "#<#{self.class.name} #{@step.name} #{what}>"
      end

      private

      def error_of(fields, exception)
        after = Backoff.asked(fields['retry_after'])
        after = after.to_i if after&.denominator == 1
        Error.new(error_class: fields['class'], message: fields['message'], code: fields['code'],
                  retryable: fields['retryable'], retry_after: after.is_a?(Rational) ? after.to_f : after,
                  context: JsonText.load(fields['context'] || '{}'), exception: exception).freeze
      end
    end
  end
end
