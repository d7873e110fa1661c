# frozen_string_literal: true

RSpec.describe TaskerCore::Execution::Task do
  golden = JSON.parse(File.read(File.expand_path('../../../tests/golden/ExecuteBatch.json', __dir__)))

  it 'has the trace that it was submitted with' do
    task = described_class.new(golden['fields']['tasks'].first)
    expect(task).to have_attributes(traceparent: '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01',
                                    tracestate: 'congo=t61rcWkgMzE', correlation_id: 'order-1001')
  end

  it 'has none when there was none' do
    task = described_class.new(golden['fields']['tasks'].first.except('traceparent', 'tracestate'))
    expect(task).to have_attributes(traceparent: nil, tracestate: nil)
  end
end

RSpec.describe TaskerCore::Execution::Attempt do
  include Attempts

  golden = JSON.parse(File.read(File.expand_path('../../../tests/golden/ExecuteBatch.json', __dir__)))['fields']
  attempt = lambda do |steps, tasks = golden['tasks']|
    TaskerCore::Worker::Batch.new(golden.merge('steps' => steps, 'tasks' => tasks), nil, 0).jobs.first.attempt
  end

  it "is part of the broker's span, else of that in which its task was submitted" do
    steps, tasks = golden.values_at('steps', 'tasks').map { |rows| rows.map { |row| row.except('traceparent') } }
    spans = [attempt.call(golden['steps']), attempt.call(steps), attempt.call(steps, tasks)].map(&:traceparent)
    expect(spans).to eq(['00-0af7651916cd43dd8448eb211c80319c-00f067aa0ba902b7-01',
                         '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01', nil])
  end

  it 'has its span also where nothing else knows of a trace' do
    span = golden['steps'].first['traceparent']
    job = run_step(-> { TaskerCore::TraceContext.current.traceparent }, traceparent: span)
    expect(job.outcome['result']).to eq("\"#{span}\"")
  end
end
