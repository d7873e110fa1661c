# frozen_string_literal: true

require 'socket'
require_relative 'event_loop'
require_relative 'worker/control'
require_relative 'worker/hooks'
require_relative 'worker/overtime'
require_relative 'worker/profile'
require_relative 'worker/session'
require_relative 'worker/staff'
require_relative 'worker/templates'
require_relative 'worker/vitals'

module TaskerCore
  # Runs the steps of workflows, in threads of this process or of processes that it forks.
  #
  #     worker = TaskerCore::Worker.new(templates: ['app/workflows'], concurrency: 10)
  #     worker.start
  #     worker.stop(timeout: 25)
  #
  # 1. Registers with each broker, with the templates that it serves and its concurrency.
  # 2. Runs the steps that it is given in a pool of threads, or in forked processes that each have one, and reports each
  #    outcome as soon as it is known.
  # 3. Keeps outcomes until the broker has stored them, across reconnects and restarts of the broker.
  # 4. On {#stop}, finishes what runs, gives back what does not, and leaves.
  #
  # `tasker-worker` is this class as a program.
  class Worker
    # A handler is interrupted this long after its time is up, unless the broker said so before.
    GRACE_SECONDS = 1
    # After the time for stopping is up, handlers have this long to end when they are interrupted, ...
    INTERRUPT_SECONDS = 1
    # ... and then the broker has this long to note that the worker leaves.
    LEAVE_SECONDS = 1
    # The application's hooks on the end of a worker have this long.
    SHUTDOWN_SECONDS = 1
    private_constant :GRACE_SECONDS, :INTERRUPT_SECONDS, :LEAVE_SECONDS, :SHUTDOWN_SECONDS

    # @return [String] the worker's name in the fleet
    attr_reader :name
    # @return [Exception, nil] why the worker ended by itself
    attr_reader :error

    # @param broker [String, Array<String>] `work` endpoint of the broker; of each broker, when there are several
    # @param events [String, Array<String>, nil] `events` endpoints, for hints such as "drain"; may be left out
    # @param name [String, nil] a stable name, unique in the fleet; host and process id when nil
    # @param concurrency [Integer] steps at once, in each process
    # @param processes [Integer] processes to fork, which run the handlers; 0: handlers run in this process
    # @param max_memory_mb [Integer] resident memory after which a forked process is replaced; 0: none
    # @param max_steps [Integer] steps after which a forked process is replaced; 0: none
    # @param templates [Array<String>] template files, or folders of them; the broker registers them
    # @param namespaces [Array<String>] serve what is registered already: `namespace`, or `namespace/name[@version]`
    # @param queues [Array<String>] queues of Active Job, as its adapter `:tasker` knows them; `*` for all
    # @param workflows [Array<Class>, nil] workflow classes to serve; when nil, all that are loaded, or those of them
    #   that `namespaces` name
    # @param logger [Logger]
    # @param handlers [Handlers] where handlers are looked up
    # @param curve [Curve, Hash, nil] keys for brokers that demand them: `server_public_key:`, `secret_key_file:`
    # @raise [Errors::ConfigurationError]
    def initialize(broker: nil, events: nil, name: nil, concurrency: 5, processes: 0, max_memory_mb: 0, max_steps: 0,
                   templates: [], namespaces: [], queues: [], workflows: nil, logger: nil, handlers: nil,
                   curve: nil)
      @staff = Staff.new(concurrency:, processes:, max_memory_mb:, max_steps:)
      configuration = TaskerCore.configuration
      @brokers = Array(broker || configuration.broker)
      @events = Array(events)
      @name = name.to_s.empty? ? "#{Socket.gethostname}-#{Process.pid}" : name
      @templates = Templates.new(templates, namespaces, workflows, queues)
      @logger = logger || configuration.logger
      @handlers = handlers || configuration.handlers
      @curve = Curve.from(curve) || configuration.curve
      @registered = Promise.new
      @drained = Promise.new
      @over = Promise.new
      @finishing = Promise.new
      @hooks = Hooks.new(self)
    end

    # @return [Integer] steps at once, of all processes together
    def concurrency = @staff.concurrency

    # Connects and begins to work; returns at once.
    # @return [self]
    def start
      raise Errors::ConfigurationError, 'a worker can be started only once' if @event_loop

      @templates.warn_of_missing(@handlers, @logger)
      @hooks.fire(:startup)
      runner = Runner.new(@handlers, @logger)
      @event_loop = EventLoop.new('tasker-worker', logger: @logger) { |jobs| ended(jobs) }
      @event_loop.before_sleep = -> { before_sleep }
      @event_loop.on_crash = ->(error) { finish(error) }
      @pool = @staff.pool(self, runner, @event_loop, @logger) { |job| @event_loop.push(job) }
      @vitals = Vitals.new(self, @event_loop, @pool)
      @overtime = Overtime.new(@event_loop, method(:open_batches)) { |job| interrupt(job) }
      introduction = Profile.of(self, @templates)
      @sessions = @brokers.map { |url| Session.new(url, @event_loop, self, runner, introduction, @logger) }
      @event_loop.start { open }
      self
    end

    # @param timeout [Numeric, nil] seconds
    # @return [Boolean] whether a broker has accepted the registration within the time
    def wait_until_registered(timeout = nil) = @registered.wait(timeout).first

    # Waits until the worker has ended: by {#stop}, because the broker asked it to leave, or by an {#error}.
    # @return [Boolean] whether it has ended within the time
    def wait(timeout = nil) = @over.wait(timeout).first

    # Starts, and waits until the worker has ended.
    # @raise [Errors::CommandRefusedError, Errors::KeyRefusedError] when the broker will not have this worker
    def run
      start
      wait
      raise error if error
    end

    # Takes no more steps and leaves the registration; those at hand are finished. The process goes on.
    def quiet
      @event_loop.post { leave('quiet') }
    end

    # Takes no more steps, gives back those that have not started, waits for the others and for the broker's
    # acknowledgements, and leaves. Handlers that run longer are interrupted and their steps given back, which uses no
    # attempt. It takes up to three seconds more than the time given, however handlers and brokers behave.
    #
    # @param timeout [Numeric] seconds
    # @return [Boolean] whether everything was done in time
    def stop(timeout: 25)
      return true unless @event_loop
      return error.nil? if @over.given?

      @event_loop.post { drain('stopping') }
      drained = @drained.wait(timeout).first
      abandon unless drained
      finish(nil, kill: !drained)
      @over.wait
      drained
    end

    # @return [Boolean] whether handlers still run that could be neither interrupted nor killed; then a process ends
    #   only with `exit!`
    def stuck? = @stuck || false

    # @return [Boolean] whether a broker counts on this worker now
    def registered? = @sessions&.any?(&:registered?) || false

    # @return [Boolean] whether it takes no more steps
    def stopping? = @leaving || false

    # @param timeout [Numeric] seconds
    # @return [Boolean] whether the thread that talks to the broker turns: it answers within the time
    def responsive?(timeout = 1) = @vitals.responsive?(timeout)

    # @return [Hash{Symbol=>Object}] name, standing and counts; `processes` has those that it has forked
    def status = @vitals.status

    # @return [Array<String>] the steps that run now, each with its task and attempt
    def running_steps = @vitals&.running_steps || []

    # Writes to the log what every thread does, of each process.
    # @return [void]
    def dump_threads = @vitals.dump_threads(@logger)

    # Replaces the forked processes by new ones, one after the other; each finishes what it has.
    # @return [void]
    def renew = @pool.roll

    # Registers again when the workflow classes that are loaded have become others: for code that is reloaded.
    # @return [void]
    def workflows_changed
      return unless @sessions && @templates.renew

      @logger.info('the workflows have changed; registering again')
      @event_loop.post { @sessions.each { |session| session.introduce('templates' => @templates.capabilities) } }
    end

    # The calls that follow come from sessions, in the loop's thread.

    # @api private
    def batch_received(batch)
      @pool.push(batch.jobs)
      @overtime.watch(batch.deadline)
    end

    # @api private
    # Open batches of other brokers, of which this session's may have taken the place.
    def batches_elsewhere(session) = (@sessions - [session]).flat_map { |other| other.reports.batches }

    # @api private
    # What was owed to that broker may be another's by now.
    def connection_lost(session)
      (@sessions - [session]).each(&:renew) unless session.reports.empty?
    end

    # @api private
    def cancelled(jobs, reason)
      jobs.each do |job|
        @pool.cancel(job)
        interrupt(job) if reason == 'timeout'
      end
    end

    # @api private
    def drain_requested(reason)
      @logger.info("the broker asks this worker to drain: #{reason}")
      drain(reason)
    end

    # @api private
    def registered(session, templates)
      @logger.info("#{name} is registered with #{session.endpoint} for #{templates.size} templates")
      @registered.give(true)
    end

    # @api private
    def refused(session, error)
      @logger.error("#{session.endpoint} refuses this worker: #{error.code}: #{error.message} #{error.position}".rstrip)
      finish_later(error) unless error.retryable? || @registered.given?
    end

    # @api private
    def pool_failed(error)
      @logger.fatal(error.message)
      @failure = error
      drain('no process can be had')
    end

    # @api private
    attr_reader :curve

    # What forked processes close at once.
    # @api private
    def keep_from_children(io) = (@kept_from_children ||= []) << io
    # @api private
    def close_kept = @kept_from_children&.each(&:close)

    # @api private
    def key_refused(error)
      finish_later(error) unless @registered.given?
    end

    # @api private
    # The application hears of it once, however many brokers there are.
    def heartbeat_sent(session)
      @hooks.fire_later(:heartbeat) if session.equal?(@sessions.first)
    end

    # @api private
    def session_left(session) = @logger.info("left the broker at #{session.endpoint}")

    # @api private
    def idle_ms
      @last_end && ((Clock.now - @last_end) * 1000).round
    end

    private

    def open
      @event_loop.add(@pool) if @staff.forked?
      @sessions.each(&:open)
      @event_loop.add(Control.new(@events, @event_loop, self, @sessions, @logger)) if @events.any?
    end

    def ended(jobs)
      @last_end = Clock.now
      jobs.group_by { |job| job.batch.session }.each { |session, ended| session.reports.ended(ended) }
      @pool.attended
    end

    # Ends a drain that is done.
    def before_sleep
      return unless @draining && @sessions.all?(&:left?) && (@abandoned || @pool.running.empty?) && @drained.give(true)

      finish_later(@failure)
    end

    def open_batches = @sessions.flat_map { |session| session.reports.batches }

    def interrupt(job)
      return unless job.state == :running

      job.interrupted = true
      seconds = job.step.timeout_seconds
      @pool.interrupt(job, StepInterrupt.new("step #{job.step.name} ran longer than its #{seconds} s",
                                             timeout_duration: seconds))
    end

    def leave(reason)
      @hooks.fire_later(:quiet) unless @leaving
      @leaving = true
      @sessions.each { |session| session.leave(drain: true, reason: reason) }
    end

    def drain(reason)
      return if @draining

      @draining = true
      waiting = @pool.take_waiting.group_by { |job| job.batch.session }
      waiting.each { |session, jobs| session.reports.return_jobs(jobs, 'draining') }
      leave(reason)
    end

    # Leaves what is not done to other workers, after an end to the handlers: no step is to run twice at a time.
    def abandon
      left = running_steps
      if left.any?
        @logger.warn("the time for stopping is up; interrupting #{left.join('; ')}")
        @pool.interrupt_all
        return if @drained.wait(INTERRUPT_SECONDS).first
      end
      @pool.kill
      @event_loop.post do
        @abandoned = true
        @sessions.each { |session| session.leave(drain: false, reason: 'stopping') }
      end
      @drained.wait(LEAVE_SECONDS)
    end

    # The loop's thread cannot wait for its own end.
    def finish_later(error)
      Thread.new { finish(error) }
    end

    def finish(error, kill: false)
      return unless @finishing.give(true)

      @error = error
      @event_loop.stop
      @pool.stop(kill: kill || !error.nil?)
      @hooks.fire_within(SHUTDOWN_SECONDS, :shutdown)
      # Asked once: a handler may still end now.
      left = running_steps
      @stuck = left.any?
      @logger.warn("these steps can be neither interrupted nor killed: #{left.join('; ')}") if @stuck
      @over.give(true)
    end
  end
end
