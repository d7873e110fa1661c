# frozen_string_literal: true

module SpecHandlers
  # Constructors that handlers have.
  class Keywords < TaskerCore::StepHandler::Base
    def initialize(config: {}, logger: nil)
      super
      @limit = config[:limit]
    end

    def process(_task, _sequence, _step) = @limit
  end

  class ConfigOnly
    attr_reader :config

    def initialize(config:) = @config = config
    def call(*) = config[:limit]
  end

  class Positional
    attr_reader :context

    def initialize(context = {}) = @context = context
    def call(*) = nil
  end

  class NoSuper < TaskerCore::StepHandler::Base
    def initialize; end # rubocop:disable Lint/MissingSuper
    def process(*) = [config, logger]
  end

  class TooMany
    def initialize(one, two, three) = @all = [one, two, three]
    def call(*) = nil
  end

  # Its own code refers to something that does not exist.
  class BrokenConstant
    def call(*) = Missing::Thing.call
  end
end

RSpec.describe TaskerCore::Handlers do
  subject(:handlers) { described_class.new }

  let(:logger) { Logger.new(nil) }
  let(:config) { TaskerCore::IndifferentHash.wrap('limit' => 5) }

  def build(name) = handlers.build(name, config:, logger:)

  it 'builds with the keywords that a constructor takes' do
    expect(build('SpecHandlers::Keywords').process(nil, nil, nil)).to eq(5)
    expect(build('SpecHandlers::ConfigOnly').call).to eq(5)
    expect(build('SpecHandlers::Positional').context).to eq({})
    expect(build('SpecHandlers::NoSuper').process.last).to be(TaskerCore.logger)
  end

  it 'refuses a constructor that it cannot serve' do
    expect { build('SpecHandlers::TooMany') }.to raise_error(TaskerCore::ConfigurationError, /TooMany cannot be made/)
  end

  it 'finds registered handlers before constants' do
    handlers.register(:'SpecHandlers::Positional', ->(task) { task })
    expect(build('SpecHandlers::Positional')).to be_a(Proc)
    expect { handlers.register('X', 5) }.to raise_error(TaskerCore::ConfigurationError)
  end

  it 'names a class that does not exist, and does not look elsewhere' do
    ['SpecHandlers::Nowhere', 'Nowhere', 'SpecHandlers::String', 'nowhere', '', 'a b', '::X'].each do |name|
      expect { handlers.resolve(name) }.to raise_error(TaskerCore::ConfigurationError, include(name))
    end
  end
end

RSpec.describe TaskerCore::Worker::Runner do
  subject(:runner) { described_class.new(handlers, Logger.new(nil)) }

  let(:handlers) { TaskerCore::Handlers.new }
  let(:asked) { [] }

  def run(handler = nil, context: {}, results: {}, **step, &block)
    handlers.register('H', handler || block)
    fields = batch(uuid, { 'a' => { handler: 'H', parents: results.keys, **step } }, context:, results:)
    session = Object.new
    log = asked
    session.define_singleton_method(:fetch_result) { |*arguments| log << arguments and '"far"' }
    job = TaskerCore::Worker::Batch.new(fields, session, TaskerCore::Clock.now).jobs.first
    runner.run(job)
    job.outcome
  end

  def error_of(exception) = run { raise exception }['error']

  describe 'calls' do
    it 'lambdas with the parameters that they take' do
      expect(run(-> { 1 })['result']).to eq('1')
      expect(run(->(task) { task.context[:n] }, context: { n: 2 })['result']).to eq('2')
      expect(run(->(_task, sequence, step) { [sequence.names, step.name] })['result']).to eq('[[],"a"]')
      expect(run(->(*all) { all.size })['result']).to eq('3')
    end

    it 'objects with call' do
      callable = Object.new
      def callable.call(_task, _sequence, step) = step.attempt
      expect(run(callable)['result']).to eq('1')
    end
  end

  describe 'results' do
    it 'may say more than the value' do
      result = run { TaskerCore::Types::StepHandlerCallResult.success(result: { x: 1 }, metadata: { op: 'sum' }) }
      expect(result).to include('status' => 'complete', 'result' => '{"x":1}', 'metadata' => '{"op":"sum"}')
    end

    it 'may be an error' do
      result = run do
        TaskerCore::Types::StepHandlerCallResult.error(
          error_type: 'RetryableError', message: 'busy', error_code: 'BUSY', retryable: true,
          metadata: { retry_after: 3, context: { queue: 'q' } }
        )
      end
      expect(result['status']).to eq('error')
      expect(result['error']).to eq('class' => 'TaskerCore::Errors::RetryableError', 'message' => 'busy',
                                    'code' => 'BUSY', 'retryable' => true, 'retry_after' => '3',
                                    'context' => '{"queue":"q"}')
    end

    it 'that are hashes with a status stay what they are' do
      expect(run { { success: false, result: 1 } }).to include('status' => 'complete',
                                                               'result' => '{"success":false,"result":1}')
    end

    it 'carry when and how long' do
      before = Process.clock_gettime(Process::CLOCK_REALTIME, :microsecond)
      outcome = run { nil }
      expect(outcome['started_at_us']).to be_between(before, before + 5_000_000)
      expect(outcome['duration_us']).to be_between(0, 5_000_000)
    end
  end

  describe 'sequence' do
    it 'has the results of parents in several ways' do
      outcome = run(results: { 'p' => { 'result' => [1, { 'x' => 2 }] }, 'q' => 5 }) do |_, sequence, _|
        [sequence.get_results(:q), sequence.get_result('p', :result), sequence.get('p').dig('result', :result, 1, :x),
         sequence['q'].results, sequence.steps.find { |step| step.name == 'q' }.results, sequence.get('z'),
         sequence.include?(:p), sequence.results_by_name.keys]
      end
      expect(JSON.parse(outcome['result'])).to eq([5, [1, { 'x' => 2 }], 2, 5, 5, nil, true, %w[p q]])
      expect(asked).to be_empty
    end

    it 'asks once for a step further back' do
      outcome = run { |_, sequence, _| [sequence.get_results('far'), sequence.get_results(:far)] }
      expect(outcome['result']).to eq('["far","far"]')
      expect(asked.map(&:last)).to eq(['far'])
    end
  end

  describe 'failures' do
    errors = TaskerCore::Errors
    {
      errors::RetryableError.new('x', retry_after: 2) => [true, { 'retry_after' => '2' }],
      errors::RetryableError.new('x', retry_after: 0.5) => [true, { 'retry_after' => '0.5' }],
      errors::RetryableError.new('x', retry_after: Time.utc(2026, 1, 1)) =>
        [true, { 'retry_after' => 'Thu, 01 Jan 2026 00:00:00 GMT' }],
      errors::PermanentError.new('x', error_code: 'CODE', context: { a: 1 }) =>
        [false, { 'code' => 'CODE', 'context' => '{"a":1}' }],
      errors::ValidationError.new('x', field: 'name') => [false, { 'context' => '{"field":"name"}' }],
      errors::NotFoundError.new('x') => [false, {}],
      errors::ConfigurationError.new('x') => [false, {}],
      errors::TimeoutError.new('x', timeout_duration: 3) => [true, { 'context' => '{"timeout_duration":3}' }],
      errors::NetworkError.new('x') => [true, {}],
      errors::NetworkError.new('x', status_code: 503) => [true, { 'context' => '{"status_code":503}' }],
      errors::NetworkError.new('x', status_code: 429) => [true, {}],
      errors::NetworkError.new('x', status_code: 404) => [false, {}],
      StandardError.new('x') => [true, {}],
      Timeout::Error.new('x') => [true, {}],
      NotImplementedError.new('x') => [false, {}],
      SystemExit.new(1, 'x') => [false, {}],
      NoMemoryError.new('x') => [true, {}]
    }.each do |exception, (retryable, fields)|
      it "of #{exception.class.name} #{exception.respond_to?(:status_code) ? exception.status_code : ''}" do
        expect(error_of(exception)).to include('class' => exception.class.name, 'message' => 'x',
                                               'retryable' => retryable, **fields)
      end
    end

    it 'are reachable under both names' do
      expect(TaskerCore::RetryableError).to be(errors::RetryableError)
      expect(TaskerCore::Error).to be(errors::Error)
    end

    it 'keep at most thirty lines of backtrace, and text that can be sent' do
      exception = RuntimeError.new("bad \xff \0 text")
      exception.set_backtrace(Array.new(50) { |line| "file.rb:#{line}" })
      error = error_of(exception)
      expect(error['backtrace'].size).to eq(30)
      expect(error['message']).to be_valid_encoding
      expect(error['message']).not_to include("\0")
    end

    it 'keep a context that is no JSON as text' do
      error = error_of(errors::PermanentError.new('x', context: { thing: Object }))
      expect(JSON.parse(error['context'])['text']).to include('Object')
    end

    it 'name a constant that is missing inside the handler as what it is' do
      handler = SpecHandlers::BrokenConstant
      expect(run(handler)['error']).to include('class' => 'NameError', 'retryable' => true)
    end

    it 'include events that the template does not list' do
      outcome = run(custom_events: ['paid']) { |_, _, step| step.publish_event('shipped') }
      expect(outcome['error']).to include('retryable' => false, 'message' => include('shipped').and(include('paid')))
    end
  end
end
