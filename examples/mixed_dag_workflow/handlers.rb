# frozen_string_literal: true

# Seven steps: some have one parent, some two, the last one three.
module MixedDagWorkflow
  # Squares the number of the task's context.
  class DagInitHandler < TaskerCore::StepHandler::Base
    def process(task, _sequence, _step)
      number = task.context[:even_number]
      number * number
    end
  end

  # Squares the result of its only parent.
  class DagSquareHandler < TaskerCore::StepHandler::Base
    def process(_task, sequence, step)
      before = sequence.get_results(step.parents.first)
      before * before
    end
  end

  # Squares the product of all its parents' results.
  class DagJoinHandler < TaskerCore::StepHandler::Base
    def process(_task, sequence, step)
      product = step.parents.map { |parent| sequence.get_results(parent) }.inject(:*)
      product * product
    end
  end
end
