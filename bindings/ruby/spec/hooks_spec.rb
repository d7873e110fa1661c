# frozen_string_literal: true

require_relative 'support/program'

# What the application hears of the life of its worker.
RSpec.describe 'hooks of tasker-worker' do
  include_context 'with the program'

  before do
    File.write(in_folder('hooks.rb'), <<~RUBY)
      note = ->(text) { File.write(#{in_folder('heard').dump}, "\#{text}\\n", mode: 'a') }
      TaskerCore.configure do |config|
        %i[startup fork heartbeat quiet shutdown].each do |event|
          config.on(event) { |worker| note.call("\#{event} \#{worker.name} \#{Process.pid}") }
        end
        config.on_error { |error, attempt| note.call("error \#{attempt.step.name} \#{error.class} \#{Process.pid}") }
        config.on_death { |error, attempt| note.call("death \#{attempt.step.name} \#{error.class} \#{Process.pid}") }
      end
      class Dies
        def call(*) = Process.kill('KILL', Process.pid)
      end
    RUBY
  end

  def heard = File.exist?(in_folder('heard')) ? File.readlines(in_folder('heard'), chomp: true) : []

  def hear(line)
    Thread.pass until heard.include?(line)
  end

  def stop
    Process.kill('TERM', @process.pid)
    broker.expect('UnregisterWorker')
    unregistered
    expect(@process.value.exitstatus).to eq(0)
  end

  def start_with_heartbeats(*arguments)
    launch('--name', 'w1', *arguments)
    request, @registration = broker.register(heartbeat_ms: 20)
    @identity = request.identity
    @mine = "w1 #{@process.pid}"
    hear("heartbeat #{@mine}")
  end

  it 'tell of its start, its heartbeats, and its end' do
    start_with_heartbeats
    expect(heard.uniq).to eq(["startup #{@mine}", "heartbeat #{@mine}"])
    stop
    expect(heard.uniq).to eq(%w[startup heartbeat quiet shutdown].map { |event| "#{event} #{@mine}" })
  end

  it 'tell that it takes no more steps' do
    start_with_heartbeats
    Process.kill('TSTP', @process.pid)
    hear("quiet #{@mine}")
    expect(heard).not_to include("shutdown #{@mine}")
  end

  it 'tell that once, and the broker too, when the worker is quiet before it stops' do
    start_with_heartbeats
    Process.kill('TSTP', @process.pid)
    broker.expect('UnregisterWorker')
    unregistered
    hear("quiet #{@mine}")
    Process.kill('TERM', @process.pid)
    expect(@process.value.exitstatus).to eq(0)
    expect(heard.grep(/\Aquiet/).size).to eq(1)
    expect(broker.waiting('UnregisterWorker')).to be_empty
  end

  it 'run in forked processes as well when these begin and end' do
    start_with_heartbeats('-p', '2')
    Thread.pass until heard.grep(/\Afork/).size == 2
    children = heard.grep(/\Afork w1/).map { |line| line[/\d+\z/] }
    expect(children).not_to include(@process.pid.to_s)
    stop
    expect(heard.grep(/\Ashutdown/)).to match_array([@process.pid, *children].map { |pid| "shutdown w1 #{pid}" })
    expect(heard.grep(/\A(startup|quiet)/)).to eq(["startup #{@mine}", "quiet #{@mine}"])
  end

  it 'tell of a step whose process died' do
    start('-p', '1')
    execute({ 'a' => { handler: 'Dies', retry_limit: 1 } })
    hear("death a TaskerCore::Errors::ProcessDiedError #{@process.pid}")
    expect(heard).to include("error a TaskerCore::Errors::ProcessDiedError #{@process.pid}")
  end
end
