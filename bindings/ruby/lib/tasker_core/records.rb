# frozen_string_literal: true

require_relative 'errors'
require_relative 'indifferent_hash'
require_relative 'json_text'

module TaskerCore
  module Types
    # A frozen answer of the broker: its fields are methods, and `[]`, `dig`, `to_h` see them as an {IndifferentHash}.
    # A field that a newer broker adds is there under `[]`.
    class Record
      class << self
        # @api private
        # @param fields [Array<Symbol>] plain fields
        # @param nested [Hash{Symbol=>Class, Symbol}] fields with a record, a list of records (`[Class]`) or `:json`
        # @return [Class]
        def define(*fields, **nested) = Class.new(self) { fields(*fields, **nested) }

        # @api private
        # The same for a class with methods of its own, which may call `super`.
        def fields(*fields, **nested)
          define_singleton_method(:nested) { nested }
          include(Module.new { (fields + nested.keys).each { |field| define_method(field) { @fields[field] } } })
        end

        # @api private
        def nested = {}

        # @api private
        def from(fields)
          converted = IndifferentHash.new
          fields.each { |name, value| converted[name] = convert(nested[name.to_sym], value) }
          new(converted)
        end

        private

        def convert(kind, value)
          case kind
          when nil then IndifferentHash.wrap(value)
          when :json then value && JsonText.load(value)
          when Array then value.map { |inner| kind.first.from(inner) }
          else value && kind.from(value)
          end
        end
      end

      # @api private
      def initialize(fields)
        @fields = IndifferentHash.deep_freeze(fields)
        freeze
      end

      def [](name) = @fields[name]
      def dig(name, *rest) = @fields.dig(name, *rest)

      # @return [Hash{String=>Object}] a plain copy, records in it included
      def to_h
        @fields.to_hash.transform_values { |value| plain(value) }
      end

      def ==(other) = other.is_a?(self.class) && to_h == other.to_h
      alias eql? ==
      def hash = to_h.hash
      def inspect = "#<#{self.class.name} #{to_h}>"

      private

      def plain(value)
        case value
        when Array then value.map { |inner| plain(inner) }
        when Record, IndifferentHash then value.to_h
        else value
        end
      end
    end

    # Steps of a task by state.
    StepCounts = Record.define(:total, :pending, :ready, :in_progress, :complete, :error, :cancelled,
                               :resolved_manually, :waiting_for_retry)

    # The state of a task in numbers and words.
    class TaskSummary < Record
      fields :task_id, :namespace, :name, :version, :state, :priority, :execution_status,
             :recommended_action, :completion_percentage, :health, :created_at_ms,
             :finished_at_ms, :run_at_ms, :tags, counts: StepCounts

      # @return [Boolean] whether all went well, by itself or with steps resolved by hand
      def complete? = %w[complete resolved_manually].include?(state)
      # @return [Boolean] whether the task has ended, in whichever way
      def finished? = %w[complete error cancelled resolved_manually].include?(state)
    end

    # The state of one step; `result` only when it was asked for, `progress` only while it runs and has said something.
    StepSummary = Record.define(:name, :state, :attempts, :retry_limit, :ready, :parents, :worker, :retry_in_ms,
                                :dispatched_at_ms, :finished_at_ms, :duration_us, :error_class, :error_message,
                                :error_code, result: :json, progress: :json)

    # Answer to {Client#task_status}.
    class TaskStatus < Record
      fields task: TaskSummary, steps: [StepSummary]

      # @param name [String, Symbol]
      # @return [StepSummary, nil]
      def step(name) = steps.find { |step| step.name == name.to_s }
      # @return [Array<StepSummary>]
      def steps = super || []
      # @return [Hash{String=>Object}] the results that were asked for, by step
      def results = steps.to_h { |step| [step.name, step.result] }
      # @return [String]
      def state = task.state
    end

    # Answer to {Client#wait_for_task}.
    class TaskWaited < Record
      fields :finished, task: TaskSummary

      # @return [Boolean] `false` when the time was up first
      def finished? = finished
      # @return [String]
      def state = task.state
    end

    # What became of one task request: a `task_id`, or an `error` in {Client#initialize_tasks}.
    class TaskInitialized < Record
      fields :task_id, :template, :steps, :duplicate, :error

      # @return [Boolean] whether there is a task
      def ok? = error.nil?
      # @return [Boolean] whether the idempotency key named a task that was there before
      def duplicate? = duplicate ? true : false
    end

    # Answer to {Client#find_task}.
    TaskFound = Record.define(:task_id, :template)

    # Answer to {Client#try_task_if_ready}.
    class TaskTried < Record
      fields :task_id, :ready, :steps_dispatched, :batch_ids, :steps_waiting, :state

      # @return [Boolean] whether this call dispatched anything
      def ready? = ready
    end

    # Answer to {Client#cancel_task}.
    TaskCancelled = Record.define(:task_id, :steps_stopped, :steps_cancelled)
    # Answer to {Client#retry_task}.
    TaskRetried = Record.define(:task_id, :steps)
    # Answer to {Client#resolve_step}.
    StepResolved = Record.define(:task_id, :step, :task_state)
    # Answer to {Client#register_template}.
    TemplateRegistered = Record.define(:template, :created, :steps)
    # One template in a list.
    TemplateSummary = Record.define(:namespace, :name, :version, :description, :steps, :workers, :digest)
    # Answer to {Client#show_template}.
    TemplateDefinition = Record.define(:yaml, :task_handler_class, template: TemplateSummary, handler_config: :json)
    # One registered worker.
    WorkerSummary = Record.define(:name, :registration_id, :incarnation, :state, :concurrency, :in_flight, :batches,
                                  :seen_ms_ago, :templates, :host, :pid, :language, :library)

    # One namespace in a list; `paused_by`, `reason` and `paused_at_ms` only while it is paused.
    class NamespaceSummary < Record
      fields :name, :paused, :paused_by, :reason, :paused_at_ms, :tasks, :steps_ready, :steps_in_progress,
             :steps_waiting, :workers, :templates

      # @return [Boolean] whether none of its steps is handed out
      def paused? = paused
    end

    # Answer to {Client#pause_namespace} and {Client#resume_namespace}.
    class NamespaceChanged < Record
      fields :changed, namespace: NamespaceSummary

      # @return [Boolean] `false` when it was so already
      def changed? = changed
    end

    # Answer to {Client#drain_worker}.
    class WorkerDraining < Record
      fields :worker, :changed, :in_flight, :batches

      # @return [Boolean] `false` when it was leaving already
      def changed? = changed
    end

    # A step and its state.
    NamedStep = Record.define(:step, :state)
    # A worker that serves a template.
    ServingWorker = Record.define(:name, :state, :in_flight, :concurrency)

    # Why one step does or does not run: `reason` for programs, `message` for people.
    class StepExplanation < Record
      fields :step, :state, :reason, :message, :attempts, :retry_limit, :waits_for_left_off, :in_ms, :worker,
             :since_ms, :error_class, :error_message, waits_for: [NamedStep], held_up_by: [NamedStep]

      # @return [Array<NamedStep>] parents without a result
      def waits_for = super || []
      # @return [Array<NamedStep>] steps above it that everything waits for
      def held_up_by = super || []
    end

    # Answer to {Client#explain_step} and {Client#explain_task}.
    class StepExplained < Record
      fields :task_id, :template, :task_state, :steps_left_off, :run_at_ms, :paused_by, :pause_reason,
             :paused_at_ms, :namespace_steps_ready, :workers_serving, :workers_active, :slots, :slots_used,
             :capabilities, steps: [StepExplanation], workers: [ServingWorker]

      # @param name [String, Symbol]
      # @return [StepExplanation, nil]
      def step(name) = steps.find { |step| step.step == name.to_s }
    end

    # How often commands were refused with one code.
    RefusalCount = Record.define(:code, :count)

    # Values of a distribution from above the bucket before it up to `up_to`.
    Bucket = Record.define(:up_to, :count)

    # Answer to {Client#health_check}.
    class HealthReport < Record
      fields :status, :problems, :version, :broker_id, :epoch, :uptime_seconds, :postgres,
             :tasks, :steps_ready, :steps_in_progress, :workers, :slots, :templates,
             :namespaces_paused, :templates_without_worker, :postgres_round_trip_us, :connections,
             :connections_cut, :handshakes_failed, refusals: [RefusalCount],
                                                   commit_sizes: [Bucket],
                                                   commit_times_us: [Bucket]

      # @return [Boolean]
      def ok? = status == 'ok'
    end

    # Something that happened, from {Client#subscribe}.
    Event = Record.define(:sequence, :broker_id, :at_ms, :topic, :task_id, :template, :step, :attempt, :batch_id,
                          :worker, :namespace, :state, :reason, payload: :json)
  end
end
