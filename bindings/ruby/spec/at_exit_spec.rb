# frozen_string_literal: true

require 'open3'
require 'rbconfig'

RSpec.describe TaskerCore::AtExit do
  # Hooks run in reverse order: the one that looks was registered first.
  def leave_open(setup = '')
    script = <<~RUBY
      at_exit { print Thread.list.size, ' ', TaskerCore::ZMQ.instance_variable_get(:@context).inspect }
      require 'tasker_core'
      #{setup}
      client = TaskerCore::Client.new(broker: 'tcp://127.0.0.1:1')
      begin
        client.health_check(timeout: 0.01)
      rescue TaskerCore::Errors::RequestTimeoutError
        nil
      end
    RUBY
    library = File.expand_path('../lib', __dir__)
    Open3.capture2e(RbConfig.ruby, '-I', library, '-e', script)
  end

  it 'closes a client that was left open before the process ends' do
    output, status = leave_open
    expect([output, status.exitstatus]).to eq(['1 nil', 0])
  end

  it 'does so in a forked child too' do
    output, status = leave_open('pid = fork; (Process.wait(pid); exit!(0)) if pid')
    expect([output, status.exitstatus]).to eq(['1 nil', 0])
  end
end
