# frozen_string_literal: true

require 'open3'
require_relative 'support/test_broker'

# A supervisor and its children with the real broker.
RSpec.describe 'tasker-worker with processes and a real broker' do
  program = File.expand_path('../exe/tasker-worker', __dir__)
  let(:folder) { Dir.mktmpdir('tasker-worker') }
  let(:namespace) { "n#{SecureRandom.hex(4)}" }
  let(:client) { TaskerCore::Client.new(broker: TestBroker.shared.work) }

  before do
    File.write(File.join(folder, 'flow.yaml'), <<~YAML)
      namespace_name: #{namespace}
      name: flow
      version: 1.0.0
      step_templates:
        - name: wait
          handler_class: Waits
    YAML
    File.write(File.join(folder, 'handlers.rb'), <<~RUBY)
      class Waits
        def process(task, _sequence, step)
          File.write(File.join(#{folder.dump}, "\#{task.context[:n]}.\#{step.attempt}"), Process.pid)
          gate = File.join(#{folder.dump}, task.context[:gate])
          sleep(0.01) until File.exist?(gate)
          Process.pid
        end
      end
    RUBY
    @workers = []
  end

  after do
    @workers.each do |thread|
      Process.kill('KILL', thread.pid) if thread.alive?
      thread.join
    end
    client.close
    FileUtils.remove_entry(folder)
  end

  define_method(:launch) do |*arguments|
    _, output, thread = Open3.popen2e(RbConfig.ruby, program, '-b', TestBroker.shared.work, '-r', folder, '-T', folder,
                                      *arguments)
    @workers << thread
    output.each_line { |line| break if line.include?('is registered') }
    Thread.new { output.each_line { |line| line } }
    thread
  end

  def submit(count, gate)
    requests = Array.new(count) do |n|
      { namespace: namespace, name: 'flow', context: { n: "#{gate}-#{n}", gate: gate } }
    end
    client.initialize_tasks(requests).map(&:task_id)
  end

  def open_gate(gate) = File.write(File.join(folder, gate), '')

  # The process that runs it.
  def started(name)
    path = File.join(folder, name)
    Thread.pass until File.size?(path)
    File.read(path).to_i
  end

  def steps(ids)
    ids.map do |id|
      expect(client.wait_for_task(id, timeout: 20).state).to eq('complete')
      client.task_status(id, results: ['wait']).step('wait')
    end
  end

  it 'runs the steps of a child that was killed elsewhere, while the others go on' do
    launch('-p', '2', '-c', '2')
    ids = submit(4, 'open')
    pids = Array.new(4) { |n| started("open-#{n}.1") }
    dead = pids.first
    Process.kill('KILL', dead)
    others = pids.each_index.select { |n| pids[n] == dead }.map { |n| started("open-#{n}.2") }
    expect(others).not_to include(dead)
    open_gate('open')
    expect(steps(ids).map(&:attempts)).to eq(pids.map { |pid| pid == dead ? 2 : 1 })
  end

  it 'stops during 50 steps: what ends in time is reported, the rest goes back, and no attempt is used' do
    worker = launch('-p', '5', '-c', '10', '-t', '3')
    quick = submit(25, 'quick')
    slow = submit(25, 'slow')
    %w[quick slow].each { |gate| 25.times { |n| started("#{gate}-#{n}.1") } }
    Process.kill('TERM', worker.pid)
    open_gate('quick')
    expect(worker.value.exitstatus).to eq(4)
    expect(steps(quick).map(&:attempts)).to eq([1] * 25)

    25.times { |n| File.delete(File.join(folder, "slow-#{n}.1")) }
    launch('-p', '5', '-c', '10')
    open_gate('slow')
    expect(steps(slow).map(&:attempts)).to eq([1] * 25)
    25.times { |n| expect(started("slow-#{n}.1")).to be_positive }
  end
end
