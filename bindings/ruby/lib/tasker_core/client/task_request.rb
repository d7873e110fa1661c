# frozen_string_literal: true

require_relative '../errors'
require_relative '../indifferent_hash'
require_relative '../json_text'

module TaskerCore
  class Client
    # A request for one task, from the keywords that callers use to the fields that travel.
    #
    # @api private
    module TaskRequest
      FIELDS = %w[namespace name version context idempotency_key priority initiator source_system reason tags
                  bypass_steps run_at correlation_id options traceparent tracestate].freeze
      TEXTS = %w[namespace name version idempotency_key initiator source_system reason correlation_id traceparent
                 tracestate].freeze
      # Requests in one message, and bytes of context in it: the broker's limits are 1,000 and 16 MiB.
      SLICE_MAX = 1_000
      SLICE_BYTES = 8 * 1024 * 1024
      private_constant :TEXTS, :SLICE_MAX, :SLICE_BYTES

      module_function

      # @return [IndifferentHash] a request that a task handler may change
      # @raise [Errors::ValidationError] naming a field that does not exist
      def normalize(request)
        request = IndifferentHash.wrap(request.to_h).dup
        unknown = request.keys - FIELDS
        raise Errors::ValidationError.new(unknown_text(unknown), field: unknown.first) if unknown.any?

        request['context'] ||= {}
        request
      end

      # @return [Hash{String=>Object}] a `TaskRequest` as it travels
      def encode(request)
        request = normalize(request)
        fields = request.slice(*TEXTS).compact.to_hash.transform_values(&:to_s)
        fields['context'] = json_object(request, 'context')
        fields['options'] = json_object(request, 'options') if request['options']
        fields['priority'] = integer(request['priority'], 'priority') if request['priority']
        fields['run_at_ms'] = run_at(request['run_at']) if request['run_at']
        %w[tags bypass_steps].each { |key| fields[key] = Array(request[key]).map(&:to_s) if request[key] }
        fields
      end

      # @param tasks [Array<Hash>] encoded requests
      # @return [Enumerable<Array<Hash>>] what goes together in one message
      def slices(tasks)
        bytes = count = 0
        tasks.slice_when do |task, following|
          bytes += task['context'].bytesize
          count += 1
          full = count == SLICE_MAX || bytes + following['context'].bytesize > SLICE_BYTES
          bytes = count = 0 if full
          full
        end
      end

      def json_object(request, key)
        return JsonText.dump(request[key], place: key) if request[key].is_a?(Hash)

        raise Errors::ValidationError.new("#{key} has to be a Hash, not a #{request[key].class}", field: key)
      end

      def integer(value, field)
        Integer(value)
      rescue ArgumentError, TypeError
        raise Errors::ValidationError.new("#{field} has to be a whole number, not #{value.inspect}", field: field)
      end

      def run_at(value)
        return (value.to_r * 1000).floor if value.is_a?(Time)

        integer(value, 'run_at')
      end

      def unknown_text(names)
        "a task request has no #{names.join(', ')} (it has #{FIELDS.join(', ')})"
      end

      private_class_method :json_object, :integer, :run_at, :unknown_text
    end
  end
end
