# frozen_string_literal: true

require 'timeout'
require_relative '../../errors'
require_relative 'answer'

module TaskerCore
  module StepHandler
    class Api < Base
      # The outermost part of a handler's connection, as middleware of Faraday.
      #
      # 1. Adds headers that the request does not have.
      # 2. Raises what an answer means, or that there is none, and leaves the body of any other as it was read.
      #
      # @api private
      class Exchange
        # Methods that may change something where they arrive.
        UNSAFE = %i[post put patch delete].freeze

        # @param app [#call] the rest of the connection
        # @param handler [Api]
        def initialize(app, handler)
          @app = app
          @handler = handler
        end

        def call(env)
          method = env[:method]
          unless env[:url].host
            raise Errors::ConfigurationError, "#{@handler.class} has no base_url for #{method} #{env[:url]}"
          end

          @handler.headers_for(method, env[:url]).each { |name, value| env[:request_headers][name] ||= value }
          @app.call(env).on_complete { |answered| read(answered, method) }
        rescue ::Faraday::TimeoutError, ::Faraday::ConnectionFailed, ::Faraday::SSLError => e
          raise failure(e, env, method)
        end

        private

        def read(env, method)
          answer = Answer.new(env, method)
          error = answer.error(@handler.settings[:statuses]) and raise error
          env[:body] = answer.body
        end

        def failure(error, env, method)
          call = "#{method.to_s.upcase} #{Answer.plain(env[:url])}"
          context = { method: method.to_s, url: Answer.plain(env[:url]) }
          seconds = seconds_of(error, env[:request])
          unless seconds
            return Errors::NetworkError.new("#{call}: #{error.message}", error_code: 'HTTP_NO_ANSWER', context: context)
          end

          Errors::TimeoutError.new("#{call} had no answer after #{seconds} s", timeout_duration: seconds,
                                                                               error_code: 'HTTP_TIMEOUT',
                                                                               context: context)
        end

        # That no connection came about in time is a failure of the connection to some adapters.
        def seconds_of(error, times)
          return times[:timeout] if error.is_a?(::Faraday::TimeoutError)

          times[:open_timeout] if error.wrapped_exception.is_a?(::Timeout::Error)
        end
      end
    end
  end
end
