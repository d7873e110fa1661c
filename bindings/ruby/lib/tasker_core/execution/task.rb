# frozen_string_literal: true

require_relative '../json_text'

module TaskerCore
  # What a handler sees of the step that it runs.
  module Execution
    # The task that a step belongs to.
    class Task
      # @return [String] id of the task
      attr_reader :task_id
      # @return [String]
      attr_reader :namespace
      # @return [String] name of the template
      attr_reader :name
      # @return [String] version of the template
      attr_reader :version
      # @return [Array<String>]
      attr_reader :tags
      # @return [Integer]
      attr_reader :priority
      # @return [String, nil] the submitter's own id for the business process
      attr_reader :correlation_id

      alias task_uuid task_id

      # @api private
      # @param fields [Hash] a `BatchTask`
      def initialize(fields)
        @task_id, @namespace, @name, @version, @correlation_id =
          fields.values_at('task_id', 'namespace', 'name', 'version', 'correlation_id')
        @tags = (fields['tags'] || []).freeze
        @priority = fields['priority'] || 0
        @context_text = fields['context']
        @result_texts = (fields['results'] || []).to_h { |parent| [parent['step'], parent['result']] }
      end

      # @return [IndifferentHash] what the task is about: frozen, with string or symbol keys at every level
      def context
        @context ||= JsonText.load(@context_text)
      end

      # @return [String] `namespace/name@version`
      def template = "#{namespace}/#{name}@#{version}"

      # @api private
      # @return [String, nil] JSON text of a parent's result
      def result_text(step) = @result_texts[step]

      # @api private
      def result?(step) = @result_texts.key?(step)

      def inspect = "#<#{self.class.name} #{task_id} #{template}>"
    end
  end
end
