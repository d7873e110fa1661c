#!/usr/bin/env ruby
# frozen_string_literal: true

# What a step costs a worker: plays the broker to one `tasker-worker`, feeds it tasks of four small steps in a row, and
# counts the CPU that its process takes. No broker, no database.
#
#     bench/worker.rb                            # 40,000 steps, 100 at once
#     bench/worker.rb --steps 4000 --at-once 1   # one step at a time, as a lone chain has them
#     bench/worker.rb --at-once 10 --processes 1 # in forked processes, whose CPU counts as well
#     RUBYOPT=--yjit bench/worker.rb
#
# The machine's other work shows in the figures: compare two versions in turn, several times, in one sitting.

$LOAD_PATH.unshift(File.expand_path('../lib', __dir__))
require 'optparse'
require 'tasker_core'

# Tasks of four steps, of which each squares the result of the one before.
class Chains
  STEPS = %w[linear_step_1 linear_step_2 linear_step_3 linear_step_4].freeze
  Chain = Struct.new(:task_id, :done, :result)

  attr_reader :finished

  def initialize(count)
    @ready = Array.new(count) { Chain.new(SecureRandom.uuid, 0, nil) }
    @open = {}
    @finished = 0
  end

  # @return [Hash] tasks and steps of an `ExecuteBatch`
  def take(count)
    chains = @ready.shift(count)
    chains.each { |chain| @open[chain.task_id] = chain }
    { 'tasks' => chains.map { |chain| task(chain) },
      'steps' => chains.each_with_index.map { |chain, index| step(chain, index) } }
  end

  def ended(outcome)
    raise "a step failed: #{outcome}" unless outcome['status'] == 'complete'

    chain = @open.delete(outcome['task_id'])
    chain.done += 1
    chain.result = outcome['result']
    @finished += 1
    @ready << chain if chain.done < STEPS.size
  end

  private

  def parents(chain) = STEPS[0...chain.done].last(1)

  def task(chain)
    { 'task_id' => chain.task_id, 'namespace' => 'linear_workflow', 'name' => 'mathematical_sequence',
      'version' => '1.0.0', 'context' => '{"even_number":2}', 'tags' => [], 'priority' => 0,
      'results' => parents(chain).map { |name| { 'step' => name, 'result' => chain.result } } }
  end

  def step(chain, index)
    { 'task' => index, 'name' => STEPS[chain.done], 'attempt' => 1, 'retry_limit' => 3, 'retryable' => true,
      'handler' => "LinearWorkflow::LinearStep#{chain.done + 1}Handler", 'timeout_seconds' => 30.0, 'inputs' => '{}',
      'parents' => parents(chain), 'custom_events' => [] }
  end
end

# The broker's side of the wire. What has come since the last time is answered together, as a commit would.
class Feeder
  EXAMPLES = File.expand_path('../../../examples', __dir__)
  PROGRAM = File.expand_path('../exe/tasker-worker', __dir__)
  WAIT_MS = 10_000
  SETTINGS = { 'heartbeat_ms' => 5000, 'worker_timeout_ms' => 30_000, 'payload_bytes_max' => 1_048_576,
               'message_bytes_max' => 16_777_216, 'unacknowledged_max' => 1000, 'closed_batches' => [],
               'templates' => [], 'epoch' => 1 }.freeze

  attr_reader :pid, :batches

  def initialize(at_once, processes)
    @socket = TaskerCore::ZMQ::Socket.new(:router, router_mandatory: 1)
    @socket.bind('tcp://127.0.0.1:*')
    @never = IO.pipe # a poller waits for a descriptor as well
    @poller = TaskerCore::ZMQ::Poller.new(@never.first)
    @free = at_once
    @batches = 0
    @id = SecureRandom.uuid
    @pid = spawn(PROGRAM, '-b', @socket.last_endpoint, '-r', EXAMPLES, '-T', EXAMPLES,
                 '-c', (at_once / [processes, 1].max).to_s, '-p', processes.to_s, '--log-level', 'warn')
    at_exit { Process.kill('KILL', @pid) unless @stopped }
    register
  end

  def feed(chains, steps)
    open = execute(chains, 0)
    until open.zero? && chains.finished == steps
      messages = [receive]
      while (more = receive(0))
        messages << more
      end
      messages.each { |message| open -= handle(message, chains) }
      open = execute(chains, open)
    end
  end

  # @return [Float] seconds of CPU that all threads of the worker and of its children have taken
  def cpu
    children = Dir["/proc/#{@pid}/task/*/children"].flat_map { |path| File.read(path).split }
    [@pid, *children].sum { |pid| Dir["/proc/#{pid}/task/*/schedstat"].sum { |path| File.read(path).to_i } } / 1e9
  end

  def stop
    Process.kill('TERM', @pid)
    message = receive until message&.type == 'UnregisterWorker'
    send('WorkerUnregistered', 'registration_id' => @id, 'correlation_id' => message.correlation_id,
                               'steps_returned' => 0)
    Process.wait(@pid)
    @stopped = true
  end

  private

  def register
    frames = wait(WAIT_MS)
    @identity = frames.first
    request = TaskerCore::Protocol.decode(*frames.last(2))
    send('WorkerRegistered', **SETTINGS, 'correlation_id' => request.correlation_id, 'registration_id' => @id,
                                         'broker_id' => @id)
  end

  def execute(chains, open)
    batch = chains.take(@free)
    return open if batch['steps'].empty?

    @free -= batch['steps'].size
    @batches += 1
    send('ExecuteBatch', **batch, 'batch_id' => SecureRandom.uuid, 'registration_id' => @id, 'deadline_ms' => 60_000)
    open + 1
  end

  # @return [Integer] batches that it closes
  def handle(message, chains)
    case message.type
    when 'ReportPartialResult'
      message['results'].each { |outcome| chains.ended(outcome) }
      @free += message['results'].size
      accept(message, message['results'].map { |row| row.slice('batch_id', 'task_id', 'step', 'attempt') }, [])
    when 'ReportBatchCompletion' then accept(message, [], [message['batch_id']])
    when 'WorkerHeartbeat'
      send('HeartbeatAcknowledged', 'correlation_id' => message.correlation_id, 'broker_id' => @id, 'epoch' => 1)
    end
    message.type == 'ReportBatchCompletion' ? 1 : 0
  end

  def accept(message, references, closed)
    send('ResultsAccepted', 'correlation_id' => message.correlation_id, 'closed_batches' => closed,
                            'results' => references.map { |row| { **row, 'disposition' => 'accepted' } })
  end

  def send(type, fields) = @socket.send_frames([@identity, *TaskerCore::Protocol.encode(type, fields)])

  def receive(timeout_ms = WAIT_MS)
    frames = wait(timeout_ms)
    raise 'the worker says nothing' unless frames || timeout_ms.zero?

    frames && TaskerCore::Protocol.decode(*frames.last(2))
  end

  def wait(timeout_ms)
    limit = TaskerCore::Clock.now + (timeout_ms / 1000.0)
    until (frames = @socket.receive)
      left_ms = [((limit - TaskerCore::Clock.now) * 1000).ceil, 0].max
      # A sign need not mean a message.
      @poller.wait([[@socket, false]], left_ms)
      return @socket.receive if left_ms.zero?
    end
    frames
  end
end

options = { steps: 40_000, 'at-once': 100, processes: 0 }
OptionParser.new do |parser|
  parser.on('--steps NUMBER', Integer, 'of small handlers, a multiple of 4')
  parser.on('--at-once NUMBER', Integer, 'steps that the worker has at a time')
  parser.on('--processes NUMBER', Integer, 'that the worker forks')
end.parse!(into: options)
steps = options[:steps]

feeder = Feeder.new(options[:'at-once'], options[:processes])
feeder.feed(Chains.new(1000), 4000) # handlers are loaded, and caches are warm
batches = feeder.batches
before = feeder.cpu
started = TaskerCore::Clock.now
feeder.feed(Chains.new(steps / 4), steps)
seconds = TaskerCore::Clock.now - started
cpu = feeder.cpu - before
feeder.stop
puts format('%<steps>d steps in batches of %<batch>.1f: %<cpu>.1f us of CPU a step; %<rate>d steps/s',
            steps: steps, batch: steps.to_f / (feeder.batches - batches), cpu: cpu * 1e6 / steps, rate: steps / seconds)
