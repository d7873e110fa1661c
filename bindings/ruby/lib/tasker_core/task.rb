# frozen_string_literal: true

require_relative 'errors'

module TaskerCore
  # A task that was enqueued, or one found by its id: asks the broker about it, and tells it what to do with it.
  #
  #     task = OrderFulfillment.enqueue(order_id: 42)
  #     task.wait(timeout: 60) # => "complete"
  #     task.results[:ship]    # => { "label" => "..." }
  #
  # Nothing is remembered: each call asks anew.
  class Task
    # Seconds between looks for a task whose transaction may not have committed yet.
    LOOK_SECONDS = 0.05
    # States in which nothing moves any more, unless somebody interferes.
    FINAL = %w[complete error cancelled resolved_manually].freeze
    # States that satisfy the steps that wait.
    DONE = %w[complete resolved_manually].freeze
    private_constant :LOOK_SECONDS, :FINAL, :DONE

    # @return [String, nil] `namespace/name@version`, when this process enqueued it
    attr_reader :template
    # @return [String, nil] the idempotency key, when this process enqueued it
    attr_reader :key
    # @return [Exception, nil] why it was not enqueued
    attr_reader :error

    # @param id [String]
    # @param client [Client]
    # @return [Task]
    # @raise [Errors::UnknownResourceError] when there is none
    def self.find(id, client: TaskerCore.client)
      client.task_status(id)
      new(id, client: client)
    end

    # @api private
    def initialize(id, client:, template: nil, key: nil, duplicate: false, error: nil)
      @id = id
      @client = client
      @template = template
      @key = key
      @duplicate = duplicate
      @error = error
    end

    # @return [String, nil] id of the task. Of a transactional one, nil until the transaction has committed and the
    #   broker has taken it; for ever when it was rolled back.
    # @raise [Errors::CommandRefusedError] when the broker did not take it
    def id
      raise error if error

      @id ||= look
    end
    alias task_id id

    # @return [Boolean] whether the key named a task that was there before
    def duplicate? = @duplicate

    # @return [Boolean] whether it was accepted, or waits for its transaction
    def enqueued? = error.nil?

    # @param steps [Boolean] whether to list the steps
    # @param results [Array<String, Symbol>, :all] steps whose results to return
    # @return [Types::TaskStatus]
    def status(steps: false, results: []) = @client.task_status(known_id, steps: steps, results: results)

    # @return [String, nil] `pending`, `in_progress`, `complete`, `error`, `cancelled` or `resolved_manually`; nil while
    #   there is no task yet
    def state = id && status.state

    # @return [Boolean] whether the task has ended
    def finished? = FINAL.include?(state)
    # @return [Boolean] whether it has ended well
    def complete? = DONE.include?(state)

    # Waits until the task has ended, across restarts of the broker.
    #
    # @param timeout [Numeric] seconds
    # @return [String, nil] its state; nil when the time was up first
    def wait(timeout: 30)
      deadline = Clock.now + timeout
      appear(deadline) or return
      waited = @client.wait_for_task(id, timeout: [deadline - Clock.now, 0].max)
      waited.state if waited.finished?
    end

    # @return [IndifferentHash] results of the steps that are complete, by name
    def results
      ended = status(results: :all).steps.select { |step| DONE.include?(step.state) }
      IndifferentHash.wrap(ended.to_h { |step| [step.name, step.result] })
    end

    # @param step [Symbol, String]
    # @return [Object, nil] the result of one step
    def result(step) = status(results: [step]).step(step.to_s)&.result

    # Running steps are told to stop, waiting ones never start.
    # @return [Types::TaskCancelled]
    def cancel(reason: '', actor: '') = @client.cancel_task(known_id, reason: reason, actor: actor)

    # Gives failed steps a new set of attempts.
    # @param steps [Array<Symbol, String>] only these; all in `error` when empty
    # @return [Types::TaskRetried]
    def retry(steps: [], reason: '', actor: '')
      @client.retry_task(known_id, steps: Array(steps), reason: reason, actor: actor)
    end

    # Settles a step by hand, with a result that its children receive.
    # @return [Types::StepResolved]
    def resolve(step, result: nil, reason: '', actor: '')
      @client.resolve_step(known_id, step, result: result, reason: reason, actor: actor)
    end

    # @return [Boolean] whether both mean the same task
    def ==(other) = other.is_a?(Task) && (@id && other.known ? @id == other.known : equal?(other))
    alias eql? ==
    def hash = (@id || object_id).hash

    # @api private
    # Takes over what became of a task that was enqueued after a commit.
    def become(task)
      @error = task.error
      @duplicate = task.duplicate?
      @id = task.known
    end

    def inspect = "#<#{self.class.name} #{@id || key} #{template}>"

    protected

    def known = @id

    private

    def known_id
      id or raise Errors::NotEnqueuedError, "there is no task with the key #{key} yet; has its transaction committed?"
    end

    # A transactional task is known by its key.
    def look(timeout = nil)
      namespace, name = template.split('@').first.split('/')
      @client.find_task(namespace: namespace, name: name, idempotency_key: key, timeout: timeout).task_id
    rescue Errors::UnknownResourceError
      nil
    rescue Errors::CommandRefusedError => e
      raise if e.retryable?

      raise @error = e
    end

    def appear(deadline)
      raise error if error

      until @id ||= look_until(deadline)
        return if Clock.now >= deadline

        @client.announce_tasks(wait: false) if @client.respond_to?(:announce_tasks)
        sleep(LOOK_SECONDS)
      end
      @id
    end

    # While the broker is away or busy, it is not known yet whether there is a task.
    def look_until(deadline)
      look([deadline - Clock.now, LOOK_SECONDS].max)
    rescue Errors::RequestTimeoutError, Errors::UnavailableError
      nil
    end
  end
end
