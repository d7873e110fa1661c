# frozen_string_literal: true

require 'tasker_core/testing/matchers'
require 'tasker_core/testing/assertions'
require 'tasker_core/step_handler/api'
require 'yard'

begin
  require 'rbs'
rescue LoadError
  raise 'the signatures in sig/ cannot be checked: install the gem rbs (in Debian it comes with ruby: libruby3.1)'
end

# The signatures in `sig/`, beside the public methods that YARD finds.
#
# 1. Reads and resolves them.
# 2. Lists the methods that they have, and those that the gem has.
# 3. Says where the parameters of a signature differ from those of its method.
class Signatures
  ROOT = File.expand_path('../..', __dir__)
  LIBRARIES = %w[logger].freeze
  # There are no signatures of Rails, from which these inherit.
  LEFT_OUT = /\ATaskerCore::Railtie|\ATaskerCore::Rails\b/

  # @param folder [String]
  def initialize(folder = File.join(ROOT, 'sig'))
    loader = RBS::EnvironmentLoader.new
    loader.add(path: Pathname(folder))
    LIBRARIES.each { |library| loader.add(library: library, version: nil) }
    @builder = RBS::DefinitionBuilder.new(env: RBS::Environment.from_loader(loader).resolve_type_names)
  end

  # @return [Array<String>] names of classes and modules
  def owners
    names = @builder.env.class_decls.keys.map { |name| name.to_s.delete_prefix('::') }
    names.grep(/\ATaskerCore\b/)
  end

  # @return [Hash{String=>RBS::Definition::Method}] by `Owner#method` and `Owner.method`, without what is inherited;
  #   each of them its types resolved
  def signed
    @signed ||= owners.each_with_object({}) do |owner, methods|
      name = RBS::TypeName.new(name: owner.split('::').last.to_sym,
                               namespace: RBS::Namespace.parse("::#{owner}").parent)
      own(@builder.build_instance(name), name) { |method, found| methods["#{owner}##{method}"] = found }
      own(@builder.build_singleton(name), name) do |method, found|
        # That of `new` is the signature of `initialize`.
        methods[method == :new ? "#{owner}#initialize" : "#{owner}.#{method}"] = found
      end
    end
  end

  # @return [Array<String>] public methods that are not `@api private`, as {signed} spells them
  def public_methods_of_gem
    Dir.chdir(ROOT) do
      YARD::Logger.instance.enter_level(YARD::Logger::ERROR) do
        YARD::Registry.clear
        YARD.parse('lib/tasker_core{.rb,/**/*.rb}')
      end
    end
    methods = YARD::Registry.all(:method).select { |method| method.visibility == :public && !private?(method) }
    methods.map(&:path).grep(/\ATaskerCore/).grep_v(LEFT_OUT)
  end

  # @param name [String]
  # @return [Method, UnboundMethod, nil]
  def method_of(name)
    owner, separator, method = name.match(/\A([\w:]+)([#.])(.+)\z/).captures
    constant = Object.const_get(owner)
    separator == '#' ? constant.instance_method(method) : constant.method(method)
  rescue NameError
    nil
  end

  # @return [String, nil] how the parameters of a signature differ from the method's, in words
  def difference(name)
    signature = signed.fetch(name).method_types
    actual = method_of(name) or return 'there is no such method'
    parameters = actual.parameters
    # Methods that pass on whatever they get do not say what they take.
    return if parameters.map(&:first) == %i[rest keyrest block] && signature.none? { |type| type.type.rest_keywords }

    signature.filter_map { |type| mismatch(type.type, parameters) }.first
  end

  private

  def own(definition, name)
    definition.methods.each do |method, found|
      yield method, found if found.public? && found.defs.any? { |one| one.implemented_in == name }
    end
  end

  def private?(object)
    until object.root?
      return true if object.tag(:api)&.text == 'private' || object.visibility == :private

      object = object.namespace
    end
    false
  end

  def mismatch(function, parameters)
    signed = shape_of(function)
    found = shape(parameters)
    differing = signed.keys.reject { |key| signed[key] == found[key] }
    return if differing.empty?

    differing.map { |key| "#{key}: #{signed[key].inspect} signed, #{found[key].inspect} in Ruby" }.join('; ')
  end

  def shape_of(function)
    { required: function.required_positionals.size + function.trailing_positionals.size,
      optional: function.optional_positionals.size, rest: !function.rest_positionals.nil?,
      keywords: function.required_keywords.keys.sort, options: function.optional_keywords.keys.sort,
      others: !function.rest_keywords.nil? }
  end

  def shape(parameters)
    kinds = parameters.group_by(&:first).transform_values { |list| list.map(&:last) }
    { required: kinds.fetch(:req, []).size, optional: kinds.fetch(:opt, []).size, rest: kinds.key?(:rest),
      keywords: kinds.fetch(:keyreq, []).sort, options: kinds.fetch(:key, []).sort, others: kinds.key?(:keyrest) }
  end
end
