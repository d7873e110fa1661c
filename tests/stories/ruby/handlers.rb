# frozen_string_literal: true

require 'socket'

# Handlers of the end-to-end stories. What they do follows from the context and the step's inputs, never from chance.
module Stories
  # Adds one to the sum of its parents' results, or starts with the context's `start`. With a `ledger` in the context it
  # writes a line for each execution there: the test's own account, which the broker knows nothing of.
  class Count < TaskerCore::StepHandler::Base
    def process(task, sequence, step)
      sum = sequence.names.empty? ? task.context.fetch(:start, 0) : sequence.results_by_name.values.sum
      note(task, step, sum + 1) if task.context[:ledger]
      sum + 1
    end

    private

    # One write in append mode: lines of several processes do not mix.
    def note(task, step, result)
      File.open(task.context[:ledger], File::WRONLY | File::APPEND | File::CREAT) do |file|
        file.syswrite("#{task.task_id} #{step.name} #{step.attempt} #{result} #{Process.pid}\n")
      end
    end
  end

  # Says to the test who it is, waits for a word, and returns it.
  class Meet < TaskerCore::StepHandler::Base
    def process(task, _sequence, step)
      at_gate(task, step) { |gate| gate.gets.to_s.chomp }
    end

    private

    def at_gate(task, step)
      UNIXSocket.open(task.context[:gate]) do |gate|
        gate.puts("#{task.task_id} #{step.name} #{step.attempt}")
        yield gate
      end
    end
  end

  # Goes on when it is interrupted.
  class Stubborn < Meet
    def process(task, _sequence, step)
      return "attempt #{step.attempt}" if step.attempt > 1

      at_gate(task, step) do |gate|
        gate.gets.to_s.chomp
      rescue TaskerCore::TimeoutError
        retry
      end
    end
  end

  # Goes on whatever is done to its thread, as some C code does.
  class Unkillable < Meet
    def process(task, sequence, step) = Thread.handle_interrupt(Object => :never) { super }
  end

  # Looks now and then whether it is still wanted, and says so at the gate when it is not.
  class Attentive < Meet
    def process(task, _sequence, step)
      at_gate(task, step) do |gate|
        sleep(0.01) until step.cancelled?
        gate.puts('told to stop')
        gate.gets.to_s.chomp
      end
    end
  end

  # Fails as its inputs say: `error` (retryable, permanent, plain), `times`, `retry_after`, `code`. A task whose context
  # has `repaired` does not fail any more, from the attempt on that it names.
  class Fail < TaskerCore::StepHandler::Base
    def process(task, _sequence, step)
      return "attempt #{step.attempt}" if step.attempt > config.fetch(:times, 1_000)
      return 'repaired' if step.attempt >= task.context.fetch(:repaired, 1_000)

      raise error("attempt #{step.attempt} fails as asked")
    end

    private

    def error(message)
      case config[:error]
      when 'retryable' then TaskerCore::RetryableError.new(message, retry_after: config[:retry_after])
      when 'permanent' then TaskerCore::PermanentError.new(message, error_code: config[:code])
      else RuntimeError.new(message)
      end
    end
  end

  # Returns what it was given, with the version that it runs in.
  class Echo < TaskerCore::StepHandler::Base
    def process(task, sequence, step)
      { version: task.version, step: step.name, attempt: step.attempt, inputs: step.handler_config,
        parents: sequence.results_by_name }
    end
  end

  # Writes its step's name to the context's ledger, so that the order of executions can be read.
  class Order < Count
    def process(task, _sequence, step)
      note(task, step, task.priority)
      task.priority
    end
  end

  # Publishes an event of its own.
  class Announce < TaskerCore::StepHandler::Base
    def process(task, _sequence, step)
      step.publish_event('announced', start: task.context[:start])
      true
    end
  end
end
