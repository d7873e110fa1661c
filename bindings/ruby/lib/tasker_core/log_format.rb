# frozen_string_literal: true

require 'json'
require 'logger'
require 'time'
require_relative 'errors'
require_relative 'execution/attempt'

module TaskerCore
  # How lines of the log look. What is written while a step runs says which one that is.
  module LogFormat
    # @param name [Symbol, String] `text` or `json`
    # @param tagged [Boolean] whether it is for a logger with tags of its own, `ActiveSupport::TaggedLogging`
    # @return [Logger::Formatter]
    # @raise [Errors::ConfigurationError]
    def self.for(name, tagged: false)
      kind = { 'text' => Text, 'json' => Json }[name.to_s]
      raise Errors::ConfigurationError, "there is no log format #{name.inspect} (only text and json)" unless kind

      formatter = kind.new
      formatter.extend(::ActiveSupport::TaggedLogging::Formatter) if tagged
      formatter.extend(Whole) if tagged && kind == Json
      formatter
    end

    # @api private
    # @param attempt [Execution::Attempt]
    # @return [Hash{Symbol=>Object}] what tells it from others
    def self.tags(attempt)
      task = attempt.task
      { task_id: task.task_id, template: "#{task.namespace}/#{task.name}", step: attempt.step.name,
        attempt: attempt.step.attempt, traceparent: attempt.traceparent }.compact
    end

    # @api private
    # @param attempt [Execution::Attempt]
    # @return [String] the same in words
    def self.text(attempt)
      tags(attempt).map { |name, value| "#{name == :task_id ? 'task' : name}=#{value}" }.join(' ')
    end

    # The same for loggers with tags of their own: one tag, whose text is made when a line is written.
    #
    # @api private
    class Tag
      # @param job [Worker::Job]
      def initialize(job)
        @job = job
      end

      def to_s = LogFormat.text(@job.attempt)
    end

    # Formatters that know by themselves which step runs.
    #
    # @api private
    module Tagging; end

    # Keeps such tags out of messages, which need not be texts.
    #
    # @api private
    module Whole
      # @return [String]
      def call(*arguments) = self.class.instance_method(:call).bind_call(self, *arguments)
    end

    # For people: as Ruby writes it, with `task=... template=... step=... attempt=...` before the message.
    class Text < Logger::Formatter
      include Tagging

      # @return [String]
      def call(severity, time, progname, message)
        attempt = Execution::Attempt.current
        message = "#{LogFormat.text(attempt)} #{msg2str(message)}" if attempt
        super
      end
    end

    # For machines: an object a line, with the keys that the broker uses: `timestamp`, `level`, `message` and `target`;
    # `task_id`, `template`, `step`, `attempt`, `traceparent` while a step runs; `error` with `class`, `message` and
    # `backtrace` for an exception; `tags` of `ActiveSupport::TaggedLogging`. A message that is a Hash gives its keys to
    # the line.
    class Json < Logger::Formatter
      include Tagging

      # @return [String]
      def call(severity, time, progname, message)
        attempt = Execution::Attempt.current
        line = { timestamp: time.utc.iso8601(6), level: severity, target: progname, pid: Process.pid }.compact
        line.update(LogFormat.tags(attempt)) if attempt
        line[:tags] = current_tags.dup if respond_to?(:current_tags) && current_tags.any?
        "#{JSON.generate(text(line.merge(fields(message))))}\n"
      end

      private

      def fields(message)
        case message
        when Hash then message.transform_keys(&:to_sym)
        when Exception
          { message: message.message, error: { class: message.class.name, message: message.message,
                                               backtrace: message.backtrace }.compact }
        else { message: message.is_a?(String) ? message : message.inspect }
        end
      end

      # A line must not fail: not for bytes that are no text, numbers that JSON has not, and whatever else is in a Hash.
      def text(value)
        case value
        when Hash then value.to_h { |key, inner| [key.to_s, text(inner)] }
        when Array then value.map { |inner| text(inner) }
        when Integer, true, false, nil then value
        when Float then value.finite? ? value : value.to_s
        else value.to_s.encode(Encoding::UTF_8, invalid: :replace, undef: :replace).scrub
        end
      end
    end
  end
end
