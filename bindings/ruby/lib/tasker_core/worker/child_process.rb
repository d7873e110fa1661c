# frozen_string_literal: true

require_relative '../at_exit'
require_relative '../event_loop'
require_relative 'channel'
require_relative 'job'
require_relative 'pool'
require_relative 'progress'
require_relative 'thread_dump'

module TaskerCore
  class Worker
    # A job in the process that runs it: it marks its start, and asks what it must ask through the supervisor.
    #
    # @api private
    class HandedJob < Job
      # What a job sees of its batch here.
      Batch = Struct.new(:id, :closed)

      # @return [Integer] its place among the jobs of this process
      attr_reader :slot

      def initialize(batch, task, fields, received_at, slot:, process:)
        super(batch, task, fields, received_at)
        @slot = slot
        @process = process
      end

      def state=(state)
        @process.started(self) if state == :running
        super
      end

      # @return [Execution::Sequence]
      def sequence = Execution::Sequence.new(task, step.parents, self)

      # Result of a step that is not a parent. Called in handler threads.
      def fetch_result(task_id, name) = @process.ask(self, 'fetch_result', [task_id, name])

      # Says how far it is. Called in handler threads.
      def progressed(text) = @process.progressed(self, text)
    end

    # What a child of a supervisor does.
    #
    # 1. Runs the jobs that it is handed in a {Pool}, and says how each of them ended.
    # 2. Leaves signals to its supervisor, which tells it what to do.
    # 3. Ends when it is told to, and at once when the supervisor is gone.
    #
    # @api private
    class ChildProcess
      # Without a supervisor, handlers have this long to end when they are interrupted, and then when they are killed.
      ORPHAN_SECONDS = 0.4
      # Hooks have this long when the process ends.
      SHUTDOWN_SECONDS = 1
      # The title says what runs, at most so old.
      TITLE_SECONDS = 1
      # They come to all processes of a group, and are the supervisor's. Not ignored: programs that handlers start would
      # inherit that.
      SIGNALS = %w[HUP INT QUIT TERM TSTP TTIN USR2].freeze
      private_constant :ORPHAN_SECONDS, :SHUTDOWN_SECONDS, :TITLE_SECONDS, :SIGNALS

      # @param io [UNIXSocket] to the supervisor
      # @param marks [StartMarks]
      # @param size [Integer] threads
      def initialize(io, marks, size:, runner:, worker:, logger:)
        @marks = marks
        @runner = runner
        @worker = worker
        @logger = logger
        @hooks = Hooks.new(worker)
        @size = size
        @jobs = Array.new(size)
        @questions = {}
        @asked = 0
        @over = Promise.new
        @channel = Channel.new(io, on_end: -> { gone }) { |kind, *rest| heard(kind, rest) }
      end

      # Works until the end of this process. Nothing of the supervisor's is unwound, and none of its exit hooks run.
      def run
        SIGNALS.each { |signal| Signal.trap(signal) { nil } }
        Thread.current.name = 'tasker-child-main'
        title('starting')
        @worker.close_kept
        @hooks.fire(:fork)
        start
        leave(@over.wait.last)
        exit!(0)
      rescue Exception => e # rubocop:disable Lint/RescueException -- this process must not go on as its parent
        @logger.fatal("process #{Process.pid} of #{@worker.name} ended: #{e.class}: #{e.message}\n" \
                      "#{e.backtrace&.first(10)&.join("\n")}")
      ensure
        exit!(1)
      end

      # Called in handler threads.

      def started(job) = @marks.set(job.slot)
      def progressed(job, text) = @progress.say(job, text)

      # Asks the supervisor.
      # @return [Object]
      def ask(job, question, arguments)
        answer = Promise.new
        @event_loop.post do
          @questions[@asked += 1] = answer
          @channel.send('ask', @asked, job.slot, question, arguments)
        end
        value, error = answer.wait.last
        raise Marshal.load(error) if error # rubocop:disable Security/MarshalLoad -- its supervisor wrote it

        value
      end

      private

      def start
        @event_loop = EventLoop.new('tasker-child', logger: @logger) { |jobs| ended(jobs) }
        @event_loop.on_crash = ->(_) { @over.give(:orphaned) }
        @progress = Progress.new(@event_loop) { |job, text| @channel.send('progress', job.slot, text) }
        @pool = Pool.new(@size, @runner) { |job| @event_loop.push(job) }
        @event_loop.start do
          @event_loop.add(@channel)
          @channel.send('ready')
          show
        end
      end

      def heard(kind, rest)
        case kind
        when 'run' then take(*rest)
        when 'cancel' then @jobs[rest.first]&.then { |job| @pool.cancel(job) }
        when 'interrupt' then interrupt(*rest)
        when 'answer' then @questions.delete(rest.first)&.give(rest.last(2))
        when 'stop' then stop
        when 'dump' then ThreadDump.write(@logger, running)
        when 'end' then @over.give(:dismissed)
        end
      end

      def take(batch_id, received_at, tasks, steps)
        batch = HandedJob::Batch.new(batch_id, false)
        tasks = tasks.map { |fields| Execution::Task.new(fields) }
        jobs = steps.map do |slot, task, fields|
          @jobs[slot] = HandedJob.new(batch, tasks[task], fields, received_at, slot: slot, process: self)
        end
        @pool.push(jobs)
      end

      def ended(jobs)
        # Whoever reads 'ended' may use the place again.
        jobs.each { |job| @jobs[job.slot] = nil }
        @channel.send('ended', jobs.map { |job| [job.slot, job.state.name, job.outcome] })
        @pool.attended
      end

      def interrupt(slot, message, seconds)
        job = @jobs[slot] or return
        @pool.interrupt(job, StepInterrupt.new(message, timeout_duration: seconds))
      end

      # What has not started, and what can be interrupted, goes back.
      def stop
        waiting = @pool.take_waiting.each { |job| job.state = :returned }
        @pool.interrupt_all
        ended(waiting)
      end

      def gone = @over.give(@jobs.none? ? :dismissed : :orphaned)

      def leave(reason)
        if reason == :orphaned
          @logger.warn("process #{Process.pid}: the supervisor is gone; interrupting #{running.join('; ')}")
          @pool.take_waiting
          @pool.interrupt_all
        end
        @pool.stop(seconds: ORPHAN_SECONDS) || @pool.stop(kill: true, seconds: ORPHAN_SECONDS)
        @hooks.fire_within(SHUTDOWN_SECONDS, :shutdown)
        # Handlers may have left clients open.
        AtExit.close_all if reason == :dismissed
        # What handlers have printed; no exit hook does it.
        [$stdout, $stderr].each(&:flush)
      end

      def running = @pool.running.map(&:description)

      def show
        first, *others = running
        title("#{first || 'idle'}#{" and #{others.size} more" if others.any?}")
        @event_loop.after(TITLE_SECONDS) { show }
      end

      def title(text)
        Process.setproctitle("tasker-worker child of #{@worker.name}: #{text}")
      end
    end
  end
end
