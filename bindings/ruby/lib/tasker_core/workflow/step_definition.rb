# frozen_string_literal: true

require_relative '../errors'

module TaskerCore
  class Workflow
    # One step as the class defines it. Checks what it is given, and says how a template names it.
    #
    # @api private
    class StepDefinition
      # Most attempts of a step that says nothing of them: the broker's own default.
      ATTEMPTS = 3
      # As the broker checks it.
      NAME = /\A[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}\z/
      BACKOFFS = %w[exponential linear fixed].freeze
      private_constant :NAME, :BACKOFFS

      attr_reader :name, :after, :attempts, :handler

      # @param options [Hash] see {Workflow.step}
      # @raise [Errors::ConfigurationError]
      def initialize(workflow:, name:, after:, handler:, attempts:, block:, **options)
        @workflow = workflow
        @name = name.freeze
        @after = after.uniq.freeze
        @handler = handler
        @attempts = attempts
        @options = options
        check(block)
        define(block) if block
        freeze
      end

      # @return [Hash{String=>Object}] the step of a template
      # @param attempts [Integer] most attempts of whatever error
      def to_h(workflow, attempts)
        {
          'name' => name, 'handler_class' => "#{workflow.name}##{name}", 'description' => @options[:description],
          'depends_on_steps' => after, 'default_retry_limit' => attempts, 'timeout_seconds' => timeout,
          'retry_backoff' => backoff, 'skippable' => @options[:skippable] || nil,
          'handler_config' => Template.plain(@options[:config]), 'custom_events' => @options[:events]
        }.reject { |_, value| value.nil? || (value.respond_to?(:empty?) && value.empty?) }
      end

      # @return [Boolean] whether a method of the workflow runs it
      def method? = handler.nil?

      def to_s = "step #{name} of #{@workflow.name || 'a workflow'}"

      private

      def check(block)
        refuse('has no valid name: letters, digits, _, - and ., at most 128') unless NAME.match?(name)
        refuse('has a handler and a block; one of them runs it') if handler && block
        refuse("has a handler that cannot be called: #{handler.inspect}") unless handler?
        unless attempts.is_a?(Integer) && attempts.positive?
          refuse("has attempts: #{attempts.inspect}, which is no positive whole number")
        end
        timeout
        backoff
      end

      def handler?
        return true if handler.nil? || handler.is_a?(Class) || handler.is_a?(String)

        handler.respond_to?(:call) || handler.respond_to?(:process)
      end

      # Also a duration of ActiveSupport, which is no number but has one.
      def timeout
        given = @options[:timeout]
        return if given.nil?

        seconds = given.respond_to?(:to_f) && !given.is_a?(String) ? given.to_f : 0
        refuse("has timeout: #{given.inspect}, which are no seconds") unless seconds.positive?
        seconds == seconds.to_i ? seconds.to_i : seconds
      end

      # A method, not a block: `return` works in it.
      def define(block)
        if Workflow.method_defined?(name) || Workflow.private_method_defined?(name)
          refuse('has the name of a method that every object has; give the step another name, or a handler')
        end
        @workflow.define_method(name, &block)
      end

      def backoff
        backoff = @options[:backoff]
        return if backoff.nil?

        kind = backoff.is_a?(Hash) ? backoff[:kind] || backoff['kind'] : backoff
        unless BACKOFFS.include?(kind.to_s)
          refuse("has backoff: #{backoff.inspect}; there are #{BACKOFFS.join(', ')}, or a Hash with kind:")
        end
        backoff.is_a?(Hash) ? Template.plain(backoff) : backoff.to_s
      end

      def refuse(what)
        raise Errors::ConfigurationError, "#{self} #{what}"
      end
    end
  end
end
