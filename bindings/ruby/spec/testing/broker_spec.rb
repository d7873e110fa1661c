# frozen_string_literal: true

require 'pg'
require_relative '../support/test_broker'
require_relative '../support/without_broker'

RSpec.describe TaskerCore::Testing::Broker do
  include_context 'without a broker'

  def gone?(pid)
    Process.kill(0, pid)
    false
  rescue Errno::ESRCH
    true
  end

  def folder(broker) = broker.database_config[:host].delete_suffix('/data/run')

  # Polls, as long as an example may take.
  def eventually
    sleep(0.05) until yield
    true
  end

  it 'runs workflows, and lets the test look into its database' do
    broker = TestBroker.shared
    TaskerCore.client = broker.client
    worker = TaskerCore::Worker.new(broker: broker.work, workflows: [SpecWorkflows::Order], logger: Logger.new(nil))
    worker.start
    task = SpecWorkflows::Order.enqueue(id: 4)
    expect(task.wait(timeout: 20)).to eq('complete')
    expect(task.results[:reserve]).to eq('reserved' => 8, 'from' => 'north')
    worker.stop(timeout: 5)
    found = PG.connect(broker.database_url).exec_params('SELECT final_state FROM tasker.tasks WHERE task_id = $1',
                                                        [task.id])
    expect(found.values).to eq([['complete']])
    expect(broker.client.health_check).to have_attributes(version: /\d/)
    expect(broker.database_config).to include(adapter: 'postgresql', username: 'tasker', database: 'tasker')
  end

  it 'ends with its block, and leaves nothing' do
    pid = place = nil
    answer = TestBroker.start do |broker|
      pid = broker.pid
      place = folder(broker)
      expect(File).to exist(place)
      expect(broker).to be_running
      child = fork { broker.stop.then { exit!(0) } }
      Process.wait(child)
      expect(broker).to be_running
      broker.client.health_check.status
    end
    expect(answer).to be_a(String)
    expect(gone?(pid)).to be(true)
    expect(File).not_to exist(place)
  end

  it 'ends with the process that started it, even when that is killed' do
    reader, writer = IO.pipe
    script = <<~RUBY
      require 'tasker_core/testing'
      broker = TaskerCore::Testing::Broker.start(binary: ARGV[0])
      puts broker.pid, broker.database_config[:host].delete_suffix('/data/run')
      $stdout.flush
      Process.kill(:KILL, Process.pid)
    RUBY
    _, status = Process.wait2(Process.spawn(RbConfig.ruby, "-I#{File.expand_path('../../lib', __dir__)}", '-e', script,
                                            TestBroker::BINARY, out: writer))
    writer.close
    pid, place = reader.read.split("\n")
    expect(status.termsig).to eq(9)
    expect(eventually { gone?(pid.to_i) && !File.exist?(place) }).to be(true)
  end

  it 'says what is wrong with a binary' do
    expect { described_class.start(binary: '/no/such/tasker') }
      .to raise_error(TaskerCore::ConfigurationError, 'cannot start a broker: /no/such/tasker is no program')
    expect { TestBroker.start(arguments: ['--no-such-option']) }
      .to raise_error(TaskerCore::ConfigurationError, /it ended; the end of its log:\n.*--no-such-option/m)
    former = ENV.to_h.slice('PATH', described_class::VARIABLE)
    ENV.update('PATH' => '/var/empty', described_class::VARIABLE => nil)
    expect { described_class.start }
      .to raise_error(TaskerCore::ConfigurationError, /there is no tasker on the PATH; .* TASKER_BINARY/)
  ensure
    ENV.update(described_class::VARIABLE => nil, **former.to_h)
  end
end
