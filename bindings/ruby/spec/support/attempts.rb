# frozen_string_literal: true

# Runs steps as a worker does, without a broker, under a configuration of its own.
module Attempts
  def configuration
    @configuration ||= TaskerCore::Configuration.new.tap { |configuration| configuration.logger = Logger.new(log) }
  end

  def log = @log ||= StringIO.new

  # @param fields [Hash] of the step
  # @return [TaskerCore::Worker::Job] a step that has ended
  def run_step(handler = nil, task: {}, **fields, &block)
    configuration.handlers.register('Handler', handler || block) if handler || block
    runner = TaskerCore::Worker::Runner.new(configuration.handlers, configuration.logger, configuration: configuration)
    batch = batch(uuid, { 'a' => { handler: 'Handler', **fields } }, context: { n: 7 })
    batch['tasks'].first.update(task)
    job = TaskerCore::Worker::Batch.new(batch, nil, TaskerCore::Clock.now).jobs.first
    TaskerCore::Execution::Attempt.during(job) { runner.run(job) }
    job
  end
end
