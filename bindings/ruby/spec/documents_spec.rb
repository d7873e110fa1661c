# frozen_string_literal: true

require_relative 'support/without_broker'

# The workflows that the documents print are loaded and run as they stand.
RSpec.describe 'the workflows of the documents' do
  include_context 'without a broker'

  around { |example| TaskerCore::Testing.inline!(&example) }

  # What the application has that the documents speak of.
  let(:application) do
    order = Struct.new(:id, :total, :state) do
      def update!(state:) = self.state = state
    end.new(42, 20, 'new')
    Module.new do
      const_set(:Order, Module.new { define_singleton_method(:find) { |_id| order } })
      const_set(:ApplicationWorkflow, Class.new(TaskerCore::Workflow) { namespace :shop })
      const_set(:ReserveInventory, Class.new { def call(ctx) = { reserved: ctx.results[:validate][:total] } })
      const_set(:Carrier, Module.new { def self.label(what) = "label of #{what}" })
      const_set(:Stock, Module.new { def self.reserve(id) = id })
      const_set(:Gateway, Module.new do
        def self.charge(what, key:) = "#{what} by #{key.split(':').last}"
        const_set(:Busy, Class.new(StandardError))
        const_set(:Declined, Class.new(StandardError))
      end)
    end
  end

  # @return [Class] the workflow of that name in a document, with the application around it
  def printed(document, name)
    text = File.read(File.expand_path("../#{document}", __dir__))
    code = text[/^class #{name} < .*?^end$/m] or raise "#{document} has no class #{name}"
    application.constants.each { |constant| stub_const(constant.to_s, application.const_get(constant)) }
    # Gone after the example, whoever defines it.
    stub_const(name, nil)
    Object.send(:remove_const, name)
    Object.class_eval(code, document)
    Object.const_get(name)
  end

  it 'README: what is validated is charged and shipped' do
    task = printed('README.md', 'OrderFulfillment').enqueue(order_id: 42)
    expect(task.results).to eq('validate' => { 'total' => '20' }, 'reserve' => { 'reserved' => '20' },
                               'charge' => { 'receipt' => '20 by charge' }, 'ship' => 'label of 42')
  end

  it 'GUIDE: what is paid is shipped' do
    workflow = printed('GUIDE.md', 'OrderFulfillment')
    task = workflow.enqueue(order_id: 42)
    expect(task.wait).to eq('complete')
    expect(task.results.keys).to eq(%w[reserve charge ship])
    expect(task.result(:ship)).to eq(task.result(:charge).slice('receipt'))
    application.const_get(:Order).find(42).total = 0
    expect(workflow.enqueue(order_id: 42).state).to eq('error')
  end

  it 'MIGRATING: a batch with a callback' do
    task = printed('MIGRATING.md', 'Shipment').enqueue(order_id: 42)
    expect(task.results).to include('label' => 'label of 42 by charge')
  end
end
