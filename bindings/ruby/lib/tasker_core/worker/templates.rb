# frozen_string_literal: true

require 'date'
require 'yaml'
require_relative '../errors'
require_relative '../job_queue'

module TaskerCore
  class Worker
    # What a worker can run: template files, which the broker registers, and what the broker has already.
    #
    # @api private
    class Templates
      SERVED = %r{\A[^/@*\s]+(/(\*|[^/@*\s]+(@[^/@*\s]+)?))?\z}
      IDENTITY = %w[namespace_name name version].freeze
      private_constant :SERVED, :IDENTITY

      # @return [Array<Hash>] each a `Capability`
      attr_reader :capabilities
      # @return [Array<String>] classes that the template files name as step handlers
      attr_reader :handler_classes

      # @param templates [Array<String>] files, and folders with `.yaml` and `.yml` files
      # @param namespaces [Array<String>] `namespace` or `namespace/name[@version]`, already known to the broker
      # @param workflows [Array<Class>, nil] workflow classes; when nil, those loaded that `namespaces` do not leave out
      # @param queues [Array<String>] queues of Active Job
      def initialize(templates, namespaces, workflows = nil, queues = [])
        @paths = Array(templates).map(&:to_s)
        @namespaces = Array(namespaces).map(&:to_s)
        @workflows = workflows && Array(workflows)
        @queues = Array(queues).map(&:to_s)
        @handler_classes = []
        @capabilities = look
        return if @capabilities.any?

        raise Errors::ConfigurationError, 'the worker serves nothing: give it workflow classes, templates or namespaces'
      end

      # Looks again at files and classes.
      # @return [Boolean] whether they have become others
      def renew
        before = @capabilities
        @capabilities = look
        @capabilities != before
      end

      # @param handlers [Handlers] where the classes are looked up
      def warn_of_missing(handlers, logger)
        handler_classes.each do |handler|
          handlers.resolve(handler)
        rescue Errors::ConfigurationError => e
          logger.warn("#{e.message}; its steps will fail")
        end
      end

      private

      def look
        [
          *@paths.flat_map { |path| from_path(path) },
          *(@workflows || loaded(@namespaces)).map { |workflow| from_class(workflow) },
          *@namespaces.map { |served| { 'template' => key_of(served) } },
          *@queues.map { |queue| JobQueue.capability(queue) }
        ]
      end

      def key_of(served)
        unless SERVED.match?(served)
          raise Errors::ConfigurationError, "#{served.inspect} is neither a namespace nor namespace/name[@version]"
        end

        served.include?('/') ? served : "#{served}/*"
      end

      def from_path(path)
        return folder(path) if File.directory?(path)
        return [from_file(path)] if File.file?(path)

        raise Errors::ConfigurationError, "there is no template file or folder #{path}"
      end

      def folder(path)
        files = Dir[File.join(path, '**', '*.{yaml,yml}')]
        raise Errors::ConfigurationError, "there is no template file in #{path}" if files.empty?

        files.map { |file| from_file(file) }
      end

      # The broker checks the template; only what names it has to be there already here.
      def from_file(path)
        text = File.read(path, encoding: 'UTF-8')
        template = YAML.safe_load(text, permitted_classes: [Date, Time], aliases: true, filename: path)
        raise Errors::ConfigurationError, "#{path} is not a template" unless template.is_a?(Hash)

        missing = IDENTITY.find { |key| template[key].to_s.empty? }
        raise Errors::ConfigurationError, "#{path}: #{missing} is missing" if missing

        note_handlers(template)
        namespace, name, version = template.values_at(*IDENTITY)
        { 'template' => "#{namespace}/#{name}@#{version}", 'yaml' => text, 'source' => path }
      rescue Psych::Exception => e
        raise Errors::ConfigurationError, "#{path} is not YAML: #{e.message}"
      rescue SystemCallError => e
        raise Errors::ConfigurationError, "#{path} cannot be read: #{e.message}"
      end

      def loaded(namespaces)
        return Workflow.loaded if namespaces.empty?

        Workflow.loaded.select do |workflow|
          template = workflow.template
          name = "#{template.namespace}/#{template.name}"
          [template.namespace, "#{template.namespace}/*", name, template.key].intersect?(namespaces)
        end
      end

      def from_class(workflow)
        template = workflow.template
        { 'template' => template.key, 'yaml' => template.to_yaml, 'source' => workflow.name }
      end

      def note_handlers(template)
        steps = template['step_templates']
        return unless steps.is_a?(Array)

        @handler_classes |= steps.grep(Hash).filter_map { |step| step['handler_class'] }.map(&:to_s)
      end
    end
  end
end
