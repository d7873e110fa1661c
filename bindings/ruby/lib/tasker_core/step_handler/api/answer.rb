# frozen_string_literal: true

require 'json'
require 'time'
require_relative '../../errors'
require_relative '../../indifferent_hash'

module TaskerCore
  module StepHandler
    class Api < Base
      # What an HTTP answer means for the attempt that asked.
      #
      # @api private
      class Answer
        # As much of the body is kept with an error.
        EXCERPT_BYTES = 2048
        RETRYABLE = [408, 425, 429, 500..599].freeze
        ERRORS = { 400 => Errors::ValidationError, 422 => Errors::ValidationError, 404 => Errors::NotFoundError,
                   410 => Errors::NotFoundError }.freeze
        private_constant :EXCERPT_BYTES, :RETRYABLE, :ERRORS

        # @param url [URI]
        # @return [String] without user, password, query and fragment: secrets may be in them
        def self.plain(url)
          url.class.build(host: url.host, port: url.port, path: url.path).to_s
        end

        # @param env [Faraday::Env]
        # @param method [Symbol]
        def initialize(env, method)
          @env = env
          @method = method
        end

        # @return [Object] what JSON says, with string or symbol keys, or the text
        # @raise [Errors::RetryableError] when it is no JSON although it says so
        def body
          text = @env[:body]
          return text unless text.is_a?(String) && !text.empty? && json?

          IndifferentHash.wrap(JSON.parse(text))
        rescue JSON::ParserError, EncodingError
          message = "#{call} answered with JSON that cannot be read"
          raise Errors::RetryableError.new(message, error_code: 'HTTP_BODY', context: context)
        end

        # @param statuses [Hash] what some statuses mean to this handler
        # @return [Exception, nil] nil when all is well
        def error(statuses)
          meaning = statuses.find { |status, _| covers?(status) }&.last || usual
          case meaning
          when :ok then nil
          when :retryable then make(Errors::RetryableError, retry_after: retry_after)
          when :permanent then make(ERRORS.fetch(@env[:status], Errors::PermanentError))
          else own(meaning)
          end
        end

        private

        def usual
          return :ok if (200..299).cover?(@env[:status])

          RETRYABLE.any? { |status| covers?(status) } ? :retryable : :permanent
        end

        def covers?(status) = status.is_a?(Range) ? status.cover?(@env[:status]) : status == @env[:status]

        def own(kind)
          return make(kind, retry_after: retry_after) if kind <= Errors::RetryableError

          kind <= Errors::Error ? make(kind) : kind.new(message)
        end

        def make(kind, **details)
          kind.new(message, error_code: "HTTP_#{@env[:status]}", context: context, **details)
        end

        def call = "#{@method.to_s.upcase} #{Answer.plain(@env[:url])}"
        def message = "#{call} answered #{@env[:status]} #{@env.reason_phrase}".strip

        def context
          { status: @env[:status], method: @method.to_s, url: Answer.plain(@env[:url]), body: excerpt }.compact
        end

        def excerpt
          text = @env[:body].to_s
          return if text.empty?

          text.byteslice(0, EXCERPT_BYTES).force_encoding(Encoding::UTF_8).scrub
        end

        def json? = @env[:response_headers]['Content-Type'].to_s.match?(%r{\A\s*[\w.-]+/(?:[\w.-]+\+)?json\b}i)

        # Seconds, or a date; what is neither is left to the step's backoff.
        def retry_after
          text = @env[:response_headers]['Retry-After'].to_s.strip
          return text.to_i if text.match?(/\A\d+\z/)

          Time.httpdate(text) unless text.empty?
        rescue ArgumentError
          nil
        end
      end
    end
  end
end
