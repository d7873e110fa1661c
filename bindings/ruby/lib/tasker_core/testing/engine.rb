# frozen_string_literal: true

require 'securerandom'
require_relative '../json_text'
require_relative 'attempt'
require_relative 'refusal'
require_relative 'registry'
require_relative 'task_run'
require_relative 'virtual_clock'

module TaskerCore
  module Testing
    # The broker of fake and inline mode: keeps tasks in memory and runs their steps in the thread that asks.
    #
    # 1. Takes requests and commands as the broker does, with its refusals.
    # 2. Runs what is due by its clock, in order of time; a step only after its parents.
    # 3. One thread at a time runs a task; handlers may enqueue and ask about others.
    #
    # @api private
    class Engine
      # @return [VirtualClock]
      attr_reader :clock
      # @return [Registry]
      attr_reader :registry

      def initialize
        @clock = VirtualClock.new
        @registry = Registry.new
        @mutex = Mutex.new
        clear
      end

      # Forgets all tasks, and the time that was travelled.
      def clear
        @mutex.synchronize do
          @tasks = {}
          @keys = {}
        end
        @clock.offset = 0r
        @registry.clear
      end

      # @return [Array<TaskRun>] in the order in which they came
      def tasks = @mutex.synchronize { @tasks.values }

      def task?(id) = @mutex.synchronize { @tasks.key?(id) }

      # @return [TaskRun]
      # @raise [Errors::UnknownResourceError]
      def task(id)
        @mutex.synchronize { @tasks[id] } or
          raise Refusal.for('unknown_task', "there is no task #{id}", field: 'task_id')
      end

      # @return [TaskRun, nil]
      def with_key(namespace, name, key) = @mutex.synchronize { @keys[[namespace, name, key]] }

      # @param request [Hash] a `TaskRequest`
      # @return [Array(TaskRun, Boolean)] the task, and whether its key was there before
      # @raise [Errors::CommandRefusedError]
      def submit(request)
        template = registry.resolve(*request.values_at('namespace', 'name', 'version'))
        start_at = request['run_at_ms'] && clock.moment(request['run_at_ms'])
        task = TaskRun.new(template, request, created_at: clock.now, start_at: start_at)
        bypassed = task.bypass_steps.uniq.map { |name| skippable(task, name) }
        first = keep(task)
        return [first, true] unless first.equal?(task)

        bypassed.each do |step|
          task.start
          step.resolve('null', clock.now, bypassed: true)
          task.advance(step, clock.now)
        end
        [task, false]
      end

      # Runs the steps of a task that are due now.
      # @return [Integer] how many attempts ran
      def run(task)
        task.claim do
          count = 0
          while (step = task.next_step(clock.now))
            perform(task, step)
            count += 1
          end
          count
        end || 0
      end

      # Lets time pass and runs what comes due meanwhile, until the block says that it is enough.
      #
      # @param limit [Time, nil] until then; until nothing waits when nil
      # @param only [Selection, nil] the tasks that take part; all do when nil
      # @yieldreturn [Boolean] whether that was enough
      # @return [Integer] how many attempts ran
      def pass_time(limit: nil, only: nil, &enough)
        enough ||= -> { false }
        count = 0
        busy = {}.compare_by_identity
        until enough.call
          due = due_next(only, busy, limit)
          break if due.empty?

          count += run_until(due, busy, &enough)
        end
        clock.advance_to(limit) if limit && !enough.call
        count
      end

      # @param names [Array<String>] steps; all in error when empty
      # @return [Array<String>] names of the steps that have new attempts
      def retry_task(task, names)
        operable(task, 'RetryTask')
        failed = task.steps.select { |step| step.state == 'error' }
        steps = names.empty? ? failed : names.uniq.map { |name| step(task, name) }
        refuse_state("task #{task.id} has no step in error") if steps.empty?
        wrong = (steps - failed).first
        refuse_state("step #{wrong.name} is #{wrong.state}; only a step in error can be reset", 'steps') if wrong

        steps.each(&:reset)
        task.reopen(steps)
        steps.map(&:name)
      end

      # @param result [String] JSON text
      def resolve_step(task, name, result)
        operable(task, 'ResolveStep')
        step = step(task, name)
        refuse_state("step #{name} is #{step.state} already", 'step') if step.satisfied? || step.state == 'cancelled'

        task.reopen
        step.resolve(result, clock.now)
        task.advance(step, clock.now)
      end

      # @return [Array(Integer, Integer)] steps that ran, steps that waited
      def cancel_task(task)
        operable(task, 'CancelTask')
        running = task.steps.count { |step| step.state == 'in_progress' }
        waiting = task.steps.count { |step| %w[pending waiting_for_retry].include?(step.state) }
        task.cancel(clock.now)
        [running, waiting]
      end

      private

      # @return [TaskRun] the task that has its key
      def keep(task)
        @mutex.synchronize do
          key = task.key && [task.namespace, task.name, task.key]
          return @keys[key] if key && @keys.key?(key)

          @keys[key] = task if key
          @tasks[task.id] = task
        end
      end

      def skippable(task, name)
        unless (step = task.step(name))
          raise Refusal.for('unknown_step', "template #{task.template_key} has no step #{name}", field: 'bypass_steps')
        end
        return step if step.template.skippable?

        raise Refusal.for('invalid_field', "step #{name} of #{task.template_key} is not skippable",
                          field: 'bypass_steps')
      end

      # @return [Array<TaskRun>] what is due when the first of all is, or is due by now; empty when that is too late
      def due_next(only, busy, limit)
        waiting = tasks.reject { |task| task.finished? || busy.key?(task) }
        waiting = only.of(waiting) if only
        times = waiting.to_h { |task| [task, task.due_at] }.compact
        first = times.values.min
        return [] unless first && (limit.nil? || first <= limit)

        clock.advance_to(first)
        now = limit ? [clock.now, limit].min : clock.now
        times.select { |_, time| time <= now }.sort_by.with_index { |(_, time), index| [time, index] }.map(&:first)
      end

      # @param busy [Hash] gets tasks that run already, in another thread or in the handler that asks
      def run_until(due, busy)
        due.sum do |task|
          next 0 if yield

          ran = run(task)
          busy[task] = true if ran.zero?
          ran
        end
      end

      def perform(task, step)
        step.begin
        task.start
        attempt = Attempt.new(task.fields, step_fields(step)) { |name| result_text(task, name) }
        task.attempt = attempt
        attempt.run
        step.progressed(attempt.progress)
        settle(task, step, attempt.outcome)
      ensure
        task.attempt = nil
        step.take_back
      end

      # Its task may have been cancelled, or the step resolved, while it ran.
      def settle(task, step, outcome)
        return unless step.state == 'in_progress'

        step.settle(outcome, clock.now)
        (outcome['events'] || []).each { |event| task.events << event_record(task, step, event) }
        task.advance(step, clock.now)
      end

      def step_fields(step)
        template = step.template
        { 'name' => step.name, 'handler' => template.handler, 'attempt' => step.attempts, 'retry_limit' => step.limit,
          'retryable' => template.retryable?, 'timeout_seconds' => template.timeout.to_f, 'inputs' => template.inputs,
          'parents' => template.parents, 'custom_events' => template.custom_events }
      end

      def result_text(task, name)
        step = task.step(name)
        return step.result_text if step&.satisfied?

        why = step ? "has no result: it is #{step.state}" : 'does not exist'
        raise Errors::NotFoundError.new("step #{name} #{why} (steps: #{task.steps.map(&:name).join(', ')})",
                                        resource_type: 'step')
      end

      def event_record(task, step, event)
        Types::Event.from('topic' => "event.custom.#{task.namespace}.#{event['name']}", 'task_id' => task.id,
                          'template' => task.template_key, 'step' => step.name, 'attempt' => step.attempts,
                          'at_ms' => (clock.now.to_r * 1000).floor, 'payload' => event['payload'])
      end

      def step(task, name)
        task.step(name) or
          raise Refusal.for('unknown_step', "task #{task.id} (#{task.template_key}) has no step #{name}", field: 'step')
      end

      def operable(task, command)
        return unless task.finished? && task.state != 'error'

        refuse_state("task #{task.id} has ended as #{task.state}; #{command} does not apply")
      end

      def refuse_state(message, field = nil)
        raise Refusal.for('invalid_state', message, field: field)
      end
    end
  end
end
