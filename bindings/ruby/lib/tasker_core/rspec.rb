# frozen_string_literal: true

require 'rspec/core'
require_relative 'testing/matchers'

# Matchers in every example; each begins without tasks, in fake mode unless its metadata say otherwise:
#
#     it 'ships', tasker: :inline do ... end
#     describe 'with a broker', tasker: :disabled do ... end
RSpec.configure do |config|
  config.include TaskerCore::Testing::Matchers

  config.before do |example|
    TaskerCore::Testing.clear
    mode = example.metadata.fetch(:tasker, :fake)
    case mode
    when :fake then TaskerCore::Testing.fake!
    when :inline then TaskerCore::Testing.inline!
    when :disabled then TaskerCore::Testing.disable!
    else raise ArgumentError, "tasker: #{mode.inspect} is none of :fake, :inline, :disabled"
    end
  end
end
