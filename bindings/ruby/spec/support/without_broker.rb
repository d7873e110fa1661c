# frozen_string_literal: true

require 'tasker_core/testing'
require_relative 'workflows'

RSpec.shared_context 'without a broker' do
  around do |example|
    former = TaskerCore.configuration.logger
    TaskerCore.configuration.logger = Logger.new(nil)
    example.run
  ensure
    TaskerCore.configuration.logger = former
    TaskerCore::Testing.disable!
    TaskerCore::Testing.clear
    TaskerCore.client = nil
  end
end
