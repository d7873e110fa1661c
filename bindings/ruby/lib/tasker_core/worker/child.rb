# frozen_string_literal: true

require 'etc'
require 'socket'
require_relative 'channel'
require_relative 'child_process'
require_relative 'start_marks'

module TaskerCore
  class Worker
    # The supervisor's end of one child. Lives in the loop's thread.
    #
    #     starting -> ready -> retiring
    #         '---------'---------'------> ended
    #
    # 1. Forks the process.
    # 2. Hands it jobs, as many as it has threads, and takes their outcomes.
    # 3. Tells, when it has ended, which of its jobs had started and which had not.
    #
    # @api private
    class Child
      PAGE_BYTES = Etc.sysconf(Etc::SC_PAGESIZE)
      private_constant :PAGE_BYTES

      # @return [Integer]
      attr_reader :pid
      # @return [Channel]
      attr_reader :channel
      # @return [Symbol] `:starting`, `:ready`, `:retiring` or `:ended`
      attr_accessor :state
      # @return [Integer] jobs that it was handed so far
      attr_reader :handed
      # @return [Float] when it was forked, on the monotonic clock
      attr_reader :born_at
      # @return [Integer] how many before it, whose place it took, have ended as they started
      attr_reader :failures

      # @param size [Integer] its threads
      # @param owner [#child_ready, #jobs_ended, #asked] told what the child says
      # @param failures [Integer]
      # @yield [io, marks] in the new process, which ends with the block
      def initialize(size, owner, failures: 0, &body)
        @owner = owner
        @failures = failures
        @jobs = Array.new(size)
        @free = (0...size).to_a
        @taken = []
        @marks = StartMarks.new(size)
        @handed = 0
        @state = :starting
        @born_at = Clock.now
        start(&body)
      end

      # @return [Array<Job>] those that it has
      def jobs = @jobs.compact
      def load = @jobs.size - @free.size
      def idle? = load.zero?
      def takes? = @state == :ready && @free.any?
      def starting? = @state == :starting
      def ready? = @state == :ready
      def retiring? = @state == :retiring

      # Takes a job on, if there is room; {#hand_over} sends it.
      def take(job)
        slot = @free.shift
        @marks.clear(slot)
        @handed += 1
        job.state = :running
        @jobs[slot] = job
        @taken << slot
      end

      # Sends the jobs that were taken on since the last time, the tasks of a batch once.
      def hand_over
        slots = @taken.slice!(0..)
        slots.group_by { |slot| @jobs[slot].batch }.each do |batch, together|
          tasks = {}.compare_by_identity
          steps = together.map do |slot|
            job = @jobs[slot]
            [slot, tasks[job.task] ||= tasks.size, job.step.fields]
          end
          @channel.send('run', batch.id, batch.received_at, tasks.keys.map(&:fields), steps)
        end
      end

      # @param kind [String] `cancel` or `interrupt`
      # @return [Boolean] whether the job is here
      def tell(kind, job, *rest)
        slot = @jobs.index { |candidate| candidate.equal?(job) } or return false
        @channel.send(kind, slot, *rest)
        true
      end

      # Has it end: it has nothing to do any more.
      def dismiss = @channel.send('end')

      # @return [Integer, nil] resident memory, with the pages that it shares; nil where the system does not tell
      def memory_bytes
        File.read("/proc/#{pid}/statm").split[1].to_i * PAGE_BYTES
      rescue SystemCallError
        nil
      end

      def kill
        Process.kill('KILL', pid)
      rescue Errno::ESRCH
        nil
      end

      # Waits until the process has ended.
      # @return [Process::Status, nil] nil if somebody else has waited for it
      def wait
        Process.wait2(pid).last
      rescue Errno::ECHILD
        nil
      end

      # Takes what it had said before it ended.
      # @return [Array(Array<Job>, Array<Job>)] what it leaves: jobs that had started, and jobs that had not
      def bury
        @state = :ended
        nil while @channel.pump
        @channel.close
        slots = @jobs.each_index.select { |slot| @jobs[slot] }
        started, others = slots.partition { |slot| @marks.set?(slot) }
        @marks.free
        left = [started, others].map { |part| part.map { |slot| @jobs[slot] } }
        @jobs.fill(nil)
        left
      end

      def inspect = "#<#{self.class.name} #{pid} #{state}>"

      private

      def start
        ours, theirs = UNIXSocket.pair
        @pid = Process.fork do
          ours.close
          yield theirs, @marks
        end
        theirs.close
        # That it has ended is known from its process, not from its socket: that may be open in a process of its own.
        @channel = Channel.new(ours, on_end: -> {}) { |kind, *rest| heard(kind, rest) }
      end

      def heard(kind, rest)
        case kind
        when 'ended' then @owner.jobs_ended(self, rest.first.map { |row| ended(*row) })
        when 'ready' then @owner.child_ready(self)
        when 'ask' then ask(*rest)
        when 'progress' then @jobs[rest.first]&.progressed(rest.last)
        end
      end

      def ended(slot, state, outcome)
        job = @jobs[slot]
        @jobs[slot] = nil
        @free << slot
        job.outcome = outcome
        job.state = state.to_sym
        job
      end

      def ask(id, slot, question, arguments)
        # It may have ended meanwhile, when its handler was interrupted.
        job = @jobs[slot] or return answer(id, nil, nil)
        @owner.asked(job, question, arguments) { |answer, error| answer(id, answer, error) }
      end

      def answer(id, answer, error)
        @channel.send('answer', id, answer, error) unless @state == :ended
      end
    end
  end
end
