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
