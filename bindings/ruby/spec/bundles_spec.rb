# frozen_string_literal: true

# Messages that share a turn travel as one, where both sides say so.
RSpec.describe TaskerCore::Worker, 'bundles' do
  let(:log) { StringIO.new }
  let(:broker) { FakeBroker.new }
  let(:worker) { described_class.new(broker: broker.endpoint, namespaces: ['ns'], logger: Logger.new(log)) }

  after do
    broker.stop
    worker.stop(timeout: 0)
  end

  def start(**settings)
    worker.start
    @request, @registration = broker.register(**settings)
    expect(worker.wait_until_registered(5)).to be(true)
  end

  def batch_of(name) = batch(@registration, { name => { handler: 'SpecHandlers::PlainCall' } })

  def execute(*batches)
    broker.send_bundle(@request.identity, *batches.map { |fields| ['ExecuteBatch', fields] })
  end

  # Reports of batches of one step: outcomes and closings.
  def reported(count)
    closed = Array.new(count) { broker.expect('ReportBatchCompletion')['steps'].first['step'] }
    outcomes = []
    outcomes.concat(broker.expect('ReportPartialResult')['results']) while outcomes.size < count
    expect(outcomes.map { |outcome| outcome['step'] }).to match_array(closed)
    closed
  end

  it 'are taken, and the broker is told of how many' do
    start
    expect(@request['bundle_max']).to eq(16)
    execute(batch_of('a'), batch_of('b'), batch_of('c'))
    expect(reported(3)).to contain_exactly('a', 'b', 'c')
    expect(broker.bundles).to be_empty, 'the broker has not said that it takes any'
  end

  it 'cost only the message that is wrong' do
    start
    frames = [batch_of('a'), batch_of('b')].map { |fields| TaskerCore::Protocol.encode('ExecuteBatch', fields) }
    broker.send_frames(@request.identity, *frames[0], "\x54\x01\x02\x03".b, "\xc1".b, *frames[1])
    expect(reported(2)).to contain_exactly('a', 'b')
    broker.send_frames(@request.identity, *frames[0], 'one too many')
    execute(batch_of('c'))
    expect(reported(1)).to eq(['c'])
    expect(log.string).to include('not MessagePack').and include('it has 3 frames instead of 2')
  end

  it 'are sent where the broker takes them, an outcome with the closing of its batch' do
    start(bundle_max: 2)
    5.times do |number|
      execute(batch_of("step_#{number}"))
      expect(reported(1)).to eq(["step_#{number}"])
    end
    expect(broker.bundles).to eq([2] * 5)
  end

  it 'have no more messages than the broker takes' do
    start(bundle_max: 3)
    # Each gives an outcome with the next, and a closing of its own.
    execute(*Array.new(16) { |number| batch_of("step_#{number}") })
    reported(16)
    expect(broker.bundles).not_to be_empty
    expect(broker.bundles.max).to be <= 3
  end

  it 'are not sent after a reconnect until the broker has said so again' do
    start(bundle_max: 16)
    broker.send(@request.identity, 'RegisterAgain', 'correlation_id' => uuid, 'broker_id' => uuid, 'reason' => 'test')
    @request, @registration = broker.register
    execute(batch_of('a'))
    expect(reported(1)).to eq(['a'])
    expect(broker.bundles).to be_empty
  end

  context 'with a large result' do
    let(:bytes) { TaskerCore::Link::BUNDLE_BYTES_MAX + 1 }

    before { TaskerCore.register_handler('Large') { |*| 'x' * bytes } }

    it 'are not sent, since it would keep the others waiting' do
      start(bundle_max: 16)
      execute(batch(@registration, { 'large' => { handler: 'Large' } }))
      expect(reported(1)).to eq(['large'])
      expect(broker.bundles).to be_empty
    end
  end
end
