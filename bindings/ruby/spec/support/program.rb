# frozen_string_literal: true

require 'open3'
require 'tmpdir'

# `tasker-worker` as a process of its own, with handlers that a test can see and hold up.
RSpec.shared_context 'with the program' do
  program = File.expand_path('../../exe/tasker-worker', __dir__)
  let(:folder) { Dir.mktmpdir('tasker-worker') }
  let(:broker) { FakeBroker.new }
  let(:environment) { {} }

  before do
    File.write(File.join(folder, 'flow.yaml'), <<~YAML)
      namespace_name: ns
      name: flow
      version: 1.0.0
      step_templates:
        - name: a
          handler_class: Waits
        - name: b
          handler_class: Missing::Handler
    YAML
    File.write(File.join(folder, 'handlers.rb'), <<~RUBY)
      class Waits
        def process(_task, _sequence, step)
          path = File.join(#{folder.dump}, step.name)
          File.write(path + '.started', Process.pid)
          File.mkfifo(path) unless File.exist?(path)
          File.read(path) # until the test writes
        ensure
          File.write(path + '.ended', step.cancelled?)
        end
      end

      class Endless < Waits
        def process(*) = Thread.handle_interrupt(Object => :never) { super }
      end

      class Asks
        def call(*) = ($client ||= TaskerCore::Client.new(broker: #{broker.endpoint.dump})).health_check.status
      end

      class Heap
        def call(*) = [GC.stat(:heap_available_slots), GC.disable]
      end

      class WhoAmI
        def call(*) = Process.pid
      end

      class Grows
        def call(*) = ($held ||= 'x' * 200_000_000).size
      end

      # Computes without pause until the test lets it end.
      class Spins
        def process(_task, _sequence, step)
          path = File.join(#{folder.dump}, step.name)
          File.write(path + '.started', Process.pid)
          100_000.times { |n| n * n } until File.exist?(path)
        end
      end

      class Far
        def process(_task, sequence, _step) = sequence.get_results('root')[:n] + 1
      end

      class Environment
        def call(*) = ENV.values_at('TASKER_ENV', 'RAILS_ENV')
      end
    RUBY
  end

  after do
    if @process
      begin
        Process.kill('KILL', @process.pid) if @process.alive?
      rescue Errno::ESRCH
        nil # it has just ended
      end
      @process.join
      # Children hold the output open until they have ended.
      @reader.join(10)
    end
    broker.stop
    FileUtils.remove_entry(folder)
  end

  def launch(*arguments)
    _, output, @process = Open3.popen2e(environment, RbConfig.ruby, exe, '-b', broker.endpoint, '-r', folder,
                                        '-T', folder, *arguments)
    @log = Thread::Queue.new
    @reader = Thread.new { output.each_line { |line| @log << line } }
  end

  define_method(:exe) { program }

  def run(*arguments)
    output, status = Open3.capture2e(RbConfig.ruby, exe, *arguments)
    [output, status.exitstatus]
  end

  def log_until(text)
    lines = []
    lines << @log.pop until lines.last&.include?(text)
    lines.join
  end

  def start(*arguments)
    launch(*arguments)
    request, @registration = broker.register
    @identity = request.identity
    log_until('is registered')
    request
  end

  def execute(steps)
    broker.send(@identity, 'ExecuteBatch', batch(@registration, steps))
  end

  def unregistered
    broker.send(@identity, 'WorkerUnregistered', 'correlation_id' => uuid, 'registration_id' => @registration,
                                                 'steps_returned' => 0)
  end

  def in_folder(name) = File.join(folder, name)

  # What a handler has written.
  def written(name)
    Thread.pass until File.size?(in_folder(name))
    File.read(in_folder(name))
  end

  # Opening a FIFO for writing waits until the handler reads it.
  def started(name)
    path = File.join(folder, name)
    Thread.pass until File.exist?(path)
    # Kept, so that it is not closed while the handler is to go on.
    (@writers ||= []) << File.open(path, 'w')
    @writers.last
  end
end
