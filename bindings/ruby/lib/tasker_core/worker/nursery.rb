# frozen_string_literal: true

require_relative 'child'

module TaskerCore
  class Worker
    # Keeps as many children as are wanted. Lives in the loop's thread.
    #
    # 1. Forks them, and another one for each that has ended; slower when they end as they start.
    # 2. Gives up when one after the other ends as it starts.
    # 3. Lets a child finish what it has and takes another one in its place: when it has grown too large, has done
    #    enough, or all are to be renewed.
    #
    # @api private
    class Nursery
      # A child that has not said that it is ready after this long is killed: hooks of the application may hang.
      START_SECONDS = 60
      # A child that has ended sooner, and was handed nothing, has ended as it started.
      YOUNG_SECONDS = 1
      # Another one is forked after this long, then after twice as long, and so on; ...
      AGAIN_SECONDS = 0.1
      # ... and after so many in one place there is no hope: three seconds after the first.
      FAILURES_MAX = 6
      # Memory is looked at this often.
      LOOK_SECONDS = 2
      # A child that was dismissed has this long for the application's hooks.
      DISMISS_SECONDS = 10
      private_constant :START_SECONDS, :YOUNG_SECONDS, :AGAIN_SECONDS, :FAILURES_MAX, :LOOK_SECONDS, :DISMISS_SECONDS

      # @return [Array<Child>] frozen
      attr_reader :children

      # @param count [Integer]
      # @param size [Integer] threads of each
      # @param owner [#child_ready, #child_ended, #jobs_ended, #asked, #hopeless] told what concerns jobs
      # @param limits [Hash{Symbol=>Integer}] `memory_mb:` and `steps:` of each child; 0: none
      # @yield [io, marks] in each child
      def initialize(count, size, owner, event_loop:, logger:, limits:, &body)
        @count = count
        @size = size
        @owner = owner
        @event_loop = event_loop
        @logger = logger
        @limits = limits
        @steps_max = limits[:steps].zero? ? Float::INFINITY : limits[:steps]
        @body = body
        @children = [].freeze
        @waits = []
        @rolling = []
      end

      # Forks the children. Before the loop has begun: what it opens is not inherited.
      def open
        # Pages that are not written to are shared.
        Process.respond_to?(:warmup) ? Process.warmup : GC.start
        @count.times { add }
        @event_loop.after(LOOK_SECONDS) { look } if @limits[:memory_mb].positive?
      end

      # Forks no more.
      def close = @closed = true

      # The child that has least to do.
      # @return [Child, nil]
      def freest = @children.select(&:takes?).min_by(&:load)

      # A child has said that it is ready.
      def ready(child)
        child.state = :ready if child.starting?
        roll_on
      end

      # Jobs of this child have ended.
      def jobs_ended(child)
        return dismiss(child) if child.retiring? && child.idle?

        retire(child, "it has been given #{child.handed} steps") if child.handed >= @steps_max
      end

      # Renews all children, one after the other.
      def roll
        @rolling = @children.reject(&:retiring?)
        roll_on
      end

      # Waits until no child is left, so many seconds; not in the loop's thread.
      # @return [Boolean]
      def wait(seconds)
        limit = Clock.now + seconds
        @waits.each { |thread| thread.join([limit - Clock.now, 0].max) }
        @waits.none?(&:alive?)
      end

      private

      def add(failures: 0)
        siblings = @children
        child = Child.new(@size, @owner, failures: failures) do |io, marks|
          # A sibling would not notice the end of the supervisor while its end of their channel is open here.
          siblings.each { |sibling| sibling.channel.close }
          @body.call(io, marks)
        end
        @children = [*siblings, child].freeze
        @waits = @waits.select(&:alive?) << Thread.new { await_end(child) }
        @event_loop.after(START_SECONDS) { child.kill if child.starting? }
      rescue SystemCallError => e
        again(failures + 1, "no process can be forked: #{e.message}")
      end

      def await_end(child)
        status = child.wait
        @event_loop.post { ended(child, status) }
      end

      def ended(child, status)
        retired = child.retiring?
        how = describe(child, status)
        started, others = child.bury
        @children = (@children - [child]).freeze
        @owner.child_ended(how, started, others)
        replace(child, how) unless retired || @closed
        roll_on
      end

      def replace(child, how)
        @logger.error("#{how}; another one takes its place")
        return add unless child.handed.zero? && Clock.now - child.born_at < YOUNG_SECONDS

        again(child.failures + 1, how)
      end

      # @param failures [Integer] in this place
      def again(failures, how)
        return give_up(how) if failures == FAILURES_MAX

        @event_loop.after(AGAIN_SECONDS * (2**(failures - 1))) { add(failures: failures) unless @closed }
      end

      def give_up(how)
        close
        @owner.hopeless(Errors::ProcessDiedError.new("#{FAILURES_MAX} processes have ended as they started; #{how}"))
      end

      def describe(child, status)
        how = if status.nil? then 'nobody knows how'
              elsif status.signaled? then "by signal #{status.termsig} (SIG#{Signal.signame(status.termsig)})"
              else
                "with exit status #{status.exitstatus}"
              end
        "process #{child.pid} ended: #{how}"
      end

      # The other one is forked first, so that it is soon there.
      def retire(child, reason)
        return if @closed || !child.ready?

        @logger.info("process #{child.pid} is replaced: #{reason}")
        child.state = :retiring
        add
        dismiss(child) if child.idle?
      end

      def dismiss(child)
        child.dismiss
        @event_loop.after(DISMISS_SECONDS) { child.kill unless child.state == :ended }
      end

      # The next one goes when all others are there.
      def roll_on
        return if @rolling.empty? || @children.any?(&:starting?)

        child = @rolling.shift
        child.ready? ? retire(child, 'all are renewed') : roll_on
      end

      def look
        @children.select(&:ready?).each do |child|
          bytes = child.memory_bytes or next
          megabytes = bytes / 1_048_576
          retire(child, "it has #{megabytes} MB of memory") if megabytes > @limits[:memory_mb]
        end
        @event_loop.after(LOOK_SECONDS) { look } unless @closed
      end
    end
  end
end
