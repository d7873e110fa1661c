# frozen_string_literal: true

require_relative '../errors'

module TaskerCore
  module Testing
    # Makes the errors with which a broker refuses commands.
    #
    # @api private
    module Refusal
      # @param code [String] one of the protocol's error codes
      # @return [Errors::CommandRefusedError] of the class that fits the code
      def self.for(code, message, field: nil)
        Errors::CommandRefusedError.from({ 'code' => code, 'message' => message, 'field' => field }.compact)
      end
    end
  end
end
