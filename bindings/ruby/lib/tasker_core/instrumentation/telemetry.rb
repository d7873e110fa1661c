# frozen_string_literal: true

require_relative '../trace_context'
require_relative '../version'

module TaskerCore
  module Instrumentation
    # Spans of OpenTelemetry: one for each request, and one for each attempt of a step, in the trace of the request and,
    # where the broker traces, below its span of the attempt.
    #
    # @api private
    module Telemetry
      module_function

      def loaded? = defined?(::OpenTelemetry.tracer_provider) ? true : false

      def perform(job, &block)
        task = job.task
        attributes = { 'messaging.operation' => 'process', 'tasker.task_id' => task.task_id,
                       'tasker.step' => job.step.name, 'tasker.attempt' => job.step.attempt }
        TraceContext.with(job.attempt.traceparent, task.tracestate) do
          span("#{task.template} #{job.step.name}", :consumer, task.template, attributes) do |span|
            outcome = block.call
            fail(span, job.attempt.error) if outcome.key?('error') && !job.stopped
          end
        end
      end

      def enqueue(request)
        fields = IndifferentHash.wrap(request)
        template = [fields.values_at(:namespace, :name).join('/'), fields[:version]].compact.join('@')
        span("#{template} enqueue", :producer, template, { 'messaging.operation' => 'publish' }) do |span|
          outcome = yield or next
          span.set_attribute('tasker.task_id', outcome.task_id) if outcome.task_id
          fail(span, outcome.error) if outcome.error
        end
      end

      def span(name, kind, template, attributes, &block)
        tracer = ::OpenTelemetry.tracer_provider.tracer('tasker_core', VERSION)
        common = { 'messaging.system' => 'tasker_core', 'messaging.destination.name' => template }
        tracer.in_span(name, attributes: common.merge(attributes), kind: kind, &block)
      end

      # What the block of a span raises is noted by the library itself.
      def fail(span, error)
        span.record_exception(error)
        span.status = ::OpenTelemetry::Trace::Status.error(error.message)
      end

      private_class_method :span, :fail
    end
  end
end
