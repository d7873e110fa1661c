# frozen_string_literal: true

require 'tasker_core/testing'

# The broker that `cargo build --bin tasker` makes, one for all examples that need a real one.
module TestBroker
  BUILT = File.expand_path('../../../../target/debug/tasker', __dir__)
  BINARY = ENV.fetch(TaskerCore::Testing::Broker::VARIABLE, BUILT)

  class << self
    # @return [TaskerCore::Testing::Broker] ends with this process
    def shared = @shared ||= start
    def start(**options, &block) = TaskerCore::Testing::Broker.start(binary: BINARY, **options, &block)
  end
end
