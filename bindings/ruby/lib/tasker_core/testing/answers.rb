# frozen_string_literal: true

require 'digest'
require_relative '../protocol'
require_relative '../version'
require_relative 'refusal'
require_relative 'summary'

module TaskerCore
  module Testing
    # In the place of a client's connection: answers commands as a broker does, fields of a message in, fields of its
    # reply out.
    #
    # @api private
    class Answers
      # @param engine [Engine]
      def initialize(engine)
        @engine = engine
        @commands = private_methods(false)
      end

      # @param type [String] `TaskStatus`, `CancelTask`, ...
      # @return [Protocol::Message]
      # @raise [Errors::CommandRefusedError]
      def request(type, fields, **)
        command = type.gsub(/(?<!\A)([A-Z])/, '_\1').downcase.to_sym
        return Protocol::Message.new(type, __send__(command, fields)) if @commands.include?(command)

        raise Refusal.for('unknown_message', "#{type} is not answered in fake and inline mode")
      end

      private

      def initialize_task(fields)
        { 'tasks' => fields['tasks'].map { |request| initialized(request) } }
      end

      def initialized(request)
        task, duplicate = @engine.submit(request)
        # Where tasks run as they come, each has ended before the next one begins, as in a loop.
        catch_up(task)
        { 'task_id' => task.id, 'template' => task.template_key, 'steps' => task.steps.map(&:name),
          'duplicate' => duplicate }
      rescue Errors::CommandRefusedError => e
        { 'error' => { 'code' => e.code, 'message' => e.message, 'field' => e.field }.compact }
      end

      def task_status(fields)
        task = looked_up(fields)
        names = fields['include_results']
        { 'task' => Summary.of(task),
          'steps' => fields['include_steps'] ? task.steps.map { |step| step_summary(task, step, names) } : nil }.compact
      end

      def step_summary(task, step, names)
        wanted = names.include?('*') || names.include?(step.name)
        Summary.step(task, step, result: wanted, now: @engine.clock.now)
      end

      # Waiting is travelling.
      def wait_for_task(fields)
        task = @engine.task(fields['task_id'])
        if Testing.inline? && !task.finished?
          @engine.pass_time(limit: @engine.clock.now + Rational(fields['timeout_ms'], 1000)) { task.finished? }
        end
        { 'finished' => task.finished?, 'task' => Summary.of(task) }
      end

      # Filters are the broker's language; the engine in memory does not know it.
      def list_tasks(fields)
        raise Refusal.for('invalid_field', 'filters need a broker') if fields['filter']

        @engine.tasks.each { |task| catch_up(task) }
        tasks = @engine.tasks.reverse
        before = fields['before']
        tasks = tasks.drop_while { |task| task.id != before }.drop(1) if before
        tasks = tasks.select { |task| listed?(task, fields) }
        { 'tasks' => tasks.first(fields['limit']).map { |task| Summary.of(task) } }
      end

      def listed?(task, fields)
        fields.slice('state', 'namespace', 'name').all? { |key, value| task.public_send(key) == value.to_s } &&
          (fields['tag'].nil? || task.tags.include?(fields['tag']))
      end

      def try_task_if_ready(fields)
        task = @engine.task(fields['task_id'])
        count = catch_up(task)
        { 'task_id' => task.id, 'ready' => count.positive?, 'steps_dispatched' => count, 'batch_ids' => [],
          'steps_waiting' => task.steps.count { |step| task.ready?(step) }, 'state' => task.state }
      end

      def cancel_task(fields)
        task = looked_up(fields)
        stopped, cancelled = @engine.cancel_task(task)
        { 'task_id' => task.id, 'steps_stopped' => stopped, 'steps_cancelled' => cancelled }
      end

      def retry_task(fields)
        task = looked_up(fields)
        steps = @engine.retry_task(task, fields['steps'])
        catch_up(task)
        { 'task_id' => task.id, 'steps' => steps }
      end

      def resolve_step(fields)
        task = looked_up(fields)
        @engine.resolve_step(task, fields['step'], fields['result'])
        catch_up(task)
        { 'task_id' => task.id, 'step' => fields['step'], 'task_state' => task.state }
      end

      def find_task(fields)
        namespace, name, key = fields.values_at('namespace', 'name', 'idempotency_key')
        task = @engine.with_key(namespace, name, key) or
          raise Refusal.for('unknown_task', "there is no task of #{namespace}/#{name} with the key #{key}",
                            field: 'idempotency_key')
        { 'task_id' => task.id, 'template' => task.template_key }
      end

      def register_template(fields)
        template, created = @engine.registry.register(fields['yaml'], source: fields['source'])
        { 'template' => template.key, 'created' => created, 'steps' => template.steps.map(&:name) }
      end

      def list_templates(fields)
        wanted = @engine.registry.to_a.select { |it| fields['namespace'].nil? || it.namespace == fields['namespace'] }
        { 'templates' => wanted.map { |template| template_summary(template) } }
      end

      def show_template(fields)
        path, version = fields['template'].split('@', 2)
        template = @engine.registry.resolve(*path.split('/', 2), version)
        { 'template' => template_summary(template), 'yaml' => template.yaml,
          'task_handler_class' => template.task_handler_class, 'handler_config' => template.handler_config }.compact
      end

      def template_summary(template)
        { 'namespace' => template.namespace, 'name' => template.name, 'version' => template.version,
          'description' => template.description, 'steps' => template.steps.size, 'workers' => 0,
          'digest' => Digest::SHA256.hexdigest(template.yaml) }.compact
      end

      def list_workers(_fields) = { 'workers' => [] }

      def health_check(_fields)
        { 'status' => 'ok', 'problems' => [], 'version' => VERSION, 'workers' => 0,
          'tasks' => @engine.tasks.count { |task| !task.finished? }, 'templates' => @engine.registry.to_a.size }
      end

      def looked_up(fields) = @engine.task(fields['task_id']).tap { |task| catch_up(task) }

      # A broker would have run by now what is due.
      # @return [Integer] how many attempts ran
      def catch_up(task) = Testing.inline? ? @engine.run(task) : 0
    end
  end
end
