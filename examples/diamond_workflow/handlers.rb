# frozen_string_literal: true

# One step, two branches that run at the same time, and one step that joins them.
module DiamondWorkflow
  # Squares the number of the task's context.
  class DiamondStartHandler < TaskerCore::StepHandler::Base
    def call(task, _sequence, _step)
      number = task.context[:even_number]
      TaskerCore::Types::StepHandlerCallResult.success(
        result: number * number, metadata: { operation: 'square', input: number }
      )
    end
  end

  # Both branches do the same: they square the result of the start.
  class DiamondBranchHandler < TaskerCore::StepHandler::Base
    def call(_task, sequence, step)
      start = sequence.get_results('diamond_start')
      TaskerCore::Types::StepHandlerCallResult.success(
        result: start * start, metadata: { operation: 'square', branch: step.name }
      )
    end
  end

  # Runs when both branches are complete.
  class DiamondEndHandler < TaskerCore::StepHandler::Base
    def call(_task, sequence, _step)
      product = sequence.get_results('diamond_branch_b') * sequence.get_results('diamond_branch_c')
      TaskerCore::Types::StepHandlerCallResult.success(
        result: product * product, metadata: { operation: 'multiply_and_square' }
      )
    end
  end
end
