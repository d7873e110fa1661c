# frozen_string_literal: true

require 'active_job'
require 'digest'
require 'json'
require 'tasker_core'
require 'tasker_core/job_queue'

module ActiveJob
  module QueueAdapters
    # Active Job on Tasker Core: each job is a task with one step.
    #
    #     config.active_job.queue_adapter = :tasker
    #
    # 1. A queue is the template `active_job/QUEUE`; `provider_job_id` is the id of the task.
    # 2. `retry_on`, `discard_on` and the rest of Active Job work as they do. An error that gets past them ends the job;
    #    a job whose worker is lost starts again, three times at most.
    # 3. Lower `priority` numbers go first, as Active Job has it.
    #
    # Rails 7.2 and later enqueues after the present transaction has committed. With `transactional: true`, the job is
    # written in that transaction instead, and exists if and only if it commits; `provider_job_id` is not known then.
    #
    #     config.active_job.queue_adapter = ActiveJob::QueueAdapters::TaskerAdapter.new(transactional: true)
    #
    # @see TaskerCore::Inbox
    class TaskerAdapter
      # The broker's priorities are 32 bits wide.
      PRIORITIES = (-(2**31)..((2**31) - 1))
      private_constant :PRIORITIES

      # @param transactional [Boolean, Symbol, Object] see {TaskerCore::Workflow::Enqueuing#enqueue}
      def initialize(transactional: false)
        @transactional = transactional
      end

      # @param job [ActiveJob::Base]
      def enqueue(job) = enqueue_at(job, nil)

      # @param job [ActiveJob::Base]
      # @param timestamp [Numeric, nil] seconds since the epoch
      def enqueue_at(job, timestamp)
        task = submit(TaskerCore::JobQueue.new(job.queue_name), [[job, timestamp]]).first
        raise task.error if task.error

        note_id(job, task)
      end

      # @param jobs [Array<ActiveJob::Base>] any queues; those of one go in one message
      # @return [Integer] how many were enqueued
      def enqueue_all(jobs)
        jobs.group_by(&:queue_name).sum do |queue, some|
          tasks = submit(TaskerCore::JobQueue.new(queue), some.map { |job| [job, job.scheduled_at&.to_f] })
          some.zip(tasks).count { |job, task| enqueued?(job, task) }
        end
      end

      # @return [Boolean] whether a job that can be interrupted is to stop now: the worker returns its step by itself
      def stopping? = false

      # @return [Boolean] whether Rails is to wait for the commit
      def enqueue_after_transaction_commit? = !@transactional

      private

      def enqueued?(job, task)
        job.successfully_enqueued = task.enqueued?
        job.enqueue_error = task.error && EnqueueError.new(task.error.message)
        note_id(job, task) if task.enqueued?
        task.enqueued?
      end

      # The broker has not seen what is in an open transaction.
      def note_id(job, task)
        job.provider_job_id = task.id unless @transactional
      end

      def submit(queue, jobs)
        submission = TaskerCore::Workflow::Submission.new(queue)
        requests = jobs.map { |job, timestamp| request(queue, job, timestamp) }
        return submission.submit(requests) unless @transactional

        TaskerCore::Inbox.for(@transactional).submit(requests, submission)
      end

      def request(queue, job, timestamp)
        context = job.serialize
        { namespace: queue.namespace, name: queue.name, version: queue.version, context: context,
          idempotency_key: key(job, context, timestamp), tags: [job.class.name],
          priority: job.priority && (-job.priority.to_i).clamp(PRIORITIES),
          run_at: timestamp && Time.at(timestamp) }.compact
      end

      # The same for a request that is sent again, and for a job that is enqueued again by a step that runs twice.
      # Another one for each time that Active Job or the job itself enqueues it, with whatever it keeps of its progress.
      def key(job, context, timestamp)
        content = JSON.generate([context.except('enqueued_at'), timestamp])
        "#{job.job_id}:#{job.executions}:#{Digest::SHA256.hexdigest(content)[0, 16]}"
      end
    end
  end
end
