# frozen_string_literal: true

require_relative 'support/workflows'

RSpec.describe TaskerCore::Workflow, 'run by a worker' do
  let(:log) { StringIO.new }
  let(:broker) { FakeBroker.new }
  let(:worker) do
    TaskerCore::Worker.new(broker: broker.endpoint, workflows: [SpecWorkflows::Order], logger: Logger.new(log))
  end

  before do
    worker.start
    @request, @registration = broker.register
    worker.wait_until_registered(5)
  end

  after do
    broker.stop
    worker.stop(timeout: 0)
  end

  def run(step, input: {}, parents: {}, **fields)
    steps = { step => { handler: "SpecWorkflows::Order##{step}", parents: parents.keys, retry_limit: 5, **fields } }
    broker.send(@request.identity, 'ExecuteBatch', batch(@registration, steps, context: input, results: parents))
    broker.expect('ReportPartialResult')['results'].first
  end

  def failure(gateway, attempt: 1)
    run('charge', input: { gateway: gateway }, attempt: attempt)['error']
  end

  it 'registers its template' do
    expect(@request['templates']).to eq(
      [{ 'template' => 'spec/order@1.2.0', 'yaml' => SpecWorkflows::Order.template.to_yaml,
         'source' => 'SpecWorkflows::Order' }]
    )
  end

  it 'serves the loaded workflows that its namespaces name' do
    served = lambda do |*namespaces|
      TaskerCore::Worker::Templates.new([], namespaces).capabilities.map { |capability| capability['template'] }
    end
    expect(served.call).to include('spec/order@1.2.0')
    expect(served.call('spec')).to include('spec/order@1.2.0', 'spec/*')
    expect(served.call('spec/order')).to include('spec/order@1.2.0', 'spec/order')
    expect(served.call('billing')).to eq(['billing/*'])
  end

  it 'runs blocks, in which return works, and methods with and without parameters', :ill_typed do
    expect(run('validate', input: { id: 4 })['result']).to eq('{"total":8}')
    expect(run('validate')['result']).to eq('{"total":0}')
    expect(JSON.parse(run('charge', attempt: 2)['result'])).to match(
      'key' => /\A\h{8}-.*:charge\z/, 'attempt' => 2, 'last' => false, 'cancelled' => false
    )
    shipped = run('ship', input: { id: 1 }, parents: { 'charge' => { amount: 3 } }, custom_events: ['shipped'])
    expect(shipped['result']).to eq('{"charge":{"amount":3},"amount":3}')
    expect(shipped['events']).to eq([{ 'name' => 'shipped', 'payload' => '{"id":1}' }])
  end

  it 'runs handler classes with a context or as templates run them, and lambdas' do
    parents = { 'validate' => { total: 5 } }
    expect(run('reserve', parents:, inputs: '{"warehouse":"north"}')['result'])
      .to eq('{"reserved":5,"from":"north"}')
    expect(JSON.parse(run('audit', parents:, inputs: '{"by":"rule 7"}', input: { id: 2 })['result']))
      .to eq('by' => 'rule 7', 'step' => 'audit', 'total' => 5, 'order' => 2)
    expect(run('notify', parents: { 'ship' => nil })['result']).to eq('["ship"]')
  end

  it 'fails a step that the class does not have' do
    expect(run('fly')['error']).to include('retryable' => false, 'class' => 'TaskerCore::Errors::ConfigurationError',
                                           'message' => 'workflow SpecWorkflows::Order has no step fly')
  end

  it 'tries again after an error that retry_on names, so often and after so long as it says' do
    expect(failure('busy', attempt: 2)).to include('class' => 'SpecWorkflows::Busy', 'message' => 'come back',
                                                   'retryable' => true, 'retry_after' => '20')
    expect(failure('busy', attempt: 4)).to include('retryable' => true)
    expect(failure('busy', attempt: 5)).to include('retryable' => false)
  end

  it 'gives up after an error that discard_on names, even by the name of its class' do
    expect(failure('declined')).to include('class' => 'SpecWorkflows::Declined', 'retryable' => false)
  end

  it "ends after the step's own attempts for any other error" do
    expect(failure('broken', attempt: 1)).to include('class' => 'KeyError', 'retryable' => true)
    expect(failure('broken', attempt: 2)).to include('class' => 'KeyError', 'retryable' => false)
    expect(failure('broken')['backtrace'].first).to include('support/workflows.rb')
  end

  it 'ends an attempt or the step when the code says so' do
    expect(failure('later')).to include('retryable' => true, 'retry_after' => '60', 'message' => 'closed',
                                        'context' => '{"opens":"9:00"}')
    expect(failure('never')).to include('retryable' => false, 'code' => 'STOLEN', 'context' => '{"card":4}')
  end
end
