# frozen_string_literal: true

# A root, two branches, four leaves, and one step that waits for all leaves.
module TreeWorkflow
  # Squares the number of the task's context.
  class TreeRootHandler < TaskerCore::StepHandler::Base
    def process(task, _sequence, _step)
      number = task.context[:even_number]
      number * number
    end
  end

  # Branches and leaves square the result of the node above them.
  class TreeNodeHandler < TaskerCore::StepHandler::Base
    def process(_task, sequence, step)
      above = sequence.get_results(step.parents.first)
      above * above
    end
  end

  # The result can be larger than any machine integer: it stays an integer all the way.
  class TreeFinalConvergenceHandler < TaskerCore::StepHandler::Base
    LEAVES = %w[tree_leaf_d tree_leaf_e tree_leaf_f tree_leaf_g].freeze

    def process(_task, sequence, _step)
      product = LEAVES.map { |leaf| sequence.get_results(leaf) }.inject(:*)
      product * product
    end
  end
end
