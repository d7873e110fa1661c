# frozen_string_literal: true

require_relative '../errors'
require_relative '../instrumentation'
require_relative '../records'
require_relative '../trace_context'
require_relative 'task_request'

module TaskerCore
  class Client
    # The way of a request for a task out of the application, however it is sent.
    #
    # 1. Tells the libraries of {Instrumentation}.
    # 2. Puts the trace of the present work on it, unless it names one.
    # 3. Puts the application's middleware around it.
    #
    # @api private
    class Outgoing
      # @param configuration [Configuration] whose middleware counts
      # @param logger [Logger]
      def initialize(configuration, logger: configuration.logger)
        @middleware = configuration.client_middleware
        @logger = logger
      end

      # @param request [Hash]
      # @yieldparam request [Hash] to be sent
      # @yieldreturn [Types::TaskInitialized, nil] nil when it is sent later
      # @return [Types::TaskInitialized, nil]
      # @raise [Errors::PermanentError] when middleware neither let the request pass nor gave an outcome
      def pass(request, &block)
        kinds = Instrumentation.loaded
        return within(traced(request), &block) if kinds.empty?

        Instrumentation.enqueue(kinds, request, @logger) { within(traced(request), &block) }
      end

      private

      def traced(request)
        trace = TraceContext.current
        return request unless trace

        request = TaskRequest.normalize(request)
        request.update(trace.headers) unless request['traceparent']
        request
      end

      def within(request)
        return yield request if @middleware.empty?

        request = TaskRequest.normalize(request)
        passed = false
        outcome = @middleware.invoke(request) do
          yield(request).tap { passed = true }
        end
        return outcome if passed || outcome.is_a?(Types::TaskInitialized)

        raise Errors::PermanentError, 'client middleware kept the request: it neither yielded nor returned an outcome'
      end
    end
  end
end
