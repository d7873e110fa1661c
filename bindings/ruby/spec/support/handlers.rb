# frozen_string_literal: true

# Handlers that the worker's tests name.
module SpecHandlers
  class Square < TaskerCore::StepHandler::Base
    def process(task, sequence, _step)
      number = sequence.names.empty? ? task.context[:n] : sequence.get_results(sequence.names.first)
      number * number
    end
  end

  # Not a subclass, and `call` instead of `process`; the constructor takes nothing.
  class PlainCall
    def call(_task, _sequence, step)
      { name: step.name, attempt: step.attempt, of: step.retry_limit }
    end
  end

  class Neither
    def perform = 1
  end

  # Waits until the test lets it go, and tells the test that it has started.
  class Gate
    STARTED = Thread::Queue.new
    OPEN = Thread::Queue.new

    def self.reset
      STARTED.clear
      OPEN.clear
    end

    def process(_task, _sequence, step)
      STARTED << step
      OPEN.pop
      { passed: step.name, cancelled: step.cancelled? }
    end
  end
end
