# frozen_string_literal: true

require 'digest'
require 'json'
require 'yaml'
require_relative '../errors'

module TaskerCore
  class Workflow
    # The template that a workflow class stands for: what {Workflow.template} answers with.
    class Template
      # @return [String]
      attr_reader :namespace, :name, :version

      # @api private
      # @param workflow [Class]
      # @raise [Errors::ConfigurationError]
      def initialize(workflow)
        @workflow = workflow
        @namespace = workflow.namespace
        @name = workflow.workflow_name
        raise Errors::ConfigurationError, "#{workflow.name} has no steps" if definition.steps.empty?

        definition.steps.each { |step| check(step) }
        @content = content
        @version = versioned
        freeze
      end

      # @return [String] `namespace/name@version`
      def key = "#{namespace}/#{name}@#{version}"

      # @return [Array<String>] names of the steps in the order of definition
      def steps = definition.steps.map(&:name)

      # @return [Hash{String=>Object}] as the YAML file would be read
      def to_h = { 'namespace_name' => namespace, 'name' => name, 'version' => version, **@content }

      # @return [String] the template as a YAML document
      def to_yaml = to_h.to_yaml

      # @return [String]
      def inspect = "#<#{self.class.name} #{key}>"

      # @api private
      # @param value [Object]
      # @return [Object] the same of strings, numbers, booleans, nil, arrays and hashes, as JSON has them
      def self.plain(value) = value && JSON.parse(JSON.generate(value))

      # @api private
      # @param constant [String, nil]
      # @return [String, nil] `order_fulfillment` for `OrderFulfillment`
      def self.underscore(constant)
        constant&.gsub(/([A-Z]+)([A-Z][a-z])/, '\1_\2')&.gsub(/([a-z\d])([A-Z])/, '\1_\2')&.downcase
      end

      private

      def definition = @workflow.definition

      def check(step)
        return unless step.method?
        return if @workflow.method_defined?(step.name) || @workflow.private_method_defined?(step.name)

        raise Errors::ConfigurationError,
              "#{step} has nothing that runs it: a block, a method #{step.name}, or handler:"
      end

      def content
        {
          'description' => definition.description, 'task_handler_class' => definition.task_handler&.to_s,
          'schema' => Template.plain(definition.input_schema),
          'default_context' => Template.plain(definition.input_defaults),
          'step_templates' => definition.steps.map { |step| step.to_h(@workflow, definition.attempts_max(step)) }
        }.compact
      end

      def versioned
        declared = definition.version
        return declared if declared && !TaskerCore.configuration.versions_follow_content

        # A pre-release of the version: lower than it, and another one for each content. Its part starts with a letter,
        # since an identifier of digits must have no leading zero.
        "#{declared || DEFAULT_VERSION}-c#{Digest::SHA256.hexdigest(JSON.generate(@content))[0, 12]}"
      end
    end
  end
end
