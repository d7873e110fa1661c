# frozen_string_literal: true

require_relative 'support/program'

# `tasker-worker -p N`: a supervisor that talks to the broker, and children that run handlers.
RSpec.describe 'tasker-worker with processes' do
  include_context 'with the program'

  # The system may leave some out while others come and go.
  def children
    list = lambda {
      Dir["/proc/#{@process.pid}/task/*/children"].flat_map do |path|
        File.read(path).split.map(&:to_i)
      end.sort
    }
    loop do
      seen = list.call
      return seen if seen == list.call
    end
  end

  def wait_for(seconds: 10)
    Timeout.timeout(seconds) { Thread.pass until yield }
  end

  def gone?(pid)
    File.read("/proc/#{pid}/stat")[/\) (\w)/, 1] == 'Z'
  rescue Errno::ENOENT
    true
  end

  def results = broker.expect('ReportPartialResult')['results']

  def result_of(handler, **options)
    broker.send(@identity, 'ExecuteBatch', batch(@registration, { 'one' => { handler: } }, **options))
    results.first
  end

  it 'is one worker to the broker, and runs the handlers in its children' do
    request = start('-p', '2', '-c', '3', '--name', 'w1')
    expect(request.fields).to include('name' => 'w1', 'concurrency' => 6, 'pid' => @process.pid)
    expect(children.size).to eq(2)
    execute(%w[a b].to_h { |name| [name, { handler: 'Waits' }] })
    writers = %w[a b].map { |name| started(name) }
    expect(%w[a b].map { |name| written("#{name}.started").to_i }).to match_array(children)
    writers.each(&:close)
    broker.expect('ReportBatchCompletion')
  end

  it 'starts as many handlers at once as its processes have threads, and the next when one ends' do
    start('-p', '2', '-c', '2')
    execute(%w[a b c d e].to_h { |name| [name, { handler: 'Waits' }] })
    writers = %w[a b c d].map { |name| started(name) }
    expect(File).not_to exist(in_folder('e.started'))
    writers.pop.close
    expect(results.first).to include('step' => 'd')
    started('e').close
    writers.each(&:close)
    broker.expect('ReportBatchCompletion')
  end

  it 'asks the broker for results further back' do
    start('-p', '1')
    execute({ 'a' => { handler: 'Far' } })
    broker.reply(broker.expect('TaskStatus'), 'TaskStatusReport',
                 'steps' => [{ 'name' => 'root', 'result' => '{"n":41}' }])
    expect(results.first).to include('result' => '42')
    execute({ 'a' => { handler: 'Far' } })
    broker.reply(broker.expect('TaskStatus'), 'TaskStatusReport', 'steps' => [{ 'name' => 'rot' }])
    expect(results.first['error']).to include('class' => 'TaskerCore::Errors::NotFoundError', 'retryable' => false,
                                              'message' => include('root does not exist (steps: rot)'))
  end

  it 'passes on how far a step is' do
    File.write(in_folder('tells.rb'), <<~RUBY)
      class Tells < Waits
        def process(_task, _sequence, step)
          step.report_progress({ 'done' => 3 })
          super
        end
      end
    RUBY
    launch('-p', '1')
    request, @registration = broker.register(progress_bytes_max: 1000)
    @identity = request.identity
    execute({ 'a' => { handler: 'Tells' } })
    expect(broker.expect('ReportProgress').fields).to include('step' => 'a', 'attempt' => 1, 'progress' => '{"done":3}')
  end

  it 'sends heartbeats on time while all handlers compute' do
    broker.stop
    heartbeats = FakeBroker.new(heartbeats: :kept)
    launch('-b', heartbeats.endpoint, '-p', '1', '-c', '10')
    request, id = heartbeats.register(heartbeat_ms: 1000)
    steps = Array.new(10) { |index| "spin#{index}" }
    heartbeats.send(request.identity, 'ExecuteBatch', batch(id, steps.to_h { |name| [name, { handler: 'Spins' }] }))
    steps.each { |name| written("#{name}.started") }
    busy = 0
    until busy == 4
      beat = heartbeats.expect('WorkerHeartbeat')
      heartbeats.reply(beat, 'HeartbeatAcknowledged', 'broker_id' => uuid, 'epoch' => 1)
      busy += 1 if beat['in_flight'] == 10
    end
    # Silence of three heartbeats, in either direction, would have renewed the registration.
    expect(heartbeats.waiting('RegisterWorker')).to be_empty
    steps.each { |name| File.write(in_folder(name), '') }
    heartbeats.expect('ReportBatchCompletion')
  ensure
    heartbeats&.stop
  end

  describe 'when a child dies' do
    it 'reports what ran there, and has another child in its place' do
      start('-p', '1', '-c', '2')
      execute({ 'a' => { handler: 'Waits' } })
      started('a')
      dead = children.first
      Process.kill('KILL', dead)
      error = results.first['error']
      expect(error).to include('class' => 'TaskerCore::Errors::ProcessDiedError', 'retryable' => true,
                               'retry_after' => '0',
                               'message' => include("process #{dead} ended: by signal 9 (SIGKILL)"))
      another = result_of('WhoAmI')['result'].to_i
      expect(children).to eq([another])
      expect(another).not_to eq(dead)
    end

    it 'gives back what had not started there, which uses no attempt' do
      start('-p', '1', '-c', '2')
      wait_for { children.any? }
      expect(result_of('WhoAmI')['status']).to eq('complete')
      child = children.first
      Process.kill('STOP', child)
      execute({ 'a' => { handler: 'Waits' } })
      # The supervisor says so when it has handed the step to the child.
      told = ''
      until told.include?('running: a of')
        Process.kill('TTIN', @process.pid)
        told = log_until("process #{@process.pid}, running: ")
      end
      Process.kill('KILL', child)
      expect(broker.expect('ReturnSteps')['steps']).to match([include('step' => 'a', 'attempt' => 1)])
      expect(broker.waiting('ReportPartialResult')).to be_empty
    ensure
      Process.kill('KILL', child) unless gone?(child)
    end

    it 'says how a handler has ended it' do
      File.write(in_folder('exits.rb'), "class Exits\n  def call(*) = exit!(7)\nend\n")
      start('-p', '2', '-c', '1')
      2.times { expect(result_of('Exits')['error']['message']).to include('with exit status 7') }
    end

    it 'gives up when none lives through its start' do
      File.write(in_folder('dies.rb'), <<~RUBY)
        Process.singleton_class.prepend(Module.new { def _fork = super.tap { |pid| exit!(9) if pid.zero? } })
      RUBY
      launch('-p', '2')
      request, id = broker.register
      broker.send(request.identity, 'ExecuteBatch', batch(id, { 'a' => { handler: 'WhoAmI' } }))
      expect(broker.expect('ReturnSteps', seconds: 20)['steps']).to match([include('step' => 'a')])
      left = broker.expect('UnregisterWorker')
      broker.reply(left, 'WorkerUnregistered', 'registration_id' => id, 'steps_returned' => 0)
      expect(@process.value.exitstatus).to eq(1)
      expect(log_until('processes have ended as they started')).to include('exit status 9')
    end
  end

  describe 'stopping steps' do
    def cancel(fields, reason)
      reference = { 'batch_id' => fields['batch_id'], 'task_id' => fields['tasks'][0]['task_id'], 'step' => 'a',
                    'attempt' => 1 }
      broker.send(@identity, 'CancelSteps', 'steps' => [reference], 'reason' => reason)
    end

    it 'reaches the handler, as a hint or as an interrupt' do
      start('-p', '2')
      fields = batch(@registration, { 'a' => { handler: 'Waits' }, 'b' => { handler: 'Waits' } })
      broker.send(@identity, 'ExecuteBatch', fields)
      started('a')
      other = started('b')
      cancel(fields, 'cancelled')
      cancel(fields, 'timeout')
      expect(results.first).to include('step' => 'a', 'error' => include('class' => 'TaskerCore::Errors::TimeoutError',
                                                                         'message' => include('30.0 s')))
      expect(written('a.ended')).to eq('true')
      other.close
      expect(results.first).to include('step' => 'b', 'status' => 'complete')
      expect(written('b.ended')).to eq('false')
    end
  end

  describe 'when it is stopped' do
    it 'lets handlers finish, although the signal comes to the whole group' do
      start('-p', '2', '-c', '1')
      execute(%w[a b c].to_h { |name| [name, { handler: 'Waits' }] })
      writers = %w[a b].map { |name| started(name) }
      [@process.pid, *children].each { |pid| Process.kill('TERM', pid) }
      expect(broker.expect('ReturnSteps')['steps']).to match([include('step' => 'c')])
      expect(broker.expect('UnregisterWorker')['drain']).to be(true)
      writers.each { |writer| writer << 'done' and writer.close }
      rows = results
      rows += results until rows.size == 2
      expect(rows.map { |row| row['result'] }).to eq(['"done"'] * 2)
      unregistered
      expect(@process.value.exitstatus).to eq(0)
    end

    it 'interrupts what runs when the time is up, and gives it back' do
      start('-p', '2', '-t', '0.1')
      execute(%w[a b].to_h { |name| [name, { handler: 'Waits' }] })
      %w[a b].each { |name| started(name) }
      Process.kill('INT', @process.pid)
      steps = broker.expect('ReturnSteps')['steps']
      steps += broker.expect('ReturnSteps')['steps'] until steps.size == 2
      expect(steps.map { |row| row.slice('step', 'attempt') })
        .to contain_exactly({ 'step' => 'a', 'attempt' => 1 }, { 'step' => 'b', 'attempt' => 1 })
      unregistered
      expect(@process.value.exitstatus).to eq(4)
      expect(broker.waiting('ReportPartialResult')).to be_empty
    end

    it 'kills children that cannot be interrupted, and leaves their steps to the broker' do
      start('-p', '2', '-t', '0')
      execute({ 'a' => { handler: 'Endless' } })
      started('a')
      before = children
      Process.kill('TERM', @process.pid)
      expect(Array.new(2) { broker.expect('UnregisterWorker')['drain'] }).to eq([true, false])
      unregistered
      expect(Timeout.timeout(20) { @process.value }.exitstatus).to eq(4)
      expect(before).to all(satisfy { |pid| gone?(pid) })
      expect(broker.waiting('ReportPartialResult')).to be_empty
    end

    it 'does not wait for a child that does not end' do
      start('-p', '2')
      wait_for { children.size == 2 && result_of('WhoAmI')['status'] == 'complete' }
      before = children
      before.each { |pid| Process.kill('STOP', pid) }
      Process.kill('TERM', @process.pid)
      broker.expect('UnregisterWorker')
      unregistered
      expect(@process.value.exitstatus).to eq(0)
      expect(before).to all(satisfy { |pid| gone?(pid) })
    ensure
      before.reject { |pid| gone?(pid) }.each { |pid| Process.kill('KILL', pid) }
    end

    it 'leaves no child behind when it ends at once' do
      start('-p', '2')
      execute({ 'a' => { handler: 'Waits' } })
      started('a')
      before = children
      Process.kill('TERM', @process.pid)
      broker.expect('UnregisterWorker')
      Process.kill('TERM', @process.pid)
      expect(@process.value.exitstatus).to eq(143)
      wait_for { before.all? { |pid| gone?(pid) } }
      expect(written('a.ended')).to eq('false')
    end

    it 'leaves no child behind when it is killed' do
      start('-p', '3')
      execute({ 'a' => { handler: 'Waits' } })
      started('a')
      before = children
      expect(before.size).to eq(3)
      # One that came later knows the others, and may not be able to end.
      Process.kill('KILL', (before - [written('a.started').to_i]).first)
      newest = nil
      wait_for { newest = (children - before).first }
      wait_for { File.read("/proc/#{newest}/cmdline").include?('idle') }
      Process.kill('STOP', newest)
      others = before.reject { |pid| gone?(pid) }
      Process.kill('KILL', @process.pid)
      wait_for { others.all? { |pid| gone?(pid) } }
      expect(written('a.ended')).to eq('false')
      Process.kill('CONT', newest)
      wait_for { gone?(newest) }
    ensure
      Process.kill('KILL', newest) unless newest.nil? || gone?(newest)
    end
  end

  it 'takes no more work on TSTP, whoever gets it, and stays' do
    start('-p', '1', '-c', '1')
    execute({ 'a' => { handler: 'Waits' } })
    writer = started('a')
    [@process.pid, *children].each { |pid| Process.kill('TSTP', pid) }
    expect(broker.expect('UnregisterWorker').fields).to include('drain' => true, 'reason' => 'quiet')
    writer.close
    expect(results.first).to include('status' => 'complete')
    unregistered
    log_until('left the broker')
    expect(@process).to be_alive
    Process.kill('TERM', @process.pid)
    expect(@process.value.exitstatus).to eq(0)
  end

  it 'shows on TTIN what the threads of all processes do' do
    start('-p', '1')
    execute({ 'a' => { handler: 'Waits' } })
    started('a')
    Process.kill('TTIN', @process.pid)
    log = log_until('handlers.rb')
    expect(log).to include("process #{@process.pid}, running: a of")
      .and include("process #{children.first}, running: a of")
  end

  it 'replaces its children one after the other on USR2, each when it has finished' do
    start('-p', '2', '-c', '1')
    before = children
    execute({ 'a' => { handler: 'Waits' } })
    writer = started('a')
    Process.kill('USR2', @process.pid)
    wait_for { (children - before).size == 2 && (children & before) == [written('a.started').to_i] }
    writer << 'done'
    writer.close
    expect(results.first).to include('result' => '"done"')
    wait_for { (children & before).empty? }
    expect(children.size).to eq(2)
  end

  it 'replaces a child that was given enough steps' do
    start('-p', '1', '--max-steps', '2')
    pids = Array.new(5) { result_of('WhoAmI')['result'].to_i }
    expect(pids.slice_when { |one, next_one| one != next_one }.map(&:size)).to eq([2, 2, 1])
  end

  it 'replaces a child that has grown too large, and lets it finish' do
    start('-p', '1', '--max-memory', '150')
    execute({ 'a' => { handler: 'Waits' } })
    writer = started('a')
    grown = children
    result_of('Grows')
    log_until("process #{grown.first} is replaced")
    another = result_of('WhoAmI')['result'].to_i
    expect(children).to contain_exactly(another, *grown)
    writer << 'done'
    writer.close
    expect(results.first).to include('step' => 'a', 'result' => '"done"')
    wait_for { children == [another] }
  end

  it 'is there for programs of your own as well' do
    File.write(in_folder('program.rb'), <<~RUBY)
      require 'tasker_core'
      TaskerCore.register_handler('Prints') { print("printed in \#{Process.pid}") }
      at_exit { print('; exit hook of ', Process.pid) }
      worker = TaskerCore::Worker.new(broker: ARGV.first, namespaces: ['ns'], processes: 1, logger: Logger.new(nil))
      worker.start
      $stdin.read
      print('; stopped: ', worker.stop)
    RUBY
    library = File.expand_path('../lib', __dir__)
    input, output, @process = Open3.popen2(RbConfig.ruby, '-I', library, in_folder('program.rb'), broker.endpoint)
    @reader = Thread.new { output.read }
    request, @registration = broker.register
    @identity = request.identity
    expect(result_of('Prints')['status']).to eq('complete')
    child = children.first
    input.close
    broker.expect('UnregisterWorker')
    unregistered
    expect(@reader.value).to eq("printed in #{child}; stopped: true; exit hook of #{@process.pid}")
  end

  it 'shows in the titles of its children what they run' do
    start('-p', '1', '--name', 'w1')
    execute({ 'a' => { handler: 'Waits' } })
    writer = started('a')
    wait_for { File.read("/proc/#{children.first}/cmdline").start_with?('tasker-worker child of w1: a of ') }
    writer.close
  end
end
