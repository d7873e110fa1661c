# frozen_string_literal: true

require_relative '../../errors'

module TaskerCore
  module StepHandler
    class Api < Base
      # What a handler class says about the service that it calls. Subclasses inherit it.
      module Settings
        DEFAULTS = { base_url: nil, timeout: 30, open_timeout: 5, headers: {}.freeze, auth: {}.freeze,
                     statuses: {}.freeze }.freeze
        MEANINGS = %i[ok permanent retryable].freeze
        private_constant :DEFAULTS, :MEANINGS

        # @api private
        # @param value [String, #call]
        # @return [String] the value, at the time of the call
        def self.text(value) = (value.respond_to?(:call) ? value.call : value).to_s

        # @param url [String] paths of calls are relative to it
        # @return [void]
        def base_url(url) = set(base_url: url)

        # @param seconds [Numeric] that a call may take; 30 unless set
        # @param open [Numeric, nil] of it for the connection; 5 unless set
        # @return [void]
        def timeout(seconds, open: nil) = set(**{ timeout: seconds, open_timeout: open }.compact)

        # @param headers [Hash] of every call
        # @return [void]
        def headers(headers) = set(headers: settings[:headers].merge(headers))

        # Says who calls. What is callable is called for each request, so that tokens may change.
        #
        #     auth :bearer, -> { Tokens.current }
        #     auth :basic, 'user', -> { ENV.fetch('PASSWORD') }
        #     auth :header, 'X-Api-Key', -> { ENV.fetch('API_KEY') }
        #
        # @param kind [Symbol] `:bearer`, `:basic` or `:header`
        # @param values [Array<String, #call>] token; user and password; name of the header and its value
        # @return [void]
        # @raise [Errors::ConfigurationError]
        def auth(kind, *values)
          texts = -> { values.map { |value| Settings.text(value) } }
          header = case [kind, values.size]
                   when [:bearer, 1] then { 'Authorization' => -> { "Bearer #{texts.call.first}" } }
                   when [:basic, 2] then { 'Authorization' => -> { "Basic #{[texts.call.join(':')].pack('m0')}" } }
                   when [:header, 2] then { values[0].to_s => values[1] }
                   end
          return set(auth: settings[:auth].merge(header)) if header

          raise Errors::ConfigurationError,
                "auth of #{self} has to be :bearer, TOKEN; :basic, USER, PASSWORD; or :header, NAME, VALUE"
        end

        # Changes what statuses mean.
        #
        #     statuses 404 => :ok, 409 => :retryable, 423..424 => :retryable, 402 => PaymentMissing
        #
        # @param meanings [Hash{Integer, Range=>Symbol, Class}] `:ok`, `:permanent`, `:retryable`, or a class of error
        #   that takes a message
        # @return [void]
        # @raise [Errors::ConfigurationError]
        def statuses(meanings)
          errors, symbols = meanings.values.partition { |value| value.is_a?(Class) }
          wrong = errors.reject { |kind| kind < Exception } + (symbols - MEANINGS)
          if wrong.any?
            raise Errors::ConfigurationError, "a status of #{self} is #{wrong.first.inspect}, and has to be one of " \
                                              "#{MEANINGS.join(', ')}, or a class of error"
          end

          set(statuses: settings[:statuses].merge(meanings))
        end

        # Has a block add to the connection of every run, for example `faraday.adapter :httpx`.
        # @yieldparam faraday [Faraday::Connection]
        # @return [void]
        def connection(&block) = set(connection: block)

        # @api private
        # @return [Hash{Symbol=>Object}]
        def settings
          inherited = superclass.respond_to?(:settings) ? superclass.settings : DEFAULTS
          @settings ? inherited.merge(@settings) : inherited
        end

        private

        def set(**values)
          @settings = (@settings || {}).merge(values)
          nil
        end
      end
    end
  end
end
