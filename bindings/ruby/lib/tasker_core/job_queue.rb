# frozen_string_literal: true

require 'yaml'
require_relative 'workflow/definition'
require_relative 'workflow/ruling'

module TaskerCore
  # A queue of Active Job as a template: one step, which runs the job. The task's context is the job.
  #
  # 1. Names the template after the queue, and says what it is.
  # 2. Is enqueued as workflow classes are.
  #
  # @api private
  class JobQueue
    NAMESPACE = 'active_job'
    # Another version for whatever changes in the template.
    VERSION = '1.0.0'
    # For jobs whose worker was lost: what a job raises is no reason for another attempt, see {Run}.
    ATTEMPTS = 3
    # As long as a step may take: a day. Active Job knows no time-outs.
    TIMEOUT_SECONDS = 86_400
    # What a name of a template cannot have.
    FOREIGN = /\A[^A-Za-z0-9_]|[^A-Za-z0-9_.-]/
    NAME_MAX = 128
    private_constant :ATTEMPTS, :TIMEOUT_SECONDS, :FOREIGN, :NAME_MAX

    # Runs a job. What gets past its `retry_on` and `discard_on` is the end of it, as with most adapters: an operator
    # may retry the task.
    class Run
      def process(task, _sequence, _step)
        ::ActiveJob::Base.execute(task.context.to_h.merge('provider_job_id' => task.task_id))
        nil
      rescue StandardError => e
        raise Workflow::Ruling.give(e, retryable: false)
      end
    end

    # @param queue [String] name of a queue, or `*`
    # @return [Hash] what a worker serves for it
    def self.capability(queue)
      return { 'template' => "#{NAMESPACE}/*" } if queue == '*'

      served = new(queue)
      { 'template' => served.key, 'yaml' => served.to_yaml, 'source' => "queue #{queue}" }
    end

    # @return [String] the queue's name, as far as names of templates may have it
    attr_reader :name

    # @param queue [String, Symbol]
    def initialize(queue)
      @name = queue.to_s.gsub(FOREIGN, '_')[0, NAME_MAX]
      @name = '_' if @name.empty?
      freeze
    end

    def namespace = NAMESPACE
    def version = VERSION
    def key = "#{NAMESPACE}/#{name}@#{VERSION}"

    # @return [String] the template as a YAML document
    def to_yaml
      {
        'namespace_name' => NAMESPACE, 'name' => name, 'version' => VERSION,
        'step_templates' => [{ 'name' => 'run', 'handler_class' => Run.name, 'default_retry_limit' => ATTEMPTS,
                               'timeout_seconds' => TIMEOUT_SECONDS }]
      }.to_yaml
    end

    # What {Workflow::Submission} asks of a workflow class.

    def template = self
    def definition = Workflow::Definition.new
  end
end
