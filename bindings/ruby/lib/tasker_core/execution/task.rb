# frozen_string_literal: true

require_relative '../json_text'

module TaskerCore
  # What a handler sees of the step that it runs.
  module Execution
    # The task that a step belongs to.
    class Task
      # What the wire may leave out.
      NONE = [].freeze
      private_constant :NONE

      # @return [String] id of the task
      attr_reader :task_id
      alias task_uuid task_id

      # @api private
      # @param fields [Hash] a `BatchTask`, frozen: what a handler does not ask for is not taken out
      def initialize(fields)
        @task_id = fields['task_id']
        @fields = fields
      end

      # @return [String]
      def namespace = @fields['namespace']

      # @return [String] name of the template
      def name = @fields['name']

      # @return [String] version of the template
      def version = @fields['version']

      # @return [Array<String>]
      def tags = @fields['tags'] || NONE

      # @return [Integer]
      def priority = @fields['priority'] || 0

      # @return [String, nil] the submitter's own id for the business process
      def correlation_id = @fields['correlation_id']

      # @return [String, nil] W3C Trace Context that the task was submitted with
      def traceparent = @fields['traceparent']

      # @return [String, nil] what came with {#traceparent}
      def tracestate = @fields['tracestate']

      # @return [IndifferentHash] what the task is about: frozen, with string or symbol keys at every level
      def context
        @context ||= JsonText.load(@fields['context'])
      end

      # @return [String] `namespace/name@version`
      def template = "#{namespace}/#{name}@#{version}"

      # @api private
      # @return [Hash] as they came, for another process
      attr_reader :fields

      # @api private
      # @return [String, nil] JSON text of a parent's result
      def result_text(step) = result_texts[step]

      # @api private
      def result?(step) = result_texts.key?(step)

      def inspect = "#<#{self.class.name} #{task_id} #{template}>"

      private

      def result_texts
        @result_texts ||= (@fields['results'] || NONE).to_h { |parent| [parent['step'], parent['result']] }
      end
    end
  end
end
