# frozen_string_literal: true

require_relative 'job'
require_relative 'slices'

module TaskerCore
  class Worker
    # What a session owes its broker: outcomes, returns and closing reports. Lives in the loop's thread.
    #
    # 1. Sends each outcome as soon as it is known, together with whatever else is waiting.
    # 2. Sends a batch's closing report when its last step has ended.
    # 3. Keeps all of it until the broker acknowledges it, and sends it again when that takes too long, after a
    #    reconnect, or when the broker asks.
    #
    # @api private
    class Reports
      # A report on its way: its jobs, and when it was sent.
      Sent = Struct.new(:kind, :jobs, :at, :batch_id)
      private_constant :Sent

      # Seconds until a report that the broker could not take is sent again, unless the broker says otherwise.
      AGAIN_SECONDS = 1
      # After a refusal because of the key, which may be put back on the broker's list.
      LISTED_AGAIN_SECONDS = 10

      # @param later [#call] runs a block after so many seconds
      # @yield [type, fields] sends a message; not called while {#open} is false
      def initialize(runner, logger, later, &send)
        @runner = runner
        @logger = logger
        @later = later
        @send = send
        @ids = Protocol::Ids.new
        @batches = {}
        @sent = {}
        @unacknowledged = 0
        @open = false
      end

      # Outcomes and returns that the broker has not acknowledged.
      attr_reader :unacknowledged

      # Whether reports may be sent: the broker knows this worker.
      attr_writer :open
      # Largest result in bytes.
      attr_writer :payload_bytes_max

      def empty? = @batches.empty?
      def known?(batch_id) = @batches.key?(batch_id)
      def batches = @batches.values
      def add(batch) = @batches[batch.id] = batch
      def in_flight = @batches.each_value.sum { |batch| batch.jobs.count { |job| !job.ended? } }

      # Takes over a batch from where it was owed before.
      def take_over(batch)
        add(batch)
        @unacknowledged += owed(batch).size
      end

      # Forgets a batch, which is owed elsewhere from now on.
      # @return [Boolean] whether it was owed here
      def give_up(batch)
        return false unless @batches.delete(batch.id)

        @unacknowledged -= owed(batch).size
        @sent.delete_if { |_, sent| sent.batch_id == batch.id }
        @sent.each_value { |sent| sent.jobs -= batch.jobs }
        true
      end

      # Jobs that have ended, each for the first time.
      def ended(jobs)
        jobs = jobs.reject { |job| job.batch.closed }
        @unacknowledged += jobs.size
        jobs.each { |job| bound(job) }
        returned, outcomes = jobs.partition { |job| job.state == :returned }
        send_outcomes(outcomes)
        stopped, unstarted = returned.partition(&:stopped)
        send_returns(stopped, 'interrupted')
        send_returns(unstarted, 'not started in time, or cancelled')
        jobs.each { |job| send_completion(job.batch) if job.batch.job_ended }
      end

      # Jobs that will not be run.
      def return_jobs(jobs, reason)
        jobs = jobs.reject { |job| job.batch.closed || job.ended? }
        return if jobs.empty?

        jobs.each { |job| job.state = :returned }
        @unacknowledged += jobs.size
        send_returns(jobs, reason)
        jobs.each { |job| send_completion(job.batch) if job.batch.job_ended }
      end

      # @param fields [Hash] a `ResultsAccepted`
      def accepted(fields)
        sent = @sent.delete(fields['correlation_id'])
        sent.jobs.each { |job| acknowledge(job) } if sent&.kind == :returns
        # A broker answers in the order of the report, but need not.
        fields['results']&.each_with_index do |entry, index|
          job = sent&.jobs&.[](index)
          acknowledge_entry(entry, job&.named?(entry) ? job : find(entry))
        end
        close(fields['closed_batches'] || [])
      end

      # @param reference [Hash] a `StepReference`
      # @return [Job, nil]
      def find(reference)
        job = @batches[reference['batch_id']]&.job(reference['task_id'], reference['step'])
        job if job && job.step.attempt == reference['attempt']
      end

      # Forgets batches that the broker has closed.
      # @return [Array<Job>] jobs of theirs that have not ended
      def close(batch_ids)
        batch_ids.flat_map do |id|
          batch = @batches.delete(id) or next []
          batch.closed = true
          ended, unfinished = batch.jobs.partition(&:ended?)
          ended.each { |job| acknowledge(job) }
          unfinished
        end
      end

      # @param fields [Hash] a `ResultsMissing`
      def missing(fields)
        @sent.delete(fields['correlation_id'])
        wanted = fields['steps'].group_by { |step| kept(find(step)) }
        send_outcomes((wanted[:outcome] || []).map { |step| find(step) })
        send_returns((wanted[:returned] || []).map { |step| find(step) }, 'returned before')
        return unless wanted[:nothing]

        @logger.error("the broker misses results that are not kept here any more: #{wanted[:nothing]}")
        transmit(:lost, 'ReturnSteps', { 'steps' => wanted[:nothing], 'reason' => 'result not kept' }, [])
      end

      # @param error [Hash] an `Error` that answers a report
      # @return [Boolean] whether it did
      def refused(error)
        sent = @sent.delete(error['correlation_id']) or return false
        @logger.error("the broker refused a report: #{error['code']}: #{error['message']}")
        if error['code'] == 'forbidden'
          @later.call(LISTED_AGAIN_SECONDS) { send_again(sent) }
        elsif error['retryable']
          seconds = error['retry_after_ms'] ? error['retry_after_ms'] / 1000.0 : AGAIN_SECONDS
          @later.call(seconds) { send_again(sent) }
        elsif sent.kind == :outcomes
          replace(sent.jobs, error)
        else
          sent.jobs.each { |job| acknowledge(job) }
          close([sent.batch_id]) if sent.batch_id
        end
        true
      end

      # For `RegisterWorker`: outcomes up to the size of a message; the others follow once registered.
      # @param registration [String] its correlation id
      def carry(registration)
        jobs = Slices.of(pending.select(&:outcome)).first || []
        jobs.each { |job| job.carried_by = registration }
        jobs.map(&:outcome)
      end

      # Everything that is owed, except the outcomes that this registration carried.
      def send_all(registration = nil)
        @sent.clear
        jobs = pending
        carried, others = jobs.select(&:outcome).partition { |job| registration && job.carried_by == registration }
        @sent[registration] = Sent.new(:outcomes, carried, Clock.now) if carried.any?
        send_outcomes(others)
        send_returns(jobs.select { |job| job.state == :returned }, 'returned before')
        @batches.each_value { |batch| send_completion(batch) if batch.ended? }
      end

      # Whether a report has waited for its acknowledgement since before this time.
      def overdue?(time)
        @sent.each_value.any? { |sent| sent.at < time } ||
          @batches.each_value.any? { |batch| batch.completed_at && batch.completed_at < time }
      end

      private

      def pending = @batches.each_value.flat_map { |batch| owed(batch) }
      def owed(batch) = batch.jobs.select { |job| job.ended? && !job.acknowledged }

      # What is there to answer with when the broker misses the result of a job.
      def kept(job)
        return :nothing unless job
        return :unfinished unless job.ended?
        return :returned if job.state == :returned

        job.outcome ? :outcome : :nothing
      end

      def send_again(sent)
        return unless @open

        jobs = sent.jobs.reject(&:acknowledged)
        send_outcomes(jobs.select(&:outcome))
        send_returns(jobs.select { |job| job.state == :returned }, 'returned before')
        batch = @batches[sent.batch_id]
        send_completion(batch) if batch
      end

      def acknowledge_entry(entry, job)
        return unless job&.ended?

        unless %w[accepted duplicate].include?(entry['disposition'])
          @logger.warn("result of #{entry['step']} of task #{entry['task_id']}, attempt #{entry['attempt']}: " \
                       "#{entry['disposition']}")
        end
        acknowledge(job)
      end

      def acknowledge(job)
        return if job.acknowledged

        job.acknowledged = true
        job.outcome = nil
        @unacknowledged -= 1
      end

      def send_outcomes(jobs)
        Slices.of(jobs).each do |slice|
          transmit(:outcomes, 'ReportPartialResult', { 'results' => slice.map(&:outcome) }, slice)
        end
      end

      def send_returns(jobs, reason)
        return if jobs.empty?

        transmit(:returns, 'ReturnSteps', { 'steps' => jobs.map(&:reference), 'reason' => reason }, jobs)
      end

      def send_completion(batch)
        batch.completed_at = Clock.now
        fields = { 'batch_id' => batch.id, 'steps' => batch.jobs.map(&:completed) }
        transmit(:completion, 'ReportBatchCompletion', fields, [], batch.id)
      end

      def transmit(kind, type, fields, jobs, batch_id = nil)
        return unless @open

        id = @ids.next
        @sent[id] = Sent.new(kind, jobs, Clock.now, batch_id)
        @send.call(type, { 'correlation_id' => id, **fields })
      end

      # A payload that the broker will not take fails the step here, with the figures.
      def bound(job)
        return unless job.outcome && @payload_bytes_max && job.payload_bytes > @payload_bytes_max

        bytes = job.payloads.map(&:bytesize).max
        return if bytes <= @payload_bytes_max

        message = "a payload of the outcome has #{bytes} bytes; #{@payload_bytes_max} are allowed"
        @runner.fail(job, Errors::PermanentError.new(message, error_code: 'RESULT_TOO_LARGE'))
      end

      # An outcome that can never be stored becomes a failure that says so; if that is refused too, it is given up.
      def replace(jobs, error)
        jobs.each do |job|
          next if job.acknowledged

          if job.replaced
            @logger.error("gave up the outcome of #{job.reference}: the broker will not take it")
            next acknowledge(job)
          end
          job.replaced = true
          @runner.fail(job, Errors::PermanentError.new("the broker refused the result: #{error['message']}",
                                                       error_code: error['code'].to_s.upcase))
          send_outcomes([job])
        end
      end
    end
  end
end
