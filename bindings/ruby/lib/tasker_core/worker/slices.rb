# frozen_string_literal: true

module TaskerCore
  class Worker
    # Cuts outcomes into messages.
    #
    # @api private
    module Slices
      # Outcomes and bytes of payload in one message, at most; a larger outcome travels alone.
      RESULTS_MAX = 500
      BYTES_MAX = 1_048_576

      # @param jobs [Array<Job>] with outcomes
      # @return [Array<Array<Job>>]
      def self.of(jobs)
        bytes = 0
        jobs.each_with_object([]) do |job, slices|
          bytes += job.payload_bytes
          if slices.empty? || slices.last.size == RESULTS_MAX || bytes > BYTES_MAX
            slices << []
            bytes = job.payload_bytes
          end
          slices.last << job
        end
      end
    end
  end
end
