# frozen_string_literal: true

# Four steps in a row: each squares what the one before it found.
module LinearWorkflow
  # Begins with the number of the task's context, which has to be even.
  class LinearStep1Handler < TaskerCore::StepHandler::Base
    def process(task, _sequence, _step)
      number = task.context[:even_number]
      unless number.is_a?(Integer) && number.even?
        raise TaskerCore::Errors::PermanentError.new(
          "#{number.inspect} is not an even number", error_code: 'NOT_EVEN', context: { even_number: number }
        )
      end

      logger.debug("linear_step_1: #{number} squared")
      number * number
    end
  end

  # Squares the result of its only parent.
  class SquaringHandler < TaskerCore::StepHandler::Base
    def process(_task, sequence, step)
      previous = sequence.get_results(step.parents.first)
      logger.debug("#{step.name}: #{previous} squared")
      previous * previous
    end
  end

  # One class a step, as a workflow with real work would have.
  class LinearStep2Handler < SquaringHandler; end
  class LinearStep3Handler < SquaringHandler; end
  class LinearStep4Handler < SquaringHandler; end
end
