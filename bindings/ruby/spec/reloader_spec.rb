# frozen_string_literal: true

RSpec.describe TaskerCore::Worker::Runner do
  let(:configuration) { TaskerCore::Configuration.new }
  let(:handlers) { TaskerCore::Handlers.new }
  let(:log) { StringIO.new }
  let(:told) { [] }

  def run(&handler)
    handlers.register('Spec', handler) if handler
    runner = described_class.new(handlers, Logger.new(log), configuration: configuration)
    fields = batch(uuid, { 'one' => { handler: 'Spec' } })
    TaskerCore::Worker::Batch.new(fields, nil, 0).jobs.first.tap { |job| runner.run(job) }
  end

  it 'is put around the look-up of the handler, middleware and error handlers' do
    configuration.reloader = lambda do |&step|
      told << :before
      handlers.register('Spec', ->(*) { told << :new and raise 'broken' })
      step.call
      told << :after
    end
    configuration.worker_middleware.add(Class.new do
      def initialize(told) = @told = told

      def call(_attempt)
        @told << :middleware
        yield
      end
    end, told)
    configuration.on_error { told << :error }
    expect(run { told << :old }.outcome).to include('status' => 'error')
    expect(told).to eq(%i[before middleware new error after])
  end

  it 'fails the step when it raises before it, and says why' do
    configuration.reloader = ->(&_step) { raise SyntaxError, 'in app/workflows' }
    job = run { told << :ran }
    expect(job.outcome['error']).to include('class' => 'SyntaxError', 'message' => 'in app/workflows')
    expect([job.state, told, log.string]).to match([:error, [], /SyntaxError: in app/])
  end

  it 'leaves the outcome as it is when it raises after the step' do
    configuration.reloader = lambda do |&step|
      step.call
      raise 'no connection to give back'
    end
    expect(run { 7 }.outcome).to include('status' => 'complete', 'result' => '7')
    expect(log.string).to include('no connection to give back')
  end
end

RSpec.describe TaskerCore::Worker::Failure do
  after { TaskerCore.configuration.backtrace_cleaner = nil }

  it 'keeps of a backtrace what the cleaner leaves' do
    TaskerCore.configuration.backtrace_cleaner = ->(lines) { lines.grep(/app/) }
    error = RuntimeError.new('broken').tap { |it| it.set_backtrace(%w[gems/a.rb app/b.rb gems/c.rb]) }
    expect(described_class.from_exception(error)['backtrace']).to eq(['app/b.rb'])
    expect(described_class.from_exception(RuntimeError.new('raised nowhere'))).not_to include('backtrace')
  end
end
