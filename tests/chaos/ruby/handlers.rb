# frozen_string_literal: true

require 'pg'
require 'securerandom'

# Handlers of the chaos rounds. What they do follows from the context and the step's inputs, never from chance; each
# execution leaves its own account in a file that the broker knows nothing of.
module Chaos
  # Adds one to the sum of its parents' values, or starts with the context's `start`. Inputs: `milliseconds` that it
  # takes, `fails` (attempts that fail), `permanent` (fails for good), `overruns` (attempts that run into the timeout),
  # `held` (waits until the file `gate` of the context is there), `bytes` (by which its result is longer).
  #
  # A result says which execution made it, and of which executions it was given the results: `VALUE RUN PARENT,PARENT`.
  class Work < TaskerCore::StepHandler::Base
    # Longer than any timeout of the templates.
    FOR_EVER = 60

    def process(task, sequence, step)
      account = Account.new(task, step)
      account.note('begun')
      Witness.look(task, step, account) if task.context[:witness]
      result = work(task, sequence, step, account.run)
      account.note('returned', result)
      result
    rescue Exception => e # rubocop:disable Lint/RescueException -- an interrupt is an end, too
      account&.note('raised', e.class.name)
      raise
    end

    private

    def work(task, sequence, step, run)
      sleep(step.attempt <= config.fetch(:overruns, 0) ? FOR_EVER : config.fetch(:milliseconds, 10) / 1000.0)
      sleep(0.01) until !config[:held] || File.exist?(task.context[:gate])
      raise TaskerCore::PermanentError.new('as asked', error_code: 'ASKED') if config[:permanent]
      raise TaskerCore::RetryableError, 'as asked' if step.attempt <= config.fetch(:fails, 0)

      result(task, sequence, run)
    end

    def result(task, sequence, run)
      parents = sequence.names.sort.map { |name| sequence.get_results(name).split }
      value = parents.empty? ? task.context[:start] : parents.sum { |parent| parent[0].to_i }
      bulk = SecureRandom.hex(config.fetch(:bytes, 0) / 2)
      "#{value + 1} #{run} #{parents.map { |parent| parent[1] }.join(',')} #{bulk}".rstrip
    end
  end

  # The account of one execution: lines `TASK STEP ATTEMPT PHASE RUN PROCESS TEXT`, separated by tabs.
  class Account
    attr_reader :run

    def initialize(task, step)
      @path = task.context[:ledger]
      @run = SecureRandom.hex(8)
      @who = [task.task_id, step.name, step.attempt]
    end

    # One write in append mode: lines of several processes do not mix, and a process that is killed leaves no half.
    def note(phase, text = '')
      File.open(@path, File::WRONLY | File::APPEND | File::CREAT) do |file|
        file.syswrite("#{[*@who, phase, @run, Process.pid, text].join("\t")}\n")
      end
    end
  end

  # Looks into the database, past the broker: what a worker is given must be there already.
  module Witness
    SQL = <<~QUERY
      SELECT count(*) FILTER (WHERE parent IS NULL) AS dispatches, count(*) FILTER (WHERE parent IS NOT NULL) AS missing
      FROM (
          SELECT NULL::integer AS parent FROM tasker.batches AS batch
          CROSS JOIN LATERAL unnest(batch.task_ids, batch.step_numbers, batch.attempts) AS item (task_id, number, attempt)
          JOIN tasker.steps AS step ON step.task_id = item.task_id AND step.step_number = item.number
          WHERE item.task_id = $1 AND step.name = $2 AND item.attempt = $3
          UNION ALL
          SELECT parent.number FROM tasker.tasks AS task
          JOIN tasker.template_steps AS definition
            ON definition.template_id = task.template_id AND definition.name = $2
          CROSS JOIN LATERAL unnest(definition.parents) AS parent (number)
          WHERE task.task_id = $1 AND NOT EXISTS (
              SELECT FROM tasker.step_outcomes AS outcome
              WHERE outcome.task_id = task.task_id AND outcome.step_number = parent.number)
      ) AS seen
    QUERY

    # `saw` or `missed`; `blind` while Postgres is away.
    def self.look(task, step, account)
      session = PG.connect(task.context[:database])
      row = session.exec_params(SQL, [task.task_id, step.name, step.attempt]).first
      account.note(row['dispatches'].to_i.positive? && row['missing'].to_i.zero? ? 'saw' : 'missed', row.to_s)
    rescue PG::Error => e
      account.note('blind', e.class.name)
    ensure
      session&.close unless session&.finished?
    end
  end
end
