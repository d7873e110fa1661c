# frozen_string_literal: true

require_relative 'connection'
require_relative 'client/outgoing'
require_relative 'client/task_handlers'
require_relative 'client/task_request'
require_relative 'records'
require_relative 'subscription'

module TaskerCore
  # Submits workflows and asks about them. May be shared by threads, and used again in a forked child.
  #
  # Every call waits for its reply, at most `timeout` seconds, and raises {Errors::RequestTimeoutError} then. What the
  # broker refuses is an {Errors::CommandRefusedError} with its `code`, `field`, `position` and `limit`. When it does
  # not let this client in at all, that is an {Errors::KeyRefusedError}.
  class Client
    # Longest single wait that is asked of the broker; longer ones are made of several.
    WAIT_MAX = 30
    # A reply to a wait may come this much later than the wait ends.
    WAIT_MARGIN = 5
    private_constant :WAIT_MAX, :WAIT_MARGIN

    # @param broker [String, Array<String>] `work` endpoint of the broker
    # @param events [String, Array<String>] `events` endpoint of the broker
    # @param timeout [Numeric] seconds to wait for a reply
    # @param logger [Logger]
    # @param skip_task_handlers [Boolean] submit without running the templates' task handlers
    # @param curve [Curve, Hash, nil] keys for a broker that demands them: `server_public_key:`, `secret_key_file:`
    def initialize(broker: nil, events: nil, timeout: nil, logger: nil, skip_task_handlers: false, curve: nil)
      configuration = TaskerCore.configuration
      @timeout = timeout || configuration.request_timeout
      @logger = logger || configuration.logger
      @events = Array(events || configuration.events)
      @curve = Curve.from(curve) || configuration.curve
      @connection = Connection.new(Array(broker || configuration.broker), logger: @logger, curve: @curve)
      @skip_task_handlers = skip_task_handlers
      @task_handlers = TaskHandlers.new(self, configuration.handlers, @logger)
      @outgoing = Outgoing.new(configuration, logger: @logger)
    end

    # Submits one task. Middleware and the template's task handler, when there are some, see the request first.
    #
    # @param namespace [String]
    # @param name [String]
    # @param version [String, nil] exactly this one; the highest registered one when nil
    # @param context [Hash] what the task is about
    # @param idempotency_key [String, nil] a second request with the same key gets the first task
    # @param skip_task_handler [Boolean] do not run the template's task handler
    # @param timeout [Numeric, nil]
    # @param options [Hash] further request fields: `priority:`, `initiator:`, `source_system:`, `reason:`, `tags:`,
    #   `bypass_steps:`, `run_at:` (a Time, or milliseconds since the epoch), `correlation_id:`, `options:`,
    #   `traceparent:`, `tracestate:` (W3C Trace Context, as in HTTP headers; every step of the task gets them)
    # @return [Types::TaskInitialized]
    def initialize_task(namespace:, name:, version: nil, context: {}, idempotency_key: nil,
                        skip_task_handler: @skip_task_handlers, timeout: nil, **options)
      request = { namespace: namespace, name: name, version: version, context: context,
                  idempotency_key: idempotency_key, **options }
      outcome = @outgoing.pass(request) do |passed|
        submit([encode(passed, skip_task_handler)], timeout).first
      end
      outcome.ok? ? outcome : raise(outcome.error)
    end

    # Submits many tasks, up to a thousand in a message; each has its own outcome, in order: a `task_id` or an `error`.
    # When a later message fails, its requests have that error, and those before it are there.
    #
    # @param requests [Array<Hash>] each with the keywords of {#initialize_task}
    # @return [Array<Types::TaskInitialized>]
    def initialize_tasks(requests, skip_task_handler: @skip_task_handlers, timeout: nil)
      return [submit_alone(requests.first, skip_task_handler, timeout)] if requests.one?

      prepared = requests.map { |request| encode_or_refuse(request, skip_task_handler) }
      accepted = prepared.grep(Hash)
      outcomes = submit_sliced(accepted, timeout)
      prepared.map { |item| item.is_a?(Hash) ? outcomes.shift : item }
    end

    # Says that tasks were submitted with `tasker.submit_task` and that their transaction is committed: the broker looks
    # at once, instead of within a second. Nothing is lost when nobody says so, or when the announcement gets lost.
    #
    # @param wait [Boolean] whether to wait until the broker has heard it. Without waiting, announcements that are made
    #   while one is on its way are sent as one, and nothing is raised but {Errors::ConnectionClosedError} when the
    #   client was closed
    # @return [void]
    def announce_tasks(wait: true, timeout: nil)
      return @connection.announce(timeout: timeout || @timeout) unless wait

      reply('AnnounceTasks', {}, timeout, true)
    end

    # The task that was submitted with a key, whichever way in it came.
    #
    # @return [Types::TaskFound]
    # @raise [Errors::UnknownResourceError] when there is none, also when a request with this key still waits in the
    #   broker's inbox
    # @raise [Errors::CommandRefusedError] with the code `refused` when a request with this key was refused; its message
    #   says why
    def find_task(namespace:, name:, idempotency_key:, timeout: nil)
      fields = { 'namespace' => namespace.to_s, 'name' => name.to_s, 'idempotency_key' => idempotency_key.to_s }
      ask('FindTask', Types::TaskFound, fields, timeout: timeout)
    end

    # Dispatches what is ready of a task now, and says truthfully what this call did.
    # @return [Types::TaskTried]
    def try_task_if_ready(task_id, timeout: nil)
      ask('TryTaskIfReady', Types::TaskTried, { 'task_id' => task_id }, timeout: timeout)
    end

    # @param task_id [String]
    # @param steps [Boolean] whether to list the steps
    # @param results [Array<String>, :all] steps whose results to return
    # @return [Types::TaskStatus]
    def task_status(task_id, steps: false, results: [], timeout: nil)
      names = results == :all ? ['*'] : Array(results).map(&:to_s)
      fields = { 'task_id' => task_id, 'include_steps' => steps || names.any?, 'include_results' => names }
      ask('TaskStatus', Types::TaskStatus, fields, timeout: timeout)
    end

    # Waits until a task has ended, however long the broker allows a single wait to be, and across its restarts.
    #
    # @param timeout [Numeric] seconds
    # @return [Types::TaskWaited] with `finished?` false when the time was up first
    def wait_for_task(task_id, timeout: 30)
      deadline = Clock.now + timeout
      loop do
        waited = wait_once(task_id, [deadline - Clock.now, 0].max)
        return waited if waited&.finished?
        next if Clock.now < deadline

        return waited || ask('WaitForTask', Types::TaskWaited, { 'task_id' => task_id, 'timeout_ms' => 0 })
      end
    end

    # Newest first. The broker looks at so many tasks for one answer, and is asked again until it has found `limit`
    # tasks or has looked at all.
    #
    # @param filter [String, nil] what to list, for example `'state:error step:charge since:1h ctx.order.id:42'`; the
    #   terms are in FILTERS.md. The other parameters are terms of it.
    # @param before [String, nil] only tasks older than this one: the last of the page before
    # @return [Array<Types::TaskSummary>]
    # @raise [Errors::InvalidCommandError] for a filter that is none, with its `position`
    def list_tasks(filter: nil, state: nil, namespace: nil, name: nil, tag: nil, before: nil, limit: 100, timeout: nil)
      fields = { 'filter' => filter, 'state' => state, 'namespace' => namespace, 'name' => name, 'tag' => tag }
      found = []
      loop do
        page = reply('ListTasks', fields.merge('before' => before, 'limit' => limit - found.size), timeout, true)
        found.concat(page['tasks'].map { |task| Types::TaskSummary.from(task) })
        before = page['next']
        return found if before.nil? || found.size >= limit
      end
    end

    # Running steps are told to stop, waiting ones never start.
    # @return [Types::TaskCancelled]
    def cancel_task(task_id, actor: '', reason: '', timeout: nil)
      fields = { 'task_id' => task_id, 'actor' => actor, 'reason' => reason }
      ask('CancelTask', Types::TaskCancelled, fields, timeout: timeout)
    end

    # Gives failed steps a new set of attempts.
    #
    # @param steps [Array<String>] only these; all in `error` when empty
    # @return [Types::TaskRetried]
    def retry_task(task_id, steps: [], actor: '', reason: '', timeout: nil)
      fields = { 'task_id' => task_id, 'steps' => steps.map(&:to_s), 'actor' => actor, 'reason' => reason }
      ask('RetryTask', Types::TaskRetried, fields, timeout: timeout, repeatable: false)
    end

    # Settles a step by hand, with a result that its children receive.
    # @return [Types::StepResolved]
    def resolve_step(task_id, step, result: nil, actor: '', reason: '', timeout: nil)
      fields = { 'task_id' => task_id, 'step' => step.to_s, 'result' => JsonText.dump(result, place: 'result'),
                 'actor' => actor, 'reason' => reason }
      ask('ResolveStep', Types::StepResolved, fields, timeout: timeout, repeatable: false)
    end

    # @param yaml [String] the template
    # @param source [String, nil] file name for error messages
    # @return [Types::TemplateRegistered]
    def register_template(yaml, source: nil, timeout: nil)
      ask('RegisterTemplate', Types::TemplateRegistered, { 'yaml' => yaml, 'source' => source }, timeout: timeout)
    end

    # @return [Array<Types::TemplateSummary>]
    def list_templates(namespace: nil, timeout: nil)
      list('ListTemplates', 'templates', Types::TemplateSummary, { 'namespace' => namespace }, timeout)
    end

    # @param template [String] `namespace/name`, or `namespace/name@version`
    # @return [Types::TemplateDefinition]
    def show_template(template, timeout: nil)
      ask('ShowTemplate', Types::TemplateDefinition, { 'template' => template }, timeout: timeout)
    end

    # @return [Array<Types::WorkerSummary>]
    def list_workers(timeout: nil)
      list('ListWorkers', 'workers', Types::WorkerSummary, {}, timeout)
    end

    # Hands out no step of a namespace until it is resumed; tasks are taken as before, and what runs goes on. The
    # namespace need not have templates yet.
    #
    # @param namespace [String]
    # @param actor [String] who, for the audit
    # @param reason [String] why
    # @return [Types::NamespaceChanged] with `changed?` false when it was paused already
    def pause_namespace(namespace, actor: '', reason: '', timeout: nil)
      fields = { 'namespace' => namespace.to_s, 'actor' => actor, 'reason' => reason }
      ask('PauseNamespace', Types::NamespaceChanged, fields, timeout: timeout)
    end

    # Hands out the steps of a paused namespace again, at once.
    #
    # @return [Types::NamespaceChanged] with `changed?` false when it was not paused
    def resume_namespace(namespace, actor: '', reason: '', timeout: nil)
      fields = { 'namespace' => namespace.to_s, 'actor' => actor, 'reason' => reason }
      ask('ResumeNamespace', Types::NamespaceChanged, fields, timeout: timeout)
    end

    # @return [Array<Types::NamespaceSummary>] those with templates, and those that are paused
    def list_namespaces(timeout: nil)
      list('ListNamespaces', 'namespaces', Types::NamespaceSummary, {}, timeout)
    end

    # Lets a worker finish what it has, and leave.
    #
    # @param worker [String] its name
    # @param reason [String] why; the worker is told
    # @return [Types::WorkerDraining]
    # @raise [Errors::UnknownResourceError] when no worker of that name is registered
    def drain_worker(worker, actor: '', reason: '', timeout: nil)
      fields = { 'worker' => worker.to_s, 'actor' => actor, 'reason' => reason }
      ask('DrainWorker', Types::WorkerDraining, fields, timeout: timeout)
    end

    # Why a step does not run, or what became of it.
    #
    # @return [Types::StepExplained] with that step
    def explain_step(task_id, step, timeout: nil)
      ask('ExplainStep', Types::StepExplained, { 'task_id' => task_id, 'step' => step.to_s }, timeout: timeout)
    end

    # Why the steps of a task do not run that have no result: at most a thousand of them.
    #
    # @return [Types::StepExplained]
    def explain_task(task_id, timeout: nil)
      ask('ExplainStep', Types::StepExplained, { 'task_id' => task_id }, timeout: timeout)
    end

    # @param level [Symbol] `:basic`, `:detailed` or `:full`
    # @return [Types::HealthReport]
    def health_check(level: :basic, timeout: nil)
      ask('HealthCheck', Types::HealthReport, { 'level' => level.to_s }, timeout: timeout)
    end

    # Calls the block with each event, in a thread of the subscription. Events may be lost: with `on_gap`, everything is
    # received, filtered here, and missing sequence numbers are told, so that the state can be asked for again.
    #
    # @param topics [Array<String>] prefixes: `event.task.`, `event.custom.billing.`; none for all events
    # @param on_gap [#call, nil] called with the number of events that are missing
    # @yieldparam event [Types::Event]
    # @return [Subscription]
    def subscribe(*topics, on_gap: nil, &block)
      topics = ['event.'] if topics.empty?
      Subscription.new(@events, topics, on_gap: on_gap, logger: @logger, curve: @curve, &block).start
    end

    # Ends the connection; commands that wait raise {Errors::ConnectionClosedError}.
    def close
      @connection.close
    end

    private

    def ask(type, record, fields, timeout: nil, repeatable: true)
      record.from(reply(type, fields, timeout, repeatable).fields)
    end

    def list(type, key, record, fields, timeout)
      reply(type, fields, timeout, true)[key].map { |item| record.from(item) }
    end

    def reply(type, fields, timeout, repeatable)
      @connection.request(type, fields.compact, timeout: timeout || @timeout, repeatable: repeatable)
    end

    def submit_sliced(tasks, timeout)
      TaskRequest.slices(tasks).each_with_object([]) do |slice, outcomes|
        outcomes.concat(submit(slice, timeout))
      rescue Errors::Error => e
        raise if outcomes.empty?

        outcomes.concat(slice.map { Types::TaskInitialized.from('error' => e) })
      end
    end

    # A request without an idempotency key could make a second task when it is sent again.
    def submit(tasks, timeout)
      repeatable = tasks.all? { |task| task.key?('idempotency_key') }
      reply('InitializeTask', { 'tasks' => tasks }, timeout, repeatable)['tasks'].map do |outcome|
        error = outcome['error'] && Errors::CommandRefusedError.from(outcome['error'])
        Types::TaskInitialized.from({ **outcome, 'error' => error })
      end
    end

    # Middleware is around the whole of it and sees what becomes of the request.
    def submit_alone(request, skip_task_handler, timeout)
      sent = false
      @outgoing.pass(request) do |passed|
        task = encode(passed, skip_task_handler)
        sent = true
        submit([task], timeout).first
      end
    rescue Errors::Error => e
      raise if sent || e.is_a?(Errors::ConfigurationError)

      Types::TaskInitialized.from('error' => e)
    end

    # @return [Hash, Types::TaskInitialized] a request to send, or what became of it already
    def encode_or_refuse(request, skip_task_handler)
      task = nil
      outcome = @outgoing.pass(request) do |passed|
        task = encode(passed, skip_task_handler)
        nil
      end
      outcome || task
    rescue Errors::ConfigurationError
      raise
    rescue Errors::Error => e
      Types::TaskInitialized.from('error' => e)
    end

    def encode(request, skip_task_handler)
      TaskRequest.encode(skip_task_handler ? request : @task_handlers.prepare(TaskRequest.normalize(request)))
    end

    def wait_once(task_id, seconds)
      seconds = [seconds, WAIT_MAX].min
      fields = { 'task_id' => task_id, 'timeout_ms' => (seconds * 1000).ceil }
      ask('WaitForTask', Types::TaskWaited, fields, timeout: seconds + WAIT_MARGIN)
    rescue Errors::RequestTimeoutError, Errors::UnavailableError => e
      # The broker is away or busy: until the deadline, its state is simply not known yet.
      @logger.debug("waiting for task #{task_id}: #{e.message}")
      sleep([e.is_a?(Errors::UnavailableError) ? e.retry_after || 0.2 : 0, seconds].min)
      nil
    end
  end
end
