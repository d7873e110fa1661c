# frozen_string_literal: true

require_relative 'support/program'

# The program as a process of its own, with real signals.
RSpec.describe 'tasker-worker' do
  include_context 'with the program'

  it 'explains itself' do
    output, code = run('--help')
    expect(code).to eq(0)
    %w[--require --templates --namespaces --broker --concurrency --processes --config --environment --timeout
       --max-memory --max-steps --probe-port --probe-address --server-key --key-file TSTP TTIN USR2].each do |word|
      expect(output).to include(word)
    end
    expect(output.lines.map(&:length)).to all(be < 120)
    expect(output).to match(/^  USR2 +replace/).and match(/^  TTIN +write/)
    expect(run('--version')).to eq(["tasker-worker #{TaskerCore::VERSION}\n", 0])
  end

  {
    'an unknown option' => [%w[--nope], 'nope'],
    'an argument' => [%w[surplus], 'surplus'],
    'nothing to serve' => [[], 'serves nothing'],
    'a file that is not there' => [%w[-n ns -r ./nowhere.rb], 'nowhere'],
    'a template that is not there' => [%w[-T ./nowhere.yaml], 'nowhere.yaml'],
    'a namespace that is none' => [%w[-n a/b/c], 'a/b/c'],
    'a concurrency that is none' => [%w[-n ns -c 0], 'concurrency'],
    'processes that are none' => [%w[-n ns -p -1], 'processes'],
    'a probe that cannot listen' => [%w[-n ns --probe-port 0 --probe-address 192.0.2.1], '192.0.2.1'],
    'a log level that is none' => [%w[--log-level loud], 'loud'],
    'a log format that is none' => [%w[--log-format xml], 'xml'],
    'half of the keys' => [%w[-n ns --key-file w.key], 'belong together'],
    'a key that is not there' => [['-n', 'ns', '--key-file', './nowhere.key', '--server-key', 'x' * 40], 'nowhere.key'],
    'a configuration that is not there' => [%w[-n ns -C nowhere.toml], 'nowhere.toml']
  }.each do |name, (arguments, text)|
    it "ends with 2 for #{name}" do
      output, code = run(*arguments)
      expect(code).to eq(2)
      expect(output).to start_with('tasker-worker: ').and include(text)
      expect(output.lines.size).to eq(1)
    end
  end

  it 'registers its templates and warns of handlers that do not exist' do
    launch('-c', '3', '--name', 'w1')
    log = log_until('Missing::Handler')
    expect(log).to include('its steps will fail')
    request = broker.expect('RegisterWorker')
    expect(request.fields).to include('name' => 'w1', 'concurrency' => 3, 'pid' => @process.pid)
    expect(request['templates']).to eq([{ 'template' => 'ns/flow@1.0.0', 'source' => File.join(folder, 'flow.yaml'),
                                          'yaml' => File.read(File.join(folder, 'flow.yaml')) }])
  end

  it 'writes lines for machines, with the step that runs' do
    File.write(File.join(folder, 'tasker.toml'), "[worker]\nlog_format = \"json\"\n")
    start('-C', File.join(folder, 'tasker.toml'))
    execute({ 'a' => { handler: 'Missing::Handler' } })
    line = JSON.parse(log_until('failed in attempt 1').lines.last)
    expect(line).to include('level' => 'WARN', 'target' => 'tasker', 'pid' => @process.pid, 'step' => 'a',
                            'attempt' => 1, 'template' => 'ns/flow', 'message' => /Missing::Handler does not exist/)
  end

  it 'warns of limits for processes that it does not fork' do
    launch('--max-steps', '10')
    expect(log_until('max_steps')).to include('are for forked processes, and there are none')
  end

  it 'writes lines as its option says, over the configuration' do
    File.write(File.join(folder, 'tasker.toml'), "[worker]\nlog_format = \"json\"\n")
    launch('-C', File.join(folder, 'tasker.toml'), '--log-format', 'text')
    expect(log_until('connected to the broker').lines.last).to match(/\AI, .* INFO -- tasker: connected/)
  end

  it 'ends with 3 when the broker refuses it' do
    launch
    request = broker.expect('RegisterWorker')
    broker.send(request.identity, 'Error', refusal(request, 'invalid_template', position: 'flow.yaml:2'))
    expect(@process.value.exitstatus).to eq(3)
    expect(log_until('flow.yaml:2')).to include('invalid_template')
  end

  it 'reads the shared configuration, over which options win' do
    File.write(File.join(folder, 'tasker.toml'), <<~TOML)
      [broker]
      anything = "is the broker's"

      [worker]
      name = "from-file"
      concurrency = 7
    TOML
    request = start('-C', File.join(folder, 'tasker.toml'), '-c', '2', '-e', 'staging')
    expect(request.fields).to include('name' => 'from-file', 'concurrency' => 2)
    execute({ 'a' => { handler: 'Environment' } })
    expect(broker.expect('ReportPartialResult')['results'].first['result']).to eq('["staging","staging"]')
  end

  it 'begins with room for the objects of many steps' do
    start
    execute({ 'a' => { handler: 'Heap' } })
    slots, collects_no_garbage = JSON.parse(broker.expect('ReportPartialResult')['results'].first['result'])
    expect(slots).to be > 100_000
    expect(collects_no_garbage).to be(false)
  end

  it 'takes its keys from the configuration, and ends with 3 when they are refused' do
    broker.stop
    # The keys are any: nobody is listed, and the server key is that of the secret one.
    secret = Wire.secret_key
    File.write(File.join(folder, 'worker.key'), secret, perm: 0o600)
    keys = TaskerCore::Curve.new(server_public_key: 'x' * 40, secret_key_file: File.join(folder, 'worker.key'))
    guarded = FakeBroker.new(secret_key: secret)
    File.write(File.join(folder, 'tasker.toml'), <<~TOML)
      [worker]
      broker = "#{guarded.endpoint}"
      server_public_key = "#{keys.public_key}"
      secret_key_file = "#{File.join(folder, 'worker.key')}"
      namespaces = ["ns"]
    TOML
    output, code = run('-C', File.join(folder, 'tasker.toml'))
    expect(code).to eq(3)
    expect(output).to include('refused this key')
    expect(output).not_to include(secret)
  ensure
    guarded&.stop
  end

  %w[TERM INT].each do |signal|
    it "finishes what runs on #{signal} and ends with 0" do
      start
      execute({ 'a' => { handler: 'Waits' } })
      writer = started('a')
      Process.kill(signal, @process.pid)
      expect(broker.expect('UnregisterWorker')['drain']).to be(true)
      writer << 'done'
      writer.close
      expect(broker.expect('ReportPartialResult')['results'].first).to include('result' => '"done"')
      unregistered
      expect(@process.value.exitstatus).to eq(0)
    end
  end

  it 'ends with 4 when the time is up, and leaves' do
    start('-t', '0.1')
    execute({ 'a' => { handler: 'Waits' } })
    started('a')
    Process.kill('TERM', @process.pid)
    broker.expect('UnregisterWorker')
    expect(broker.expect('ReturnSteps')['steps']).to match([include('step' => 'a')])
    unregistered
    expect(@process.value.exitstatus).to eq(4)
  end

  it 'ends with 4 although a handler cannot be stopped' do
    start('-t', '0')
    execute({ 'a' => { handler: 'Endless' } })
    started('a')
    Process.kill('TERM', @process.pid)
    2.times { broker.expect('UnregisterWorker') }
    unregistered
    expect(Timeout.timeout(30) { @process.value }.exitstatus).to eq(4)
    expect(log_until('neither interrupted nor killed')).to include('the time for stopping is up')
  end

  it 'ends although a handler has left a client open' do
    start
    execute({ 'a' => { handler: 'Asks' } })
    broker.reply(broker.expect('HealthCheck'), 'HealthReport', 'status' => 'ok')
    broker.expect('ReportPartialResult')
    Process.kill('TERM', @process.pid)
    broker.expect('UnregisterWorker')
    unregistered
    expect(Timeout.timeout(30) { @process.value }.exitstatus).to eq(0)
  end

  it 'ends at once on a second signal' do
    start
    execute({ 'a' => { handler: 'Waits' } })
    started('a')
    Process.kill('TERM', @process.pid)
    broker.expect('UnregisterWorker')
    Process.kill('TERM', @process.pid)
    expect(@process.value.exitstatus).to eq(143)
  end

  it 'takes no more work on TSTP, finishes what it has, and stays' do
    start('-c', '1')
    execute({ 'a' => { handler: 'Waits' } })
    writer = started('a')
    Process.kill('TSTP', @process.pid)
    expect(broker.expect('UnregisterWorker').fields).to include('drain' => true, 'reason' => 'quiet')
    writer.close
    broker.expect('ReportPartialResult')
    unregistered
    log_until('left the broker')
    expect(@process).to be_alive
    Process.kill('TERM', @process.pid)
    expect(@process.value.exitstatus).to eq(0)
  end

  it 'shows on TTIN what its threads do' do
    start
    execute({ 'a' => { handler: 'Waits' } })
    started('a')
    Process.kill('TTIN', @process.pid)
    expect(log_until('handlers.rb')).to include('running: a of').and include('thread tasker-step')
  end

  it 'lives through a kill of the broker and comes back to it' do
    start
    execute({ 'a' => { handler: 'Waits' } })
    writer = started('a')
    broker.stop
    again = FakeBroker.new(endpoint: broker.endpoint)
    writer.close
    request = again.expect('RegisterWorker')
    expect(request['open_batches'].size).to eq(1)
  ensure
    again&.stop
  end
end
