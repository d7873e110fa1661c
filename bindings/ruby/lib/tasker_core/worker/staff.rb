# frozen_string_literal: true

require_relative '../errors'
require_relative 'children'
require_relative 'pool'

module TaskerCore
  class Worker
    # How many threads of how many processes run the steps of a worker, and within which limits.
    #
    # @api private
    class Staff
      # @param counts [Hash{Symbol=>Integer}] `concurrency:`, `processes:`, `max_memory_mb:` and `max_steps:` of
      #   {Worker#initialize}
      # @raise [Errors::ConfigurationError]
      def initialize(**counts)
        counts.each { |name, value| check(name, value, name == :concurrency ? 1 : 0) }
        @threads, @processes = counts.values_at(:concurrency, :processes)
        @limits = { memory_mb: counts[:max_memory_mb], steps: counts[:max_steps] }
      end

      # @return [Integer] steps at once
      def concurrency = @threads * [@processes, 1].max

      # Whether handlers run in forked processes.
      def forked? = @processes.positive?

      # @yield [job] whenever one has ended
      # @return [Pool, Children]
      def pool(worker, runner, event_loop, logger, &ended)
        if forked?
          return Children.new(@processes, @threads, runner, limits: @limits, worker: worker, event_loop: event_loop,
                                                            logger: logger, &ended)
        end
        if @limits.values.any?(&:positive?)
          logger.warn('max_memory_mb and max_steps are for forked processes, and there are none')
        end
        Pool.new(@threads, runner, &ended)
      end

      private

      def check(name, value, least)
        return if value.is_a?(Integer) && value >= least

        raise Errors::ConfigurationError, "#{name} has to be a whole number from #{least} on, not #{value.inspect}"
      end
    end
  end
end
