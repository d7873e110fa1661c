# frozen_string_literal: true

require_relative 'instrumentation/notifications'
require_relative 'instrumentation/telemetry'

module TaskerCore
  # Tells libraries of the application, where they are loaded, of steps that run and of tasks that are enqueued.
  #
  # 1. Asks nobody who is not there, and loads nothing.
  # 2. Goes on as without them when they fail.
  #
  # @api private
  module Instrumentation
    KINDS = [Notifications, Telemetry].freeze
    private_constant :KINDS

    module_function

    # @return [Array<Module>] those that are there
    def loaded = KINDS.select(&:loaded?)

    # @param job [Worker::Job] a step that begins
    # @yieldreturn [Hash] its `StepOutcome`
    def perform(kinds, job, logger, &block)
      around(kinds, logger, block) { |kind, inner| kind.perform(job, &inner) }
    end

    # @param request [Hash] for a task
    # @yieldreturn [Types::TaskInitialized, nil]
    def enqueue(kinds, request, logger, &block)
      around(kinds, logger, block) { |kind, inner| kind.enqueue(request, &inner) }
    end

    def around(kinds, logger, block)
      kinds.reduce(block) do |inner, kind|
        -> { shielded(kind, logger, inner) { |observed| yield kind, observed } }
      end.call
    end

    # What the work raises is raised; what the library raises is logged, and the work is done all the same.
    def shielded(kind, logger, work)
      reached = false
      failure = value = nil
      begin
        yield(lambda do
          reached = true
          value = work.call
        rescue Exception => e # rubocop:disable Lint/RescueException -- it is raised again, below at the latest
          failure = e
          raise
        end)
      rescue StandardError => e
        logger.error("#{kind.name} failed: #{e.class}: #{e.message}") unless e.equal?(failure)
      end
      raise failure if failure

      reached ? value : work.call
    end

    private_class_method :around, :shielded
  end
end
