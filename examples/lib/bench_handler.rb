# frozen_string_literal: true

# What the workers of `examples/bench` run.
module TaskerBench
  # Does nothing, and returns as much as a native worker of `tasker bench` does unless told otherwise.
  class Handler < TaskerCore::StepHandler::Base
    RESULT = ('x' * 98).freeze

    def process(_task, _sequence, _step) = RESULT
  end
end
