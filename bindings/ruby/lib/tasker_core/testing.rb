# frozen_string_literal: true

require 'tasker_core'
require_relative 'testing/answers'
require_relative 'testing/client'
require_relative 'testing/engine'
require_relative 'testing/modes'
require_relative 'testing/selection'
require_relative 'testing/step_harness'

module TaskerCore
  # Tests without a broker.
  #
  #     require 'tasker_core/testing'
  #
  #     TaskerCore::Testing.fake!    # tasks are recorded, nothing runs until `drain`
  #     TaskerCore::Testing.inline!  # a task runs in the calling thread when it is enqueued
  #     TaskerCore::Testing.disable! # tasks go to the broker
  #
  # Each takes a block too, after which the calling thread is in its former mode; blocks may be nested, and other
  # threads do not notice. In both modes arguments and results go through the same serialisation as in production, and
  # handlers run through the worker's own code.
  #
  # In inline mode a task runs as far as it gets without waiting: a task with `wait:` or `wait_until:` does not start,
  # and a step that failed does not start again, before its time has come. That is when time has been travelled, by
  # {travel} and {travel_to} here, or with `Time.now` by ActiveSupport or Timecop: then it runs as soon as somebody asks
  # about the task. {Task#wait} and {drain} let time pass by themselves. Nothing ever sleeps.
  #
  # A failure of a step is the state of its task, and raises nothing where it was enqueued; a failed expectation in a
  # handler is no failure of the step, and comes through. Steps have no time-out here, and inputs are not compared with
  # the schema of a template; {Broker} runs the real thing.
  module Testing
    autoload :Assertions, 'tasker_core/testing/assertions'
    autoload :Broker, 'tasker_core/testing/broker'
    autoload :Matchers, 'tasker_core/testing/matchers'

    @modes = Modes.new
    @engine = Engine.new
    @fake = FakeClient.new(Answers.new(@engine))
    @switch = Switch.new(@fake) { real_client }
    @mutex = Mutex.new

    class << self
      # @api private
      # @return [Engine]
      attr_reader :engine

      # Tasks are recorded and nothing runs: {enqueued} lists them, {drain} runs them.
      # @yield the mode lasts until the block ends, in this thread only
      # @return [Object] what the block returned
      def fake!(&block) = enter(:fake, &block)

      # Tasks run in the calling thread when they are enqueued.
      # @yield the mode lasts until the block ends, in this thread only
      # @return [Object] what the block returned
      def inline!(&block) = enter(:inline, &block)

      # Tasks go to the broker.
      # @yield the mode lasts until the block ends, in this thread only
      # @return [Object] what the block returned
      def disable!(&block) = enter(:disabled, &block)

      # @return [Symbol] `:fake`, `:inline` or `:disabled`, in the calling thread
      def mode = @modes.current
      # @return [Boolean]
      def fake? = mode == :fake
      # @return [Boolean]
      def inline? = mode == :inline
      # @return [Boolean]
      def disabled? = mode == :disabled

      # @return [FakeClient] what {TaskerCore.client} is in fake and inline mode
      def client = @fake

      # @param workflow [Class, String, nil] only tasks of this workflow: the class, `namespace/name`, or
      #   `namespace/name@version`
      # @return [Array<TaskRun>] the tasks that were enqueued, in order
      def enqueued(workflow = nil)
        workflow ? Selection.new(workflow).of_workflow(engine.tasks) : engine.tasks
      end

      # @return [Array<Types::Event>] custom events that steps have published, in order
      def events = engine.tasks.flat_map(&:events).sort_by.with_index { |event, index| [event.at_ms, index] }

      # Runs what waits, in order of time, whatever it waits for: time passes up to the start of the last step.
      #
      # @param workflow [Class, String, nil] only tasks of this workflow
      # @param until [Time, nil] only what is due until then; time passes up to it
      # @return [Integer] how many attempts of steps ran
      def drain(workflow = nil, until: nil)
        limit = binding.local_variable_get(:until)
        engine.pass_time(limit: limit&.to_time, only: workflow && Selection.new(workflow))
      end

      # @return [Time] what time it is for tasks
      def now = engine.clock.now

      # Lets time pass for tasks, not for `Time.now`. In inline mode, what comes due meanwhile runs.
      #
      # @param seconds [Numeric]
      # @yield afterwards it is as late as before
      # @return [Object] what the block returned
      def travel(seconds, &block) = travel_to(now + seconds, &block)

      # @param time [Time]
      # @yield afterwards it is as late as before
      # @return [Object] what the block returned
      # @see travel
      def travel_to(time)
        offset = engine.clock.offset
        time = time.to_time
        # What runs takes time: the clock is not set back to the arrival.
        inline? && time > now ? engine.pass_time(limit: time) : engine.clock.travel_to(time)
        return unless block_given?

        begin
          yield
        ensure
          engine.clock.offset = offset
        end
      end

      # Forgets tasks, travelled time, and templates other than those of {load_templates}.
      # @return [void]
      def clear
        engine.clear
        client.forget
        nil
      end

      # Makes templates in YAML known, as a worker does; workflow classes are known anyway.
      #
      # @param paths [Array<String>] files, and folders with `.yaml` and `.yml` files
      # @return [Array<String>] `namespace/name@version` of each
      # @raise [ConfigurationError] when there is no such file
      # @raise [Errors::InvalidCommandError] when a template cannot be run
      def load_templates(*paths)
        Worker::Templates.new(paths.map(&:to_s), [], []).capabilities.map do |file|
          engine.registry.register(file['yaml'], source: file['source'], stays: true).first.key
        end
      end

      private

      def enter(mode, &block)
        return @modes.within(mode) { installed(&block) } if block

        @modes.process = mode
        mode == :disabled ? withdraw : install
      end

      # Other threads may need it until they leave theirs: it stays when a block ends.
      def installed
        install unless disabled?
        yield
      end

      def install
        @mutex.synchronize do
          next if TaskerCore.client? && TaskerCore.client.equal?(@switch)

          @real_client = TaskerCore.client? ? TaskerCore.client : nil
          TaskerCore.client = @switch
        end
        nil
      end

      def withdraw
        @mutex.synchronize do
          TaskerCore.client = @real_client if TaskerCore.client? && TaskerCore.client.equal?(@switch)
        end
        nil
      end

      def real_client
        @mutex.synchronize do
          @real_client ||= TaskerCore::Client.new
        end
      end
    end
  end
end
