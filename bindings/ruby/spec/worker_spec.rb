# frozen_string_literal: true

RSpec.describe TaskerCore::Worker do
  let(:log) { StringIO.new }
  let(:logger) { Logger.new(log) }
  let(:broker) { FakeBroker.new }
  let(:worker) { new_worker }

  def new_worker(**options)
    described_class.new(broker: broker.endpoint, namespaces: ['ns'], logger:, concurrency: 2, **options)
  end

  before { SpecHandlers::Gate.reset }

  after do
    8.times { SpecHandlers::Gate::OPEN << true }
    broker.stop
    worker.stop(timeout: 0)
  end

  def start(**overrides)
    worker.start
    request, id = broker.register(**overrides)
    expect(worker.wait_until_registered(5)).to be(true)
    @identity = request.identity
    @registration = id
  end

  def execute(steps, **options)
    fields = batch(@registration, steps, **options)
    broker.send(@identity, 'ExecuteBatch', fields)
    fields
  end

  def run_one(handler, **options)
    execute({ 'a' => { handler:, **options.delete(:step).to_h } }, **options)
    broker.expect('ReportPartialResult')['results'].first
  end

  describe 'registration' do
    it 'says who it is and what it serves' do
      worker.start
      request = broker.expect('RegisterWorker')
      expect(request.fields).to include('name' => worker.name, 'concurrency' => 2, 'pid' => Process.pid,
                                        'templates' => [{ 'template' => 'ns/*' }], 'open_batches' => [],
                                        'unacknowledged' => [], 'library' => "tasker_core #{TaskerCore::VERSION}")
      expect(request['incarnation']).to match(/\A\h{8}-\h{4}-\h{4}-\h{4}-\h{12}\z/)
    end

    it 'drops batches until the answer to the latest registration is there' do
      worker.start
      first = broker.expect('RegisterWorker')
      stale = registered(first)
      broker.send(first.identity, 'RegisterAgain', 'correlation_id' => uuid, 'broker_id' => uuid, 'reason' => 'test')
      broker.send(first.identity, 'ExecuteBatch', batch(uuid, { 'a' => { handler: 'SpecHandlers::PlainCall' } }))
      broker.send(first.identity, 'WorkerRegistered', stale.merge('correlation_id' => uuid))
      broker.send(first.identity, 'WorkerRegistered', stale)
      expect(worker.wait_until_registered(5)).to be(true)

      @identity = first.identity
      @registration = stale['registration_id']
      broker.send(@identity, 'ExecuteBatch', batch(uuid, { 'foreign' => { handler: 'SpecHandlers::PlainCall' } }))
      expect(run_one('SpecHandlers::PlainCall')).to include('step' => 'a')
      expect(broker.waiting('ReportPartialResult')).to be_empty
    end

    it 'is renewed when the broker does not know the worker' do
      start
      broker.send(@identity, 'RegisterAgain', 'correlation_id' => uuid, 'broker_id' => uuid, 'reason' => 'restarted')
      request = broker.expect('RegisterWorker')
      # A second request that crossed the registration is the answer to an older message.
      broker.send(@identity, 'RegisterAgain', 'correlation_id' => uuid, 'broker_id' => uuid, 'reason' => 'restarted')
      broker.send(@identity, 'WorkerRegistered', registered(request, registration_id: @registration))
      expect(run_one('SpecHandlers::PlainCall')).to include('status' => 'complete')
      expect(broker.waiting('RegisterWorker')).to be_empty
    end

    it 'is renewed when the broker has been silent for three heartbeats' do
      silent = FakeBroker.new(heartbeats: :ignored)
      other = new_worker(broker: silent.endpoint).start
      silent.register(heartbeat_ms: 20)
      expect(silent.expect('RegisterWorker')['open_batches']).to eq([])
    ensure
      silent&.stop
      other&.stop(timeout: 0)
    end

    it 'ends the worker when the broker refuses it for good' do
      thread = Thread.new { worker.run }
      thread.report_on_exception = false
      request = broker.expect('RegisterWorker')
      broker.send(request.identity, 'Error', refusal(request, 'invalid_template', position: 'a.yaml:3: nmae'))
      expect { thread.value }.to raise_error(TaskerCore::Errors::InvalidCommandError) { |error|
        expect(error).to have_attributes(code: 'invalid_template', position: 'a.yaml:3: nmae', retryable?: false)
      }
    end

    it 'sends heartbeats as often as the broker says' do
      heartbeats = FakeBroker.new(heartbeats: :kept)
      other = new_worker(broker: heartbeats.endpoint).start
      request, id = heartbeats.register(heartbeat_ms: 30)
      2.times do
        beat = heartbeats.expect('WorkerHeartbeat')
        expect(beat.fields).to include('registration_id' => id, 'free_slots' => 2, 'in_flight' => 0)
        heartbeats.send(request.identity, 'HeartbeatAcknowledged',
                        'correlation_id' => beat['correlation_id'], 'broker_id' => uuid, 'epoch' => 1)
      end
    ensure
      heartbeats&.stop
      other&.stop(timeout: 0)
    end
  end

  describe 'a batch' do
    it 'is reported step by step, and closed by a completion that lists every step' do
      start
      sent = execute({ 'slow' => { handler: 'SpecHandlers::Gate' }, 'quick' => { handler: 'SpecHandlers::Square' } },
                     context: { n: 2**64 })
      partial = broker.expect('ReportPartialResult')
      expect(partial['results'].map { |row| row.slice('step', 'status', 'result', 'attempt', 'batch_id') }).to eq(
        [{ 'step' => 'quick', 'status' => 'complete', 'result' => (2**128).to_s, 'attempt' => 1,
           'batch_id' => sent['batch_id'] }]
      )
      expect(broker.waiting('ReportBatchCompletion')).to be_empty

      SpecHandlers::Gate::OPEN << true
      expect(broker.expect('ReportPartialResult')['results'].first).to include('step' => 'slow')
      completion = broker.expect('ReportBatchCompletion')
      expect(completion['batch_id']).to eq(sent['batch_id'])
      expect(completion['steps'].to_h { |row| [row['step'], row['status']] })
        .to eq('slow' => 'complete', 'quick' => 'complete')
    end

    it 'that comes twice runs once' do
      start
      fields = execute({ 'a' => { handler: 'SpecHandlers::Gate' } })
      SpecHandlers::Gate::STARTED.pop
      broker.send(@identity, 'ExecuteBatch', fields)
      SpecHandlers::Gate::OPEN << true
      broker.expect('ReportBatchCompletion')
      expect(run_one('SpecHandlers::PlainCall')).to include('step' => 'a')
      expect(SpecHandlers::Gate::STARTED).to be_empty
    end

    it 'with a missing field costs that message only' do
      start
      broker.send(@identity, 'ExecuteBatch', 'batch_id' => uuid, 'registration_id' => @registration)
      broker.send_frames(@identity, "\x54\x01\x02\x03".b, "\xc1".b)
      broker.send_frames(@identity, "\x54\x01\x7f\x7f".b, "\x80".b)
      expect(run_one('SpecHandlers::PlainCall')).to include('status' => 'complete')
      expect(log.string).to include('NoMethodError').and include('not MessagePack').and include('0x7f7f')
    end

    it 'uses as many threads as the concurrency says' do
      start
      execute(%w[a b c].to_h { |name| [name, { handler: 'SpecHandlers::Gate' }] })
      2.times { SpecHandlers::Gate::STARTED.pop }
      expect(SpecHandlers::Gate::STARTED).to be_empty
      SpecHandlers::Gate::OPEN << true
      expect(SpecHandlers::Gate::STARTED.pop.name).to eq('c')
    end
  end

  describe 'a handler' do
    before { start }

    it 'gets task, sequence and step' do
      seen = nil
      TaskerCore.register_handler('See') do |task, sequence, step|
        seen = [task, sequence, step]
        nil
      end
      row = run_one('See', context: { 'customer' => { 'id' => 7 } }, results: { 'before' => { 'total' => 209.97 } },
                           step: { parents: ['before'], inputs: '{"strict":true}', attempt: 2 })
      task, sequence, step = seen
      expect(row['result']).to eq('null')
      expect(task).to have_attributes(namespace: 'ns', name: 'flow', version: '1.0.0', tags: ['a'], priority: 3)
      expect(task.context[:customer]['id']).to eq(7)
      expect(sequence.get_results(:before)[:total]).to eq(209.97)
      expect(step).to have_attributes(name: 'a', attempt: 2, retry_limit: 3, timeout_seconds: 30.0)
      expect(step.handler_config[:strict]).to be(true)
      expect(step.idempotency_key).to eq("#{task.task_id}:a")
    end

    it 'whose class does not exist fails for good, with its name' do
      row = run_one('SpecHandlers::Nowhere')
      expect(row['error']).to include('class' => 'TaskerCore::Errors::ConfigurationError', 'retryable' => false,
                                      'message' => include('SpecHandlers::Nowhere'))
    end

    it 'without process or call fails for good, with its name' do
      expect(run_one('SpecHandlers::Neither')['error'])
        .to include('retryable' => false, 'message' => include('SpecHandlers::Neither'))
    end

    it 'that returns what JSON cannot hold fails for good, with the place' do
      TaskerCore.register_handler('NotJson') { { items: [{ price: Float::NAN }] } }
      expect(run_one('NotJson')['error']).to include('retryable' => false,
                                                     'message' => include('result.items[0].price'))
    end

    it 'that returns more than the broker takes fails for good, with the figures' do
      TaskerCore.register_handler('Large') { 'x' * 1_048_577 }
      expect(run_one('Large')['error']).to include('retryable' => false, 'code' => 'RESULT_TOO_LARGE')
    end

    it 'keeps what the error says' do
      TaskerCore.register_handler('Fails') do
        raise TaskerCore::Errors::RetryableError.new('busy', retry_after: 2, context: { service: 'billing' })
      end
      error = run_one('Fails')['error']
      expect(error).to include('class' => 'TaskerCore::Errors::RetryableError', 'message' => 'busy',
                               'retryable' => true, 'retry_after' => '2', 'context' => '{"service":"billing"}')
      expect(error['backtrace'].first).to include('worker_spec.rb')
    end

    it 'that ends its thread fails, and the pool goes on' do
      TaskerCore.register_handler('Exits') { Thread.exit }
      2.times { expect(run_one('Exits')['error']).to include('retryable' => true, 'message' => include('thread')) }
      expect(run_one('SpecHandlers::PlainCall')).to include('status' => 'complete')
    end

    it 'publishes events with its result' do
      TaskerCore.register_handler('Publishes') { |_, _, step| step.publish_event(:shipped, { n: 1 }) }
      row = run_one('Publishes', step: { custom_events: ['shipped'] })
      expect(row['events']).to eq([{ 'name' => 'shipped', 'payload' => '{"n":1}' }])
    end

    it 'reads results of steps further back from the broker' do
      TaskerCore.register_handler('Far') { |_, sequence, _| sequence.get_results('root')[:n] + 1 }
      execute({ 'a' => { handler: 'Far' } })
      question = broker.expect('TaskStatus')
      expect(question.fields).to include('include_results' => ['root'])
      broker.reply(question, 'TaskStatusReport', 'steps' => [{ 'name' => 'root', 'result' => '{"n":41}' }])
      expect(broker.expect('ReportPartialResult')['results'].first).to include('result' => '42')
    end

    it 'asking for a step that does not exist hears which there are' do
      TaskerCore.register_handler('Unknown') { |_, sequence, _| sequence.get_results('rot') }
      execute({ 'a' => { handler: 'Unknown' } })
      broker.reply(broker.expect('TaskStatus'), 'TaskStatusReport', 'steps' => [{ 'name' => 'root' }])
      error = broker.expect('ReportPartialResult')['results'].first['error']
      expect(error).to include('class' => 'TaskerCore::Errors::NotFoundError', 'retryable' => false,
                               'message' => include('rot').and(include('(steps: root)')))
    end
  end

  describe 'acknowledgements' do
    before { start(heartbeat_ms: 40) }

    it 'end the repetition of results and completions' do
      execute({ 'a' => { handler: 'SpecHandlers::PlainCall' } })
      first = broker.expect('ReportPartialResult')
      completion = broker.expect('ReportBatchCompletion')
      expect(broker.expect('ReportPartialResult')['results']).to eq(first['results'])
      expect(broker.expect('ReportBatchCompletion')['steps']).to eq(completion['steps'])

      broker.send(@identity, 'ResultsAccepted', accepted(first))
      broker.send(@identity, 'ResultsAccepted', 'correlation_id' => uuid, 'closed_batches' => [completion['batch_id']])
      broker.send(@identity, 'RegisterAgain', 'correlation_id' => uuid, 'broker_id' => uuid, 'reason' => 'test')
      expect(broker.expect('RegisterWorker').fields).to include('open_batches' => [], 'unacknowledged' => [])
    end

    it 'stop new work at the bound, which is returned' do
      broker.send(@identity, 'RegisterAgain', 'correlation_id' => uuid, 'broker_id' => uuid, 'reason' => 'test')
      _, @registration = broker.register(unacknowledged_max: 1)
      execute({ 'a' => { handler: 'SpecHandlers::PlainCall' } })
      broker.expect('ReportBatchCompletion')
      execute({ 'b' => { handler: 'SpecHandlers::PlainCall' } })
      expect(broker.expect('ReturnSteps').fields)
        .to include('reason' => include('not acknowledged'), 'steps' => [include('step' => 'b')])
      expect(broker.expect('ReportBatchCompletion')['steps'].first).to include('step' => 'b', 'status' => 'returned')
    end

    it 'that ask for missing results get them again' do
      execute({ 'a' => { handler: 'SpecHandlers::PlainCall' } })
      result = broker.expect('ReportPartialResult')['results'].first
      completion = broker.expect('ReportBatchCompletion')
      reference = result.slice('batch_id', 'task_id', 'step', 'attempt')
      broker.send(@identity, 'ResultsMissing', 'correlation_id' => completion['correlation_id'],
                                               'batch_id' => result['batch_id'], 'steps' => [reference])
      expect(broker.expect('ReportPartialResult')['results']).to eq([result])
    end

    it 'that cannot be given now are asked for again' do
      broker.send(@identity, 'RegisterAgain', 'correlation_id' => uuid, 'broker_id' => uuid, 'reason' => 'test')
      _, @registration = broker.register # with heartbeats so rare that nothing is overdue during the test
      execute({ 'a' => { handler: 'SpecHandlers::PlainCall' } })
      report = broker.expect('ReportPartialResult')
      broker.send(@identity, 'Error', refusal(report, 'unavailable', retryable: true, retry_after_ms: 5))
      expect(broker.expect('ReportPartialResult')['results']).to eq(report['results'])
    end

    it 'that refuse a report because of the key leave its outcome as it is, to be sent again' do
      stub_const('TaskerCore::Worker::Reports::LISTED_AGAIN_SECONDS', 0.01)
      execute({ 'a' => { handler: 'SpecHandlers::PlainCall' } })
      report = broker.expect('ReportPartialResult')
      broker.send(@identity, 'Error', refusal(report, 'forbidden'))
      expect(broker.expect('ReportPartialResult')['results']).to eq(report['results'])
    end

    it 'that refuse a report for good turn its outcome into a failure' do
      execute({ 'a' => { handler: 'SpecHandlers::PlainCall' } })
      report = broker.expect('ReportPartialResult')
      broker.send(@identity, 'Error', refusal(report, 'too_large'))
      expect(broker.expect('ReportPartialResult')['results'].first)
        .to include('status' => 'error', 'error' => include('code' => 'TOO_LARGE', 'retryable' => false))
    end
  end

  describe 'a broker that takes another\'s place' do
    let(:standby) { FakeBroker.new }
    let(:worker) { new_worker(broker: [broker.endpoint, standby.endpoint]) }

    after { standby.stop }

    it 'meets the same process as the other one' do
      worker.start
      incarnations = [broker, standby].map { |one| one.expect('RegisterWorker')['incarnation'] }
      expect(incarnations.uniq.size).to eq(1)
    end

    it 'is named the batches of the other one, and gets what they owe' do
      start
      closed = execute({ 'closed' => { handler: 'SpecHandlers::PlainCall' } })
      broker.expect('ReportBatchCompletion')
      running = execute({ 'running' => { handler: 'SpecHandlers::Gate' } })
      SpecHandlers::Gate::STARTED.pop
      broker.stop

      # It listens from the beginning here, so that the first registration may have come before the batches.
      request = standby.expect('RegisterWorker')
      until request['open_batches'].size == 2
        standby.send(request.identity, 'WorkerRegistered', registered(request, closed_batches: request['open_batches']))
        request = standby.expect('RegisterWorker')
      end
      expect(request['open_batches']).to contain_exactly(closed['batch_id'], running['batch_id'])
      standby.send(request.identity, 'WorkerRegistered', registered(request, closed_batches: [closed['batch_id']]))
      SpecHandlers::Gate::OPEN << true
      results = standby.expect('ReportPartialResult')
      expect(results['results']).to match([include('step' => 'running', 'batch_id' => running['batch_id'])])
      standby.send(request.identity, 'ResultsAccepted', accepted(results))
      completion = standby.expect('ReportBatchCompletion')
      expect(completion['batch_id']).to eq(running['batch_id'])
      standby.send(request.identity, 'ResultsAccepted', accepted(completion, closed: [running['batch_id']]))

      # Nothing is owed to the one that is gone, so that it is not waited for.
      stopping = Thread.new { worker.stop(timeout: 5) }
      left = standby.expect('UnregisterWorker')
      standby.reply(left, 'WorkerUnregistered', 'registration_id' => left['registration_id'], 'steps_returned' => 0)
      expect(stopping.value).to be(true)
    end
  end

  describe 'a reconnect' do
    it 'registers with what is open and not acknowledged, and goes on from there' do
      start
      kept = execute({ 'kept' => { handler: 'SpecHandlers::PlainCall' } })
      broker.expect('ReportBatchCompletion')
      running = execute({ 'running' => { handler: 'SpecHandlers::Gate' } })
      SpecHandlers::Gate::STARTED.pop
      broker.stop

      again = FakeBroker.new(endpoint: broker.endpoint)
      request = again.expect('RegisterWorker')
      expect(request['open_batches']).to contain_exactly(kept['batch_id'], running['batch_id'])
      expect(request['unacknowledged']).to match([include('step' => 'kept', 'status' => 'complete')])

      # What ends while the registration is on its way follows after it.
      SpecHandlers::Gate::OPEN << true
      again.send(request.identity, 'WorkerRegistered', registered(request, closed_batches: [kept['batch_id']]))
      expect(again.expect('ReportPartialResult')['results']).to match([include('step' => 'running')])
      expect(again.expect('ReportBatchCompletion')['batch_id']).to eq(running['batch_id'])
      expect(again.waiting('ReportBatchCompletion')).to be_empty
    ensure
      again&.stop
    end

    it 'forgets batches that the broker has closed, and tells their steps' do
      start
      fields = execute({ 'a' => { handler: 'SpecHandlers::Gate' } })
      step = SpecHandlers::Gate::STARTED.pop
      broker.send(@identity, 'RegisterAgain', 'correlation_id' => uuid, 'broker_id' => uuid, 'reason' => 'test')
      _, @registration = broker.register(closed_batches: [fields['batch_id']])
      execute({ 'b' => { handler: 'SpecHandlers::PlainCall' } })
      expect(broker.expect('ReportPartialResult')['results']).to match([include('step' => 'b')])
      expect(step).to be_cancelled

      SpecHandlers::Gate::OPEN << true
      execute({ 'c' => { handler: 'SpecHandlers::PlainCall' } })
      expect(broker.expect('ReportPartialResult')['results']).to match([include('step' => 'c')])
    end
  end

  describe 'stopping steps' do
    before { start }

    def cancel(fields, reason)
      reference = { 'batch_id' => fields['batch_id'], 'task_id' => fields['tasks'][0]['task_id'], 'step' => 'a',
                    'attempt' => 1 }
      broker.send(@identity, 'CancelSteps', 'steps' => [reference], 'reason' => reason)
    end

    it 'for a timeout interrupts the handler, and only that one' do
      fields = execute({ 'a' => { handler: 'SpecHandlers::Gate' }, 'b' => { handler: 'SpecHandlers::Gate' } })
      2.times { SpecHandlers::Gate::STARTED.pop }
      cancel(fields, 'timeout')
      row = broker.expect('ReportPartialResult')['results'].first
      expect(row).to include('step' => 'a', 'error' => include('retryable' => true, 'message' => include('30.0 s')))
      SpecHandlers::Gate::OPEN << true
      expect(broker.expect('ReportPartialResult')['results'].first).to include('step' => 'b', 'status' => 'complete')
    end

    it 'for a cancelled task tells the handler, which may go on' do
      fields = execute({ 'a' => { handler: 'SpecHandlers::Gate' } })
      step = SpecHandlers::Gate::STARTED.pop
      cancel(fields, 'cancelled')
      expect(run_one('SpecHandlers::PlainCall')).to include('status' => 'complete')
      expect(step).to be_cancelled
      SpecHandlers::Gate::OPEN << true
      expect(broker.expect('ReportPartialResult')['results'].first['result']).to include('"cancelled":true')
    end

    it 'happens by itself when the broker is silent' do
      stub_const('TaskerCore::Worker::GRACE_SECONDS', 0.02)
      execute({ 'a' => { handler: 'SpecHandlers::Gate', timeout_seconds: 0.05 } })
      expect(broker.expect('ReportPartialResult')['results'].first['error'])
        .to include('class' => 'TaskerCore::Errors::TimeoutError', 'context' => '{"timeout_duration":0.05}')
    end

    it 'happens by itself to one after the other' do
      stub_const('TaskerCore::Worker::GRACE_SECONDS', 0.02)
      execute({ 'a' => { handler: 'SpecHandlers::Gate', timeout_seconds: 0.05 },
                'b' => { handler: 'SpecHandlers::Gate', timeout_seconds: 0.2 } })
      rows = []
      rows += broker.expect('ReportPartialResult')['results'] until rows.size == 2
      expect(rows.map { |row| row['error']['class'] }.uniq).to eq(['TaskerCore::Errors::TimeoutError'])
    end

    it 'happens by itself to a step that came after one with more time' do
      stub_const('TaskerCore::Worker::GRACE_SECONDS', 0.02)
      execute({ 'long' => { handler: 'SpecHandlers::Gate' } })
      execute({ 'short' => { handler: 'SpecHandlers::Gate', timeout_seconds: 0.05 } })
      expect(broker.expect('ReportPartialResult')['results'].first).to include('step' => 'short', 'status' => 'error')
    end

    it 'does not start a step that was cancelled before' do
      fields = execute({ 'b' => { handler: 'SpecHandlers::Gate' }, 'c' => { handler: 'SpecHandlers::Gate' },
                         'a' => { handler: 'SpecHandlers::PlainCall' } })
      2.times { SpecHandlers::Gate::STARTED.pop }
      cancel(fields, 'cancelled')
      broker.send(@identity, 'RegisterAgain', 'correlation_id' => uuid, 'broker_id' => uuid, 'reason' => 'test')
      broker.register # messages are read in order: by now it is cancelled
      2.times { SpecHandlers::Gate::OPEN << true }
      expect(broker.expect('ReturnSteps')['steps']).to match([include('step' => 'a')])
    end

    it 'does not start a step whose time is up' do
      execute({ 'a' => { handler: 'SpecHandlers::Gate', timeout_seconds: 0.0 } })
      expect(broker.expect('ReturnSteps')['steps']).to match([include('step' => 'a')])
      expect(SpecHandlers::Gate::STARTED).to be_empty
    end
  end

  describe 'draining' do
    before { start }

    it 'gives back what has not started, finishes what runs, and leaves' do
      fields = execute(%w[a b c].to_h { |name| [name, { handler: 'SpecHandlers::Gate' }] })
      2.times { SpecHandlers::Gate::STARTED.pop }
      stopping = Thread.new { worker.stop(timeout: 10) }
      expect(broker.expect('ReturnSteps').fields)
        .to include('reason' => 'draining', 'steps' => [include('step' => 'c', 'attempt' => 1)])
      expect(broker.expect('UnregisterWorker').fields).to include('drain' => true, 'registration_id' => @registration)

      late = execute({ 'd' => { handler: 'SpecHandlers::PlainCall' } })
      expect(broker.expect('ReturnSteps')['steps']).to match([include('step' => 'd')])

      2.times { SpecHandlers::Gate::OPEN << true }
      completion = nil
      completion = broker.expect('ReportBatchCompletion') until completion&.[]('batch_id') == fields['batch_id']
      expect(completion['steps'].map { |row| row['status'] }).to eq(%w[complete complete returned])
      expect(stopping).to be_alive
      broker.send(@identity, 'ResultsAccepted', 'correlation_id' => uuid,
                                                'closed_batches' => [fields['batch_id'], late['batch_id']])
      broker.send(@identity, 'WorkerUnregistered', 'correlation_id' => uuid, 'registration_id' => @registration,
                                                   'steps_returned' => 2)
      expect(stopping.value).to be(true)
    end

    def unregistered
      broker.send(@identity, 'WorkerUnregistered', 'correlation_id' => uuid, 'registration_id' => @registration,
                                                   'steps_returned' => 0)
    end

    # Stops with handlers that run, so that the time is up at once.
    def stop_in_the_middle(handler)
      sent = execute({ 'a' => { handler: } })
      SpecHandlers::Gate::STARTED.pop
      [Thread.new { worker.stop(timeout: 0) }, sent]
    end

    it 'interrupts what runs when the time is up, and gives it back' do
      stopping, sent = stop_in_the_middle('SpecHandlers::Gate')
      expect(broker.expect('UnregisterWorker')['drain']).to be(true)
      expect(broker.expect('ReturnSteps').fields)
        .to include('reason' => 'interrupted', 'steps' => [include('step' => 'a', 'attempt' => 1)])
      completion = broker.expect('ReportBatchCompletion')
      expect(completion.fields).to include('batch_id' => sent['batch_id'], 'steps' => [include('status' => 'returned')])
      broker.reply(completion, 'ResultsAccepted', 'closed_batches' => [sent['batch_id']])
      unregistered
      expect(stopping.value).to be(false)
      expect(worker).not_to be_stuck
      expect(broker.waiting('ReportPartialResult') + broker.waiting('UnregisterWorker')).to be_empty
    end

    it 'gives back a step whose handler fails because it was interrupted' do
      TaskerCore.register_handler('Wraps') do |task, sequence, step|
        SpecHandlers::Gate.new.process(task, sequence, step)
      rescue Exception => e # rubocop:disable Lint/RescueException -- as libraries do
        raise "failed: #{e.message}"
      end
      stopping, = stop_in_the_middle('Wraps')
      expect(broker.expect('ReturnSteps')['reason']).to eq('interrupted')
      unregistered
      expect(stopping.value).to be(false)
      expect(broker.waiting('ReportPartialResult')).to be_empty
    end

    it 'interrupts a handler that has swallowed the end of its own time' do
      TaskerCore.register_handler('Stubborn') do |task, sequence, step|
        SpecHandlers::Gate.new.process(task, sequence, step)
      rescue TaskerCore::TimeoutError
        retry
      end
      sent = execute({ 'a' => { handler: 'Stubborn' } })
      SpecHandlers::Gate::STARTED.pop
      reference = { 'batch_id' => sent['batch_id'], 'task_id' => sent['tasks'][0]['task_id'], 'step' => 'a',
                    'attempt' => 1 }
      broker.send(@identity, 'CancelSteps', 'steps' => [reference], 'reason' => 'timeout')
      SpecHandlers::Gate::STARTED.pop # again
      stopping = Thread.new { worker.stop(timeout: 0) }
      expect(broker.expect('ReturnSteps')['steps']).to match([include('step' => 'a')])
      unregistered
      expect(stopping.value).to be(false)
    end

    it 'reports the result of a handler that ends in order when it is interrupted' do
      TaskerCore.register_handler('Orderly') do |task, sequence, step|
        SpecHandlers::Gate.new.process(task, sequence, step)
      rescue TaskerCore::Worker::StopInterrupt
        'half'
      end
      stopping, = stop_in_the_middle('Orderly')
      expect(broker.expect('ReportPartialResult')['results']).to match([include('result' => '"half"')])
      unregistered
      stopping.value
      expect(broker.waiting('ReturnSteps')).to be_empty
    end

    it 'kills what cannot be interrupted, and leaves its steps to the broker' do
      stub_const('TaskerCore::Worker::INTERRUPT_SECONDS', 0.05)
      TaskerCore.register_handler('Swallows') do |task, sequence, step|
        SpecHandlers::Gate.new.process(task, sequence, step)
      rescue Exception # rubocop:disable Lint/RescueException -- as some do
        retry
      end
      stopping, = stop_in_the_middle('Swallows')
      expect(broker.expect('UnregisterWorker')['drain']).to be(true)
      expect(broker.expect('UnregisterWorker')['drain']).to be(false)
      unregistered
      expect(stopping.value).to be(false)
      expect(worker).not_to be_stuck
      expect(broker.waiting('ReportPartialResult')).to be_empty
    end

    it 'says of handlers that cannot even be killed that they still run' do
      stub_const('TaskerCore::Worker::INTERRUPT_SECONDS', 0.05)
      TaskerCore.register_handler('Unkillable') do |task, sequence, step|
        Thread.handle_interrupt(Object => :never) { SpecHandlers::Gate.new.process(task, sequence, step) }
      end
      stopping, = stop_in_the_middle('Unkillable')
      2.times { broker.expect('UnregisterWorker') }
      unregistered
      expect(stopping.value).to be(false)
      expect(worker).to be_stuck
      expect(log.string).to include('neither interrupted nor killed: a of')
    end

    it 'names no handler as stuck that ends just in time' do
      pool = worker.instance_variable_get(:@pool)
      stopping, sent = stop_in_the_middle('SpecHandlers::Gate')
      expect(sent['steps'].size).to eq(1)
      allow(pool).to receive(:stop).and_wrap_original do |stop, **options|
        stop.call(**options)
        false # as it was when the second was over
      end
      broker.expect('ReturnSteps')
      unregistered
      expect(stopping.value).to be(false)
      expect(worker).not_to be_stuck
      expect(log.string).not_to include('neither interrupted nor killed')
    end

    it 'ends although the broker is away' do
      sent = execute({ 'a' => { handler: 'SpecHandlers::Gate' }, 'b' => { handler: 'SpecHandlers::PlainCall' } })
      SpecHandlers::Gate::STARTED.pop
      broker.expect('ReportPartialResult')
      expect(sent['steps'].size).to eq(2)
      broker.stop
      expect(Timeout.timeout(30) { worker.stop(timeout: 0) }).to be(false)
      expect(worker).not_to be_stuck
    end

    it 'happens when the broker asks for it, and ends the worker' do
      broker.send(@identity, 'Drain', 'reason' => 'upgrade')
      expect(broker.expect('UnregisterWorker').fields).to include('drain' => true, 'reason' => 'upgrade')
      broker.send(@identity, 'WorkerUnregistered', 'correlation_id' => uuid, 'registration_id' => @registration,
                                                   'steps_returned' => 0)
      expect(worker.wait(5)).to be(true)
      expect(worker.error).to be_nil
    end

    it 'by hints on the events endpoint counts only from its own broker' do
      listening = new_worker(events: broker.events, name: 'listening').start
      request, id = broker.register(broker_id: (mine = uuid))
      hint = lambda do |kind, broker_id, task_id = nil|
        fields = { 'sequence' => 1, 'broker_id' => broker_id, 'kind' => kind, 'task_id' => task_id }.compact
        broker.publish("control.#{kind}", fields, type: 'Control')
      end
      started = Thread::Queue.new
      TaskerCore.register_handler('UntilCancelled') do |_, _, step|
        started << true
        Thread.pass until step.cancelled?
      end
      cancelled = lambda do
        fields = batch(id, { 'a' => { handler: 'UntilCancelled' } })
        broker.send(request.identity, 'ExecuteBatch', fields)
        started.pop
        begin
          hint.call('cancel', mine, fields['tasks'][0]['task_id'])
          broker.expect('ReportPartialResult', seconds: 0.05)
        rescue Timeout::Error
          retry
        end
      end

      cancelled.call # from here on, hints arrive
      hint.call('drain', uuid)
      cancelled.call
      expect(broker.waiting('UnregisterWorker')).to be_empty

      hint.call('drain', mine)
      broker.expect('UnregisterWorker')
      broker.send(request.identity, 'WorkerUnregistered', 'correlation_id' => uuid, 'registration_id' => id,
                                                          'steps_returned' => 0)
      expect(listening.wait(5)).to be(true)
    end
  end
end
