# frozen_string_literal: true

require_relative '../errors'
require_relative '../json_text'
require_relative '../step_handler'
require_relative '../trace_context'
require_relative 'api/exchange'
require_relative 'api/settings'

module TaskerCore
  module StepHandler
    # Base of handlers that call HTTP services, through the gem Faraday (1 or 2).
    #
    #     class ChargeCard < TaskerCore::StepHandler::Api
    #       base_url 'https://payments.example.com/v2'
    #       auth :bearer, -> { ENV.fetch('PAYMENTS_TOKEN') }
    #       timeout 20, open: 3
    #       statuses 409 => :retryable
    #
    #       def process(task, sequence, step)
    #         total = sequence.get_results('price')[:total]
    #         post('charges', { amount: total, customer: task.context[:customer] }).body
    #       end
    #     end
    #
    # 1. Makes calls with the settings of the class, over which `base_url`, `timeout`, `open_timeout` and `headers` of
    #    the step's `handler_config` win. A call gets no more time than the step has.
    # 2. Sends the trace of the step along, and with POST, PUT, PATCH and DELETE an `Idempotency-Key` that is the same
    #    for all attempts: that of the step, with `:2`, `:3` added for its further calls. Headers of your own win. What
    #    {.auth} says goes to the server of the base URL alone.
    # 3. Sends a Hash or an Array as JSON, and reads JSON that comes.
    # 4. Fails the attempt by what comes back:
    #
    # | answer | error | another attempt? |
    # |---|---|---|
    # | 2xx | none | |
    # | 408, 425, 429, 5xx | {RetryableError} | yes, after `Retry-After` or the step's backoff |
    # | 400, 422 | {ValidationError} | no |
    # | 404, 410 | {NotFoundError} | no |
    # | any other 4xx, and 3xx: redirects are not followed | {PermanentError} | no |
    # | none within the time | {TimeoutError} | yes |
    # | none: no connection, or it broke | {NetworkError} | yes |
    # | JSON that cannot be read | {RetryableError} | yes |
    #
    # The error's code is `HTTP_422` and the like; its context has `status`, `method`, `url` (without user, password and
    # query) and the beginning of the `body`. {.statuses} changes what a status means.
    #
    # A step that is one call may have `call` instead of `process`: it returns the response, and {#process_results}
    # makes the step's result of it.
    class Api < Base
      extend Settings

      # @return [Object] what {#process_results} makes of the response of `call`
      def process(task, sequence, step)
        return process_results(call(task, sequence, step)) if respond_to?(:call)

        raise Errors::ConfigurationError, "handler #{self.class} has neither process nor call"
      end

      # @param response [Faraday::Response]
      # @return [Object] the step's result: the body, unless a subclass makes something else of it
      def process_results(response) = response.body

      # @!group Calls

      # @param path [String] under the base URL, or a whole URL
      # @param params [Hash] of the query
      # @param headers [Hash]
      # @return [Faraday::Response] its `body` is read already if it is JSON, with string or symbol keys
      # @raise [Errors::Error] see above
      def get(path = '', params: nil, headers: nil) = send_request(:get, path, nil, params, headers)

      # @see #get
      def head(path = '', params: nil, headers: nil) = send_request(:head, path, nil, params, headers)

      # @see #get
      def delete(path = '', params: nil, headers: nil) = send_request(:delete, path, nil, params, headers)

      # @param body [Hash, Array, String, nil] a Hash or an Array goes as JSON
      # @see #get
      def post(path = '', body = nil, params: nil, headers: nil) = send_request(:post, path, body, params, headers)

      # @see #post
      def put(path = '', body = nil, params: nil, headers: nil) = send_request(:put, path, body, params, headers)

      # @see #post
      def patch(path = '', body = nil, params: nil, headers: nil) = send_request(:patch, path, body, params, headers)

      # @!endgroup

      # For calls that the helpers cannot make. Answers mean the same as with them.
      # @return [Faraday::Connection] of this run
      # @raise [Errors::ConfigurationError] when the gem faraday is missing
      def connection
        @connection ||= begin
          load_faraday
          Faraday.new(url: settings[:base_url], headers: settings[:headers], request: times) do |faraday|
            faraday.use(Exchange, self)
            settings[:connection]&.call(faraday)
            faraday.adapter(Faraday.default_adapter) unless faraday.builder.adapter
          end
        end
      end

      # @api private
      # @return [Hash{Symbol=>Object}] of the class, and of the step
      def settings
        @settings ||= begin
          own = %i[base_url timeout open_timeout].to_h { |key| [key, config[key]] }.compact
          all = self.class.settings.merge(own)
          all.merge(headers: all[:headers].merge((config[:headers] || {}).to_hash))
        end
      end

      # @api private
      # @param method [Symbol]
      # @param url [URI]
      # @return [Hash{String=>String}] that a request gets unless it has them
      def headers_for(method, url)
        headers = TraceContext.current&.headers || {}
        headers.update(settings[:auth].transform_values { |value| Settings.text(value) }) if home?(url)
        headers['Idempotency-Key'] = next_key if @tasker_core_step && Exchange::UNSAFE.include?(method)
        headers
      end

      private

      def home?(url)
        base = connection.url_prefix
        settings[:base_url].nil? || [base.scheme, base.host, base.port] == [url.scheme, url.host, url.port]
      end

      def send_request(method, path, body, params, headers)
        connection.run_request(method, path.empty? ? nil : path, nil, headers) do |request|
          request.params.update(params) if params
          encode(request, body) unless body.nil?
        end
      end

      def encode(request, body)
        return request.body = body if body.is_a?(String)

        request.headers['Content-Type'] ||= 'application/json'
        request.body = JsonText.dump(body, place: 'body')
      end

      # Calls of one step must not be taken for each other; those of another attempt have to be.
      def next_key
        @unsafe_calls = (@unsafe_calls || 0) + 1
        key = @tasker_core_step.idempotency_key
        @unsafe_calls == 1 ? key : "#{key}:#{@unsafe_calls}"
      end

      def times
        limit = @tasker_core_step&.timeout_seconds
        { timeout: settings[:timeout], open_timeout: settings[:open_timeout] }.transform_values do |seconds|
          [seconds, limit].compact.min
        end
      end

      def load_faraday
        require 'faraday'
      rescue LoadError
        raise Errors::ConfigurationError, "handler #{self.class} needs the gem faraday (Debian: ruby-faraday)"
      end
    end
  end
end
