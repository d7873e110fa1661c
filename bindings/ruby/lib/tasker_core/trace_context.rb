# frozen_string_literal: true

require 'securerandom'
require_relative 'execution/attempt'

module TaskerCore
  # Where in a distributed trace the present work belongs (W3C Trace Context): a task remembers the trace in which it
  # was submitted, and its steps run in it.
  #
  #     TaskerCore::TraceContext.with(request.headers['traceparent'], request.headers['tracestate']) do
  #       OrderFulfillment.enqueue(order_id: 42)
  #     end
  #
  #     TaskerCore::TraceContext.current&.headers # in a step, for the calls that it makes
  #
  # 1. Reads and makes `traceparent` and `tracestate`, and child spans of them.
  # 2. Knows the trace of the present work: that of OpenTelemetry, where it is loaded and set up, else what {.with} says
  #    in this fiber, else that of the task whose step this thread runs.
  #
  # Without OpenTelemetry no spans are recorded here, and so none is invented: steps see the broker's span of the
  # attempt, or the submitter's as it was, where the broker traces nothing.
  class TraceContext
    # Version, trace, span, flags; what later versions add comes after them.
    FORM = /\A(?<version>\h{2})-(?<trace>\h{32})-(?<span>\h{16})-(?<flags>\h{2})(?<more>-.*)?\z/
    # One vendor's entry: `key=value`, or `tenant@key=value`.
    MEMBER = %r{\A[a-z0-9][a-z0-9_\-*/@]{0,255}=[\x20-\x2b\x2d-\x3c\x3e-\x7e]{0,255}[\x21-\x2b\x2d-\x3c\x3e-\x7e]\z}
    # Most entries that a `tracestate` may have, as the standard says.
    MEMBERS_MAX = 32
    SAMPLED = 1
    CURRENT = :tasker_core_trace
    private_constant :FORM, :MEMBER, :MEMBERS_MAX, :SAMPLED, :CURRENT

    class << self
      # @param traceparent [String, nil] the header
      # @param tracestate [String, nil] the header; one that is not valid is left out
      # @return [TraceContext, nil] nil when the `traceparent` is not valid
      def parse(traceparent, tracestate = nil)
        match = FORM.match(traceparent.to_s.strip)
        return unless match && valid?(match)

        flags = match[:version] == '00' ? match[:flags] : format('%02x', match[:flags].hex & SAMPLED)
        new(match[:trace], match[:span], flags.hex, state(tracestate))
      end

      # Begins a trace of its own.
      # @param sampled [Boolean] whether those who take part are to record it
      # @return [TraceContext]
      def generate(sampled: true)
        new(random(16), random(8), sampled ? SAMPLED : 0, nil)
      end

      # @return [TraceContext, nil] the trace of the present work
      def current
        of_telemetry || Thread.current[CURRENT] || of_attempt
      end

      # Runs the block in a trace.
      #
      # @param traceparent [TraceContext, String, nil] the trace; nil, or one that is not valid, leaves the present one
      # @param tracestate [String, nil]
      # @return [Object] what the block returns
      def with(traceparent, tracestate = nil, &block)
        trace = traceparent.is_a?(TraceContext) ? traceparent : parse(traceparent, tracestate)
        return yield unless trace

        outer = Thread.current[CURRENT]
        begin
          Thread.current[CURRENT] = trace
          with_telemetry(trace, &block)
        ensure
          Thread.current[CURRENT] = outer
        end
      end

      # @api private
      # @return [String] of so many bytes, not all zero
      def random(bytes)
        text = SecureRandom.hex(bytes) until text&.match?(/[^0]/)
        text
      end

      private

      def valid?(match)
        return false if match[0].match?(/[A-F]/) || match[:version] == 'ff'
        return false if match[:version] == '00' && match[:more]

        [match[:trace], match[:span]].all? { |id| id.match?(/[^0]/) }
      end

      def state(text)
        members = text.to_s.split(',').map(&:strip).reject(&:empty?)
        return if members.empty? || members.size > MEMBERS_MAX || members.any? { |member| !MEMBER.match?(member) }

        members.join(',')
      end

      # Its API alone, without a setup, carries nothing.
      def telemetry? = defined?(::OpenTelemetry.propagation) ? true : false

      def of_telemetry
        return unless telemetry?

        carrier = {}
        ::OpenTelemetry.propagation.inject(carrier)
        parse(carrier['traceparent'], carrier['tracestate'])
      end

      def of_attempt
        attempt = Execution::Attempt.current
        attempt&.traceparent && parse(attempt.traceparent, attempt.task.tracestate)
      end

      def with_telemetry(trace, &block)
        return yield unless telemetry?

        context = ::OpenTelemetry.propagation.extract(trace.headers)
        ::OpenTelemetry::Context.with_current(context, &block)
      end
    end

    # @return [String] 32 hexadecimal digits
    attr_reader :trace_id
    # @return [String] 16 hexadecimal digits: the span that calls
    attr_reader :span_id
    # @return [Integer] bits; the lowest says whether the trace is recorded
    attr_reader :flags
    # @return [String, nil] what tracing systems pass on to themselves
    attr_reader :tracestate

    # @api private
    def initialize(trace_id, span_id, flags, tracestate)
      @trace_id = trace_id
      @span_id = span_id
      @flags = flags
      @tracestate = tracestate
      freeze
    end

    # @return [String] the header
    def traceparent = format('00-%<trace>s-%<span>s-%<flags>02x', trace: trace_id, span: span_id, flags: flags)

    # @return [Boolean] whether the trace is recorded
    def sampled? = flags.anybits?(SAMPLED)

    # @return [TraceContext] a new span in the same trace
    def child = TraceContext.new(trace_id, TraceContext.random(8), flags, tracestate)

    # @return [Hash{String=>String}] `traceparent` and, if there is one, `tracestate`
    def headers = { 'traceparent' => traceparent, 'tracestate' => tracestate }.compact

    def ==(other) = other.is_a?(TraceContext) && headers == other.headers
    alias eql? ==
    def hash = headers.hash

    # @return [String]
    def to_s = traceparent
    def inspect = "#<#{self.class.name} #{traceparent}>"
  end
end
