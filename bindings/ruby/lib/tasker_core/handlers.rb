# frozen_string_literal: true

require_relative 'errors'

module TaskerCore
  # From the class name in a template to something that can run.
  #
  # 1. Looks among the registered handlers first, then for a constant. `Name#step` is a step of the {Workflow} of that
  #    name.
  # 2. Builds handlers, whichever way their constructor wants it.
  # 3. A name without a handler is an error that says so; there is no substitute.
  #
  # @api private
  class Handlers
    CONSTANT = /\A[A-Z]\w*(::[A-Z]\w*)*\z/
    private_constant :CONSTANT

    def initialize
      @registered = {}
      @mutex = Mutex.new
    end

    # @param name [String, Symbol] as templates spell it
    # @param handler [Class, Proc, Method, #call, #process]
    def register(name, handler)
      unless handler.is_a?(Class) || handler.respond_to?(:call) || handler.respond_to?(:process)
        raise Errors::ConfigurationError, "the handler for #{name} is a #{handler.class}, which cannot be called"
      end

      @mutex.synchronize { @registered = @registered.merge(name.to_s => handler).freeze }
      handler
    end

    # @return [Class, #call] what the name stands for
    # @raise [Errors::ConfigurationError]
    def resolve(name)
      @registered[name] || (name.include?('#') ? step(name) : constant(name))
    end

    # @return [Object] what has `process` or `call`
    def build(name, config:, logger:)
      handler = resolve(name)
      return handler unless handler.is_a?(Class)
      # Nearly all are built like this; to look at the parameters takes longer than many a handler.
      return handler.new(config: config, logger: logger) if inherits_constructor?(handler)

      Handlers.instantiate(handler, config: config, logger: logger)
    end

    # @param arguments [Hash] what a constructor may ask for by keyword; one positional parameter gets the `config`
    # @return [Object] a new instance
    def self.instantiate(handler_class, **arguments)
      parameters = handler_class.instance_method(:initialize).parameters
      kinds = parameters.map(&:first)
      return handler_class.new(**arguments) if kinds.include?(:keyrest)

      wanted = parameters.filter_map { |kind, name| name if %i[key keyreq].include?(kind) }
      return handler_class.new(**arguments.slice(*wanted)) if wanted.any?

      kinds.count(:req) == 1 ? handler_class.new(arguments[:config]) : handler_class.new
    rescue ArgumentError => e
      raise Errors::ConfigurationError, "#{handler_class} cannot be made: #{e.message}"
    end

    private

    def inherits_constructor?(handler_class)
      handler_class.instance_method(:initialize).owner.equal?(StepHandler::Base)
    end

    def step(name)
      constant, step = name.split('#', 2)
      workflow = constant(constant)
      return workflow.step_handler(step) if workflow.is_a?(Class) && workflow <= Workflow

      raise Errors::ConfigurationError.new("#{constant} of #{name} is no workflow", context: { handler_class: name })
    end

    def constant(name)
      raise Errors::ConfigurationError, "#{name.inspect} is not the name of a handler" unless CONSTANT.match?(name)

      # Not inherited: `Billing::String` is no handler, even though Ruby would find `String` through Object.
      Object.const_get(name, false)
    rescue NameError => e
      raise unless e.instance_of?(NameError) && name.split('::').include?(e.name.to_s)

      raise Errors::ConfigurationError.new("handler class #{name} does not exist in this process",
                                           context: { handler_class: name })
    end
  end
end
