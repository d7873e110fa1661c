# frozen_string_literal: true

require 'date'
require 'tsort'
require 'yaml'
require_relative '../errors'
require_relative 'refusal'
require_relative 'step_template'

module TaskerCore
  module Testing
    # A template, read from YAML as far as running it needs. The broker's own check says more, and says where.
    #
    # @api private
    class Template
      include TSort

      KEYS = %w[namespace_name name version task_handler_class module_namespace description default_dependent_system
                named_steps schema default_context default_options handler_config custom_events step_templates
                environments].freeze
      VERSION = /\A\d+\.\d+\.\d+(-[0-9A-Za-z.-]+)?(\+[0-9A-Za-z.-]+)?\z/
      private_constant :KEYS, :VERSION

      # @return [String]
      attr_reader :yaml, :namespace, :name, :version
      # @return [Array<StepTemplate>] in order of definition
      attr_reader :steps

      # @param environment [String] whose overrides are applied
      # @raise [Errors::InvalidCommandError]
      def initialize(yaml, source:, environment:)
        @yaml = yaml
        @given = read(yaml)
        refuse('it is no map') unless @given.is_a?(Hash)

        check_keys
        @namespace, @name, @version = %w[namespace_name name version].map { |key| required(key) }
        refuse("version #{version} is no semantic version") unless VERSION.match?(version)
        @over = @given.dig('environments', environment) || {}
        @steps = read_steps
        check_graph
      rescue ArgumentError, Errors::NotJsonError, Psych::Exception => e
        raise Refusal.for('invalid_template', "#{source || 'the template'}: #{e.message}", field: 'yaml')
      end

      # @return [String]
      def key = "#{namespace}/#{name}@#{version}"
      def description = @given['description']
      def task_handler_class = @given['task_handler_class']
      # @return [String, nil] JSON text
      def handler_config = @given['handler_config'] && JsonText.dump(@given['handler_config'])

      # @return [StepTemplate, nil]
      def step(name) = @by_name[name]

      # @return [Hash{String=>Array<String>}] names of the steps that wait for a step
      def children
        @children ||= steps.each_with_object(Hash.new([].freeze)) do |step, children|
          step.parents.each { |parent| children[parent] += [step.name] }
        end
      end

      # @param text [String] JSON text of a request
      # @return [String] the same with the defaults laid under it, map by map
      def context(text) = laid_under(text, 'default_context')
      def options(text) = laid_under(text, 'default_options')

      # @return [Gem::Version] for comparing
      def precedence = Gem::Version.new(version.sub(/\+.*/, ''))

      private

      def read(yaml) = YAML.safe_load(yaml, permitted_classes: [Date, Time], aliases: true)

      def check_keys
        unknown = @given.keys - KEYS
        refuse("unknown key #{unknown.first}") if unknown.any?
      end

      def required(key)
        value = @given[key].to_s
        value.empty? ? refuse("#{key} is missing") : value
      end

      def read_steps
        given = @given['step_templates']
        refuse('a template needs at least one step') unless given.is_a?(Array) && given.any?

        given.each_with_index.map { |step, index| read_step(step, "step_templates[#{index}]") }
      end

      def read_step(given, place)
        refuse("#{place}: a step is a map") unless given.is_a?(Hash)

        StepTemplate.new(overridden(given), Array(@given['custom_events']))
      rescue ArgumentError => e
        refuse("#{place}: #{e.message}")
      end

      def overridden(step)
        whole = Array(@over['step_templates']).find { |over| over['name'] == step['name'] } || {}
        named = @over.dig('step_overrides', step['name']) || {}
        named = named.transform_keys { |key| key == 'retry_limit' ? 'default_retry_limit' : key }
        Template.overlay(Template.overlay(step, whole), named)
      end

      def check_graph
        @by_name = steps.to_h { |step| [step.name, step] }
        steps.group_by(&:name).each { |name, same| refuse("step #{name} was given before") if same.size > 1 }
        steps.each { |step| check_parents(step) }
        cycle = strongly_connected_components.find { |component| component.size > 1 }
        refuse("steps wait for each other: #{cycle.map(&:name).join(', ')}") if cycle
      end

      def check_parents(step)
        unknown = step.parents.find { |parent| !step(parent) }
        refuse("step #{step.name} depends on #{unknown}, which is not a step of this template") if unknown
        refuse("step #{step.name} depends on itself") if step.parents.include?(step.name)
      end

      def tsort_each_node(&block) = steps.each(&block)
      def tsort_each_child(step, &block) = step.parents.each { |parent| block.call(step(parent)) }

      def laid_under(text, key)
        defaults = Template.overlay(@given[key] || {}, @over[key] || {})
        return text if defaults.empty?

        JsonText.dump(Template.overlay(defaults, JsonText.load(text || '{}')), place: key)
      end

      def refuse(what)
        raise ArgumentError, what
      end

      class << self
        # @return [Hash{String=>Object}] what is over replaces what is below; maps are merged
        def overlay(below, over)
          below.to_h.merge(over.to_h) do |_, inner, outer|
            inner.is_a?(Hash) && outer.is_a?(Hash) ? overlay(inner, outer) : outer
          end
        end
      end
    end
  end
end
