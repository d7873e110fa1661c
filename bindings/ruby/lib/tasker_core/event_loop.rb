# frozen_string_literal: true

require_relative 'at_exit'
require_relative 'promise'
require_relative 'zmq'

module TaskerCore
  # The one thread that owns sockets.
  #
  # 1. Runs what other threads post, in order.
  # 2. Lets each source read what has arrived, and fires timers.
  # 3. Lets each source send what the turn has brought about, all in one go.
  # 4. Then waits in one poll for the next message, post or timer; when there is more to do, it only looks.
  #
  # Other threads reach it through a queue, and wake it with one byte through a pipe when it sleeps. It never runs
  # anything of the application.
  #
  # @api private
  class EventLoop
    # Of the pipe that wakes the loop, as much as is read at a time.
    READ_BYTES = 4096
    private_constant :READ_BYTES

    # A timer that can be called off.
    Timer = Struct.new(:at, :action) do
      def cancel = self.action = nil
    end

    attr_reader :logger

    # @param name [String] of the thread
    # @param logger [Logger]
    # @yield [items] everything posted with {#push} since the last time
    def initialize(name, logger:, &on_items)
      @name = name
      @logger = logger
      @on_items = on_items
      @posted = Thread::Queue.new
      @reader, @writer = IO.pipe
      @read = String.new(capacity: READ_BYTES)
      @poller = ZMQ::Poller.new(@reader)
      @sources = []
      @timers = []
      @awake = true
    end

    # Called in the loop's thread before each poll.
    attr_writer :before_sleep
    # Called with the exception when the loop ends by one.
    attr_writer :on_crash

    # Starts the thread.
    # @yield in that thread, before anything else: the place to make sockets
    def start(&setup)
      @thread = Thread.new { run(setup) }
      @thread.name = @name
      AtExit.watch(self)
      self
    end

    def running? = @thread&.alive? || false
    def inside? = Thread.current.equal?(@thread)

    # Runs the block in the loop's thread, soon.
    def post(&block)
      @posted << block
      wake
    end

    # Hands over an item; items are collected and given to the block of {#initialize} together.
    def push(item)
      @posted << item
      wake
    end

    # Adds something with `pump` (true when it may have more), `flush`, `poll_sockets` and `close`. Only in the loop's
    # thread.
    def add(source) = @sources << source
    def remove(source) = @sources.delete(source)&.close

    # @param seconds [Numeric] from now
    # @return [Timer]
    def after(seconds, &action)
      timer = Timer.new(Clock.now + seconds, action)
      index = @timers.bsearch_index { |other| other.at > timer.at } || @timers.size
      @timers.insert(index, timer)
      timer
    end

    # Ends the loop and closes its sockets.
    # @return [Boolean] whether it has ended within the time
    def stop(timeout = 5)
      return true unless @thread

      post { @stopping = true }
      return true if inside?

      @thread.join(timeout) ? true : false
    end

    private

    def run(setup)
      setup&.call
      turn until @stopping
    rescue Exception => e # rubocop:disable Lint/RescueException -- whoever waits for this thread must hear of its end
      logger.fatal("#{@name} ended: #{e.class}: #{e.message}\n#{e.backtrace&.first(10)&.join("\n")}")
      @on_crash&.call(e)
    ensure
      @sources.each(&:close)
      @sources.clear
      [@reader, @writer].each(&:close)
      AtExit.forget(self)
    end

    def turn
      @awake = true
      run_posted
      busy = false
      @sources.each { |source| busy = true if source.pump }
      fire_timers
      @before_sleep&.call
      @sources.each(&:flush)
      @awake = false
      poll(busy || @stopping || !@posted.empty? ? 0 : timeout_ms)
    end

    def run_posted
      items = nil
      # Not until it is empty: whoever posts without end must not keep the sockets waiting.
      @posted.size.times do
        post = @posted.pop
        post.is_a?(Proc) ? post.call : (items ||= []) << post
      end
      @on_items.call(items) if items
    end

    def fire_timers
      return if @timers.empty?

      now = Clock.now
      @timers.shift.action&.call while @timers.first && @timers.first.at <= now
    end

    # Until the next timer.
    def timeout_ms
      timer = @timers.first
      timer ? ((timer.at - Clock.now) * 1000).ceil.clamp(0, 3_600_000) : -1
    end

    def poll(timeout_ms)
      sockets = @sources.flat_map(&:poll_sockets)
      @reader.read_nonblock(READ_BYTES, @read, exception: false) if @poller.wait(sockets, timeout_ms)
    end

    def wake
      return if @awake

      # Only the loop's thread sets this back, and it looks at the queue after that: no post is overlooked.
      @awake = true
      @writer.write_nonblock('.', exception: false)
    rescue IOError, Errno::EPIPE
      nil
    end
  end
end
