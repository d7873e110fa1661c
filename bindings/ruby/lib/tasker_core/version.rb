# frozen_string_literal: true

module TaskerCore
  # Version of the gem; the broker shows it for each worker.
  VERSION = '0.1.0'
end
