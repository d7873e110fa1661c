# frozen_string_literal: true

require_relative 'refusal'
require_relative 'template'

module TaskerCore
  module Testing
    # The templates that tests know.
    #
    # 1. A version never changes its content, as with the broker.
    # 2. Workflow classes that are loaded are known, as they are to a broker with a worker.
    # 3. What a test registers is forgotten with its tasks; what was loaded stays.
    #
    # @api private
    class Registry
      def initialize
        @mutex = Mutex.new
        @templates = {}
        @loaded = {}
      end

      # @param stays [Boolean] whether it outlives {#clear}
      # @return [Array(Template, Boolean)] and whether it is new
      # @raise [Errors::InvalidCommandError, Errors::ConflictError]
      def register(yaml, source: nil, stays: false)
        template = Template.new(yaml, source: source, environment: TaskerCore.configuration.environment)
        @mutex.synchronize do
          known = @templates[template.key]
          refuse_change(template) if known && known.yaml != yaml
          @templates[template.key] = @loaded[template.key] = template if stays
          @templates[template.key] ||= template
          [@templates[template.key], known.nil?]
        end
      end

      # @param version [String, nil] the highest when nil
      # @return [Template]
      # @raise [Errors::UnknownResourceError]
      def resolve(namespace, name, version = nil)
        find(namespace, name, version) || from_classes(namespace, name, version) ||
          refuse(namespace, name, version)
      end

      # @return [Array<Template>]
      def to_a = @mutex.synchronize { @templates.values }.sort_by { |it| [it.namespace, it.name, it.precedence] }

      def clear = @mutex.synchronize { @templates = @loaded.dup }

      private

      def versions(namespace, name) = to_a.select { |it| it.namespace == namespace && it.name == name }

      def find(namespace, name, version)
        known = versions(namespace, name)
        version ? known.find { |template| template.version == version } : known.last
      end

      def from_classes(namespace, name, version)
        classes = Workflow.loaded.select do |workflow|
          workflow.namespace == namespace && workflow.workflow_name == name &&
            (version.nil? || workflow.version == version)
        end
        classes.map { |workflow| register(workflow.template.to_yaml, source: workflow.name).first }.max_by(&:precedence)
      end

      def refuse(namespace, name, version)
        known = versions(namespace, name).map(&:version)
        if known.empty?
          raise Refusal.for('unknown_template', "no template #{namespace}/#{name} is registered; " \
                                                'TaskerCore::Testing.load_templates registers files', field: 'name')
        end

        raise Refusal.for('unknown_version', "template #{namespace}/#{name} has no version #{version}; registered: " +
                                             known.join(', '), field: 'version')
      end

      def refuse_change(template)
        raise Refusal.for('template_conflict', "template #{template.key} is registered with another content; give " \
                                               'the new one a new version', field: 'version')
      end
    end
  end
end
