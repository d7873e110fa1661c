# frozen_string_literal: true

require_relative 'errors'

module TaskerCore
  # What the application wants to be told of: {Configuration#on}, {Configuration#on_error}, {Configuration#on_death}.
  #
  # 1. Keeps the blocks in the order in which they were given.
  # 2. Runs them one after the other. What one raises is logged, and the next one runs all the same.
  #
  # @api private
  class Lifecycle
    # In the life of a worker, in this order; `heartbeat` again and again, `fork` in each forked child.
    EVENTS = %i[startup fork heartbeat quiet shutdown].freeze
    FAILURES = %i[error death].freeze
    private_constant :FAILURES

    # @param configuration [#logger] whose logger is told of errors in the blocks
    def initialize(configuration)
      @configuration = configuration
      @blocks = (EVENTS + FAILURES).to_h { |name| [name, [].freeze] }.freeze
      @mutex = Mutex.new
    end

    # @param event [Symbol, String] one of {EVENTS}
    # @raise [Errors::ConfigurationError]
    def on(event, &block)
      name = event.to_sym
      unless EVENTS.include?(name)
        raise Errors::ConfigurationError, "a worker has no event #{event} (it has #{EVENTS.join(', ')})"
      end

      add(name, block)
    end

    # @param kind [Symbol] `:error` or `:death`
    def on_failure(kind, &block) = add(kind, block)

    # @return [Boolean] whether anybody wants to be told
    def any?(name) = !@blocks.fetch(name).empty?

    # @return [Boolean] whether anybody wants to be told of failed attempts
    def failures? = any?(:error) || any?(:death)

    # @param event [Symbol] one of {EVENTS}
    # @param worker [Worker]
    def fire(event, worker) = run(event, worker)

    # @param error [Exception]
    # @param attempt [Execution::Attempt]
    # @param last [Boolean] whether it ends the step
    def failed(error, attempt, last:)
      run(:error, error, attempt)
      run(:death, error, attempt) if last
    end

    private

    def add(name, block)
      raise Errors::ConfigurationError, "nothing to do on #{name}: no block was given" unless block

      @mutex.synchronize { @blocks = @blocks.merge(name => [*@blocks[name], block].freeze).freeze }
      nil
    end

    def run(name, *arguments)
      @blocks.fetch(name).each do |block|
        block.call(*arguments)
      rescue Exception => e # rubocop:disable Lint/RescueException -- a block of the application may raise anything
        @configuration.logger.error do
          "a block for #{name} failed: #{e.class}: #{e.message}\n#{e.backtrace&.first(5)&.join("\n")}"
        end
      end
    end
  end
end
