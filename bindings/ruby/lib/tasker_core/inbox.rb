# frozen_string_literal: true

require 'time'
require_relative 'errors'
require_relative 'client/outgoing'
require_relative 'client/task_request'
require_relative 'inbox/active_record'
require_relative 'inbox/pg'
require_relative 'inbox/sequel'

module TaskerCore
  # Enqueues inside the application's own database transaction: the task exists if and only if that commits.
  #
  #     Order.transaction do
  #       order = Order.create!(...)
  #       OrderFulfillment.enqueue({ order_id: order.id }, transactional: true)
  #     end
  #
  # 1. Writes the request through the SQL function `tasker.submit_task`, on the connection of that transaction.
  # 2. Tells the broker after the commit that there is something to take. Should that get lost, it looks by itself
  #    within a second.
  # 3. Where the database is not the broker's, enqueues through the broker once the transaction has committed. Then a
  #    process that dies in between loses the task; that is said once, in the log.
  #
  # Knows ActiveRecord, Sequel and connections of the gem pg. A bare connection of pg cannot tell when it commits: the
  # broker finds the task within a second, or at once after {Client#announce_tasks}.
  class Inbox
    # Whether the database has the inbox. No error, which would spoil the application's transaction, if it has not.
    PRESENT = "SELECT to_regclass('tasker.task_inbox') IS NOT NULL"
    # Parameters of `tasker.submit_task` and the fields of a request that they are.
    PARAMETERS = {
      'namespace' => 'text', 'name' => 'text', 'context' => 'json', 'version' => 'text', 'idempotency_key' => 'text',
      'priority' => 'integer', 'run_at' => 'timestamptz', 'bypass_steps' => 'text[]', 'initiator' => 'text',
      'source_system' => 'text', 'reason' => 'text', 'tags' => 'text[]', 'correlation_id' => 'text',
      'options' => 'json', 'traceparent' => 'text', 'tracestate' => 'text'
    }.freeze
    KINDS = [ActiveRecord, Sequel, PG].freeze
    # Seconds that the broker may take to note a template while an application's transaction is open.
    REGISTER_SECONDS = 1
    # Seconds until a template is offered again that could not be.
    REGISTER_AGAIN_SECONDS = 30
    private_constant :PRESENT, :PARAMETERS, :KINDS, :REGISTER_SECONDS, :REGISTER_AGAIN_SECONDS

    @mutex = Mutex.new
    @registered = {}
    @present = {}

    class << self
      # @param transactional [Boolean, Symbol, Object] `true`, `:inbox` (never after the commit instead),
      #   `:after_commit`, or the connection whose transaction is meant
      # @return [Inbox]
      # @raise [Errors::ConfigurationError] when there is no database, or no transaction to speak of
      def for(transactional)
        how = transactional.is_a?(Symbol) ? transactional : :any
        unless %i[any inbox after_commit].include?(how)
          raise Errors::ConfigurationError, "transactional: #{how.inspect} is none of true, :inbox, :after_commit"
        end

        connection = transactional unless [true, :inbox, :after_commit].include?(transactional)
        new(adapter(connection || TaskerCore.configuration.database), how)
      end

      # @api private
      # @return [Boolean] whether a template was noted by the broker, or need not be offered now
      def registered?(key)
        now = Clock.now
        @mutex.synchronize do
          return true if (@registered[key] || 0) > now

          @registered[key] = Float::INFINITY
          false
        end
      end

      # @api private
      # Offers it again after a while.
      def unregistered(key)
        @mutex.synchronize { @registered[key] = Clock.now + REGISTER_AGAIN_SECONDS }
      end

      # @api private
      # @return [Boolean] what the block found for this database; found once
      def present?(database)
        found = @mutex.synchronize { @present[database] }
        return true if found

        # That it is missing may change any time: the broker's migrations make it.
        (yield ? true : false).tap { |present| @mutex.synchronize { @present[database] = true } if present }
      end

      # @api private
      # Forgets what was found, for tests that change databases.
      def reset
        @mutex.synchronize do
          @registered.clear
          @present.clear
        end
      end

      private

      def adapter(connection)
        return adapter_of(connection) if connection

        kind = KINDS.find(&:loaded?)
        return kind.new(kind.default) if kind

        raise Errors::ConfigurationError,
              'transactional: needs ActiveRecord or Sequel, or a connection: transactional: CONNECTION, or ' \
              'TaskerCore.configure { |config| config.database = CONNECTION }'
      end

      # A database of Sequel can be called as well, and means something else by it.
      def adapter_of(connection)
        kind = KINDS.find { |candidate| candidate.for?(connection) }
        return kind.new(connection) if kind
        return adapter_of(connection.call) if connection.respond_to?(:call)

        raise Errors::ConfigurationError, "#{connection.class} is no connection of ActiveRecord, Sequel or pg"
      end
    end

    # @api private
    def initialize(adapter, how)
      @adapter = adapter
      @how = how
    end

    # @api private
    # @param requests [Array<Hash>]
    # @param submission [Workflow::Submission]
    # @return [Array<Task>]
    def submit(requests, submission)
      inbox?(submission.client) ? insert(requests, submission) : defer(requests, submission)
    end

    private

    # A client of a test has no inbox.
    def inbox?(client)
      return false if @how == :after_commit || !client.respond_to?(:announce_tasks)
      return true if Inbox.present?(@adapter.database) { @adapter.value(PRESENT) }
      raise Errors::ConfigurationError, "the database #{@adapter.database} has no tasker.submit_task" if @how == :inbox

      warn_once
      false
    end

    def warn_once
      return if Inbox.registered?([:warned, @adapter.database])

      TaskerCore.logger.warn("the database #{@adapter.database} has no tasker.submit_task: transactional tasks are " \
                             'enqueued after the commit instead, and lost when the process dies in between')
    end

    def insert(requests, submission)
      offer_template(submission)
      outgoing = Client::Outgoing.new(TaskerCore.configuration)
      tasks = requests.map do |request|
        outcome = outgoing.pass(request) do |passed|
          request = passed
          insert_row(passed)
        end
        submission.task(request, outcome)
      end
      @adapter.after_commit { submission.client.announce_tasks(wait: false) }
      tasks
    end

    def insert_row(request)
      fields = Client::TaskRequest.encode(request)
      fields['run_at'] = Time.at(fields.delete('run_at_ms').to_r / 1000).utc.iso8601(3) if fields['run_at_ms']
      @adapter.call('tasker.submit_task', PARAMETERS.slice(*fields.keys), fields)
      nil
    end

    # The broker refuses rows of templates that it does not know. As a rule, workers have registered this one already,
    # and the application does not wait for long when it cannot be said now.
    def offer_template(submission)
      key = submission.template.key
      return if Inbox.registered?(key)

      submission.client.register_template(submission.template.to_yaml, timeout: REGISTER_SECONDS)
    rescue Errors::TimeoutError, Errors::UnavailableError => e
      Inbox.unregistered(key)
      TaskerCore.logger.warn("the template #{key} could not be registered now: #{e.message}")
    rescue StandardError
      Inbox.unregistered(key)
      raise
    end

    def defer(requests, submission)
      unless @adapter.tells_of_commit?
        raise Errors::ConfigurationError, 'a connection of pg does not tell when it commits: enqueue after the ' \
                                          'transaction, or in a database that has tasker.submit_task'
      end

      tasks = requests.map { |request| submission.task(request) }
      @adapter.after_commit do
        submission.submit(requests).zip(tasks) { |submitted, task| task.become(submitted) }
      end
      tasks
    end
  end
end
