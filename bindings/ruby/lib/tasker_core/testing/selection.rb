# frozen_string_literal: true

module TaskerCore
  module Testing
    # Which enqueued tasks a test means: the workflow, the input, and what {Workflow::Enqueuing#set} takes.
    #
    # @api private
    class Selection
      # What is compared, and how a task says it.
      FIELDS = {
        input: :input.to_proc, key: :key.to_proc, tags: :tags.to_proc, priority: :priority.to_proc,
        bypass: :bypass_steps.to_proc, correlation_id: :correlation_id.to_proc, wait_until: :run_at.to_proc,
        wait: ->(task) { task.run_at && (task.run_at - task.enqueued_at) }
      }.freeze
      # How far times may be apart: the request has milliseconds, and to make it takes a moment.
      APART_SECONDS = { wait_until: 0.001, wait: 1 }.freeze
      private_constant :FIELDS, :APART_SECONDS

      # @param workflow [Class, String]
      # @param expected [Hash{Symbol=>Object}] values, or what has `===`, by field
      def initialize(workflow, expected = {})
        unknown = expected.keys - FIELDS.keys
        raise ArgumentError, "there is no #{unknown.first}: (there are #{FIELDS.keys.join(', ')})" if unknown.any?

        @workflow = workflow
        @expected = expected
      end

      # @return [Selection] with further expectations
      def and(**expected) = Selection.new(@workflow, @expected.merge(expected))

      # @return [String] `namespace/name`, or `namespace/name@version`
      def template = @workflow.respond_to?(:template) ? @workflow.template.key : @workflow.to_s

      # @return [Object, nil] the input that is expected
      def input = @expected[:input]

      # @param tasks [Array<TaskRun>]
      # @return [Array<TaskRun>] those of the workflow
      def of_workflow(tasks)
        tasks.select { |task| [task.template_key, task.template_key.split('@').first].include?(template) }
      end

      # @param tasks [Array<TaskRun>]
      # @return [Array<TaskRun>] those that are as expected
      def of(tasks)
        of_workflow(tasks).select do |task|
          @expected.all? { |field, value| field?(field, value, FIELDS.fetch(field).call(task)) }
        end
      end

      # @return [String]
      def to_s = [template, *@expected.map { |field, value| "#{field}: #{describe(value)}" }].join(', ')

      # @param task [TaskRun]
      # @return [String] of a task, what is compared
      def show(task)
        shown = [:input, *@expected.keys].uniq.map { |field| "#{field}: #{describe(FIELDS.fetch(field).call(task))}" }
        [task.template_key, *shown].join(', ')
      end

      private

      def field?(field, expected, actual)
        apart = APART_SECONDS[field]
        return value?(expected, actual) unless apart && (expected.respond_to?(:to_time) || expected.is_a?(Numeric))

        !actual.nil? && (actual - (expected.is_a?(Numeric) ? expected : expected.to_time)).abs <= apart
      end

      # Symbols have become strings on their way.
      def value?(expected, actual)
        case expected
        when Symbol then actual == expected.name
        when Hash then hash?(expected, actual)
        when Array
          actual.is_a?(Array) && actual.size == expected.size &&
            expected.zip(actual).all? { |inner, given| value?(inner, given) }
        else
          matched?(expected, actual)
        end
      end

      def hash?(expected, actual)
        actual.is_a?(Hash) && actual.keys.sort == expected.keys.map(&:to_s).sort &&
          expected.all? { |key, value| value?(value, actual[key.to_s]) }
      end

      # Matchers of all kinds, classes, ranges and patterns say it like this.
      def matched?(expected, actual)
        case actual
        when expected then true
        else false
        end
      end

      def describe(value)
        case value
        when Hash then "{#{value.map { |key, inner| "#{key}: #{describe(inner)}" }.join(', ')}}"
        when Array then "[#{value.map { |inner| describe(inner) }.join(', ')}]"
        when Symbol then value.name.inspect
        when Time then value.utc.strftime('%FT%T.%LZ')
        else value.respond_to?(:description) ? value.description : value.inspect
        end
      end
    end
  end
end
