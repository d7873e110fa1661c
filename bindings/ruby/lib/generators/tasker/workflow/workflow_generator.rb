# frozen_string_literal: true

require 'rails/generators/named_base'

module Tasker
  module Generators
    # `rails generate tasker:workflow NAME [STEP STEP:AFTER STEP:AFTER,AFTER ...]`
    class WorkflowGenerator < ::Rails::Generators::NamedBase
      desc 'Adds a workflow to app/workflows, and a spec or a test of it.'
      source_root File.expand_path('templates', __dir__)
      argument :steps, type: :array, default: %w[first], banner: 'step step:after step:after,after'

      STEP = /\A[a-z_][a-z0-9_]*\z/
      private_constant :STEP

      # A step and those that it waits for.
      Step = Struct.new(:name, :parents) do
        def definition
          after = parents.one? ? ":#{parents.first}" : "%i[#{parents.join(' ')}]"
          parents.empty? ? "step :#{name}" : "step :#{name}, after: #{after}"
        end
      end

      def check_steps
        parsed.each_with_index do |step, index|
          wrong = [step.name, *step.parents].find { |name| !STEP.match?(name) }
          raise Thor::Error, "#{wrong.inspect} is no name of a step: small letters, digits and _" if wrong

          known = parsed.first(index).map(&:name)
          raise Thor::Error, "the step #{step.name} is given twice" if known.include?(step.name)

          unknown = (step.parents - known).first
          raise Thor::Error, "#{step.name} comes after #{unknown}, which is not given before it" if unknown
        end
      end

      def create_workflow
        template 'workflow.rb.tt', File.join('app/workflows', class_path, "#{file_name}.rb")
      end

      def create_test
        if rspec?
          template 'workflow_spec.rb.tt', File.join('spec/workflows', class_path, "#{file_name}_spec.rb")
        else
          template 'workflow_test.rb.tt', File.join('test/workflows', class_path, "#{file_name}_test.rb")
        end
      end

      private

      def parsed
        @parsed ||= steps.map do |step|
          name, parents = step.split(':', 2)
          Step.new(name.to_s, parents.to_s.split(','))
        end
      end

      def base_class
        installed = File.exist?(File.expand_path('app/workflows/application_workflow.rb', destination_root))
        installed ? 'ApplicationWorkflow' : 'TaskerCore::Workflow'
      end

      def rspec?
        ::Rails::Generators.options.dig(:rails, :test_framework) == :rspec ||
          File.directory?(File.expand_path('spec', destination_root))
      end
    end
  end
end
