# frozen_string_literal: true

# As much of OpenTelemetry's API as is used here, with the same signatures: contexts of a fiber, the W3C propagator, and
# spans that are kept in a list.
module FakeTelemetry
  Span = Struct.new(:name, :kind, :attributes, :trace, :parent, :errors, :status, keyword_init: true) do
    def set_attribute(key, value) = attributes[key] = value
    def record_exception(error, attributes: nil) = errors << [error, attributes].compact
  end

  Status = Struct.new(:code, :description) do
    def self.error(description = '') = new(:error, description)
  end

  class Context
    def self.current = Thread.current[:fake_telemetry]

    def self.with_current(context)
      outer = current
      Thread.current[:fake_telemetry] = context
      yield context
    ensure
      Thread.current[:fake_telemetry] = outer
    end
  end

  class Propagator
    def inject(carrier, context: Context.current)
      carrier.update(context.headers) if context
      nil
    end

    def extract(carrier, context: Context.current)
      TaskerCore::TraceContext.parse(carrier['traceparent'], carrier['tracestate']) || context
    end
  end

  class Tracer
    attr_reader :spans

    def initialize = @spans = []

    # Records what the block raises, as the library does.
    def in_span(name, attributes: nil, kind: nil)
      parent = Context.current
      trace = parent&.child || TaskerCore::TraceContext.generate
      spans << span = Span.new(name: name, kind: kind, attributes: attributes, trace: trace, parent: parent, errors: [])
      Context.with_current(trace) { yield span, trace }
    rescue Exception => e # rubocop:disable Lint/RescueException -- it is raised again
      span.record_exception(e)
      raise
    end
  end

  # @return [Module] to stand for `OpenTelemetry`
  def self.build
    tracer = Tracer.new
    Module.new do
      const_set(:Context, Context)
      const_set(:Trace, Module.new { const_set(:Status, Status) })
      define_singleton_method(:propagation) { @propagation ||= Propagator.new }
      define_singleton_method(:tracer_provider) { self }
      define_singleton_method(:tracer) { |_name, _version| tracer }
      define_singleton_method(:spans) { tracer.spans }
    end
  end
end
