# frozen_string_literal: true

require_relative '../errors'
require_relative '../json_text'

module TaskerCore
  module Execution
    # The steps before this one, and their results.
    class Sequence
      # A step before this one. `step['result']` and `step.dig('result', ...)` read it as a Hash would be.
      Dependency = Struct.new(:name, :results) do
        alias_method :result, :results

        def [](key) = key.to_s == 'result' ? results : super
        def dig(key, *rest) = rest.empty? || self[key].nil? ? self[key] : self[key].dig(*rest)
      end

      # @api private
      # @param task [Task]
      # @param parents [Array<String>]
      # @param batch [#fetch_result] asks the broker for the result of another step: task id, name => JSON text
      def initialize(task, parents, batch)
        @task = task
        @parents = parents
        @batch = batch
      end

      # @return [Array<String>] names of the parents
      def names = @parents.dup

      # The result of an earlier step: frozen, with string or symbol keys at every level. Results of parents are at
      # hand; that of a step further back is asked for.
      #
      # @param step [String, Symbol]
      # @return [Object]
      # @raise [Errors::NotFoundError] when the task has no such step, or it has no result yet
      def get_results(step)
        name = step.to_s
        results = @results ||= {}
        results.fetch(name) { results[name] = JsonText.load(text(name)) }
      end

      # @param key [String, Symbol, nil] one entry of the result
      # @return [Object] the result, or one entry of it
      # @see #get_results
      def get_result(step, key = nil)
        result = get_results(step)
        key.nil? ? result : result&.dig(key)
      end

      # @return [Dependency, nil] a parent with its result, if the step is one
      def get(step)
        name = step.to_s
        Dependency.new(name, get_results(name)).freeze if include?(name)
      end
      alias [] get

      # @return [Boolean] whether the step is a parent
      def include?(step) = @parents.include?(step.to_s)
      alias has? include?

      # @return [Array<Dependency>] the parents with their results
      def dependencies = @parents.map { |name| get(name) }
      alias steps dependencies

      # @return [Hash{String=>Object}] results of the parents by name
      def results_by_name = @parents.to_h { |name| [name, get_results(name)] }

      def inspect = "#<#{self.class.name} #{@parents.join(', ')}>"

      private

      def text(name)
        return @task.result_text(name) if @task.result?(name) && include?(name)

        @batch.fetch_result(@task.task_id, name)
      end
    end
  end
end
