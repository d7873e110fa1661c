# frozen_string_literal: true

require 'tasker_core'
require 'stringio'
require_relative 'support/fake_broker'
require_relative 'support/wire'
require_relative 'support/attempts'
require_relative 'support/handlers'

RSpec.configure do |config|
  config.disable_monkey_patching!
  config.expect_with(:rspec) { |expectations| expectations.syntax = :expect }
  config.include Wire
  config.around do |example|
    # A test that waits for something that never comes fails here, with a backtrace. Programs take longer to start.
    Timeout.timeout(example.metadata[:seconds] || 30, &example)
  end
end
