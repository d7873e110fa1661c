# frozen_string_literal: true

require 'json'
require 'tasker_core'
require_relative '../../../bindings/ruby/spec/support/fake_telemetry'

# What the gem's specs have for OpenTelemetry, which Debian does not ship, with its spans written to the file `SPANS`, a
# line of JSON each.
module WrittenSpans
  def in_span(name, **)
    span = nil
    super do |made, trace|
      span = made
      yield made, trace
    end
  ensure
    File.write(SPANS, "#{JSON.generate(line(span))}\n", mode: 'a') if span
  end

  private

  def line(span)
    { name: span.name, kind: span.kind, trace: span.trace.trace_id, span: span.trace.span_id,
      parent: span.parent&.span_id, sampled: span.trace.sampled?, step: span.attributes['tasker.step'],
      attempt: span.attributes['tasker.attempt'], error: span.status&.description }
  end
end

FakeTelemetry::Tracer.prepend(WrittenSpans)
OpenTelemetry = FakeTelemetry.build
