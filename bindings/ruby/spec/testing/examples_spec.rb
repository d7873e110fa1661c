# frozen_string_literal: true

require_relative '../support/without_broker'

# The example workflows as a whole, without a broker.
RSpec.describe TaskerCore::Testing, 'examples' do
  root = File.expand_path('../../../../examples', __dir__)
  folders = %w[linear_workflow diamond_workflow tree_workflow mixed_dag_workflow order_fulfillment]

  before do
    folders.each { |folder| require File.join(root, folder, 'handlers.rb') }
    described_class.load_templates(*folders.map { |folder| File.join(root, folder) })
  end

  include_context 'without a broker'

  define_method(:context) { |folder, name| JSON.parse(File.read(File.join(root, folder, "#{name}.json"))) }

  def submit(template, context)
    namespace, name = template.split('/')
    TaskerCore::Task.find(TaskerCore.client.initialize_task(namespace: namespace, name: name, context: context).task_id)
  end

  def order(name) = submit('fulfillment/process_order', context('order_fulfillment', name))
  def failure(task, step) = task.status(steps: true).step(step)

  numbers = {
    'linear_workflow/mathematical_sequence' => {
      6 => [36, 1296, 1_679_616, 2_821_109_907_456], 8 => [64, 4096, 16_777_216, 281_474_976_710_656]
    },
    'diamond_workflow/parallel_computation' => {
      4 => [16, 256, 256, 4_294_967_296], 8 => [64, 4096, 4096, 281_474_976_710_656],
      10 => [100, 10_000, 10_000, 10_000_000_000_000_000]
    },
    'tree_workflow/hierarchical_computation' => { 2 => [4, 16, 16, 256, 256, 256, 256, 2**64] },
    'mixed_dag_workflow/complex_dag_computation' => {
      2 => [4, 16, 16, 65_536, 256, 256, 2**64], 4 => [16, 256, 256, 2**32, 2**16, 2**16, 2**128]
    }
  }
  numbers.each do |template, cases|
    cases.each do |number, results|
      it "#{template} of #{number}, inline and drained" do
        inline = described_class.inline! { submit(template, even_number: number) }
        drained = described_class.fake! { submit(template, even_number: number) }
        expect(inline.state).to eq('complete')
        expect(inline.results.values).to eq(results)
        expect(drained.state).to eq('pending')
        expect(described_class.drain(template)).to eq(results.size)
        expect(drained.results.values).to eq(results)
      end
    end
  end

  it 'linear: an odd number ends in error' do
    described_class.inline!
    task = submit('linear_workflow/mathematical_sequence', context('linear_workflow', 'context-odd'))
    expect(task.state).to eq('error')
    expect(failure(task, 'linear_step_1')).to have_attributes(attempts: 1, error_code: 'NOT_EVEN')
    expect(task.results).to be_empty
  end

  {
    'context' => [209.97, 2, 6.09, 16.25], 'context-standard' => [109.97, 2, 3.19, 10.24]
  }.each do |name, (total, items, fee, shipping)|
    it "order: #{name} comes to the cent" do
      described_class.inline!
      task = order(name)
      expect(task.state).to eq('complete')
      expect(task.results.keys).to eq(%w[validate_order reserve_inventory process_payment ship_order])
      expect(task.result(:validate_order)[:order_total]).to eq(total)
      expect(task.result(:reserve_inventory)[:items_reserved]).to eq(items)
      expect(task.result(:process_payment)[:gateway_fee]).to eq(fee)
      expect(task.result(:ship_order)).to include('shipping_cost' => shipping, 'shipping_status' => 'label_created')
      expect(described_class.events.map(&:topic)).to eq(['event.custom.fulfillment.order_shipped'])
    end
  end

  it 'order: the task handler prefers some and refuses others, also in fake mode' do
    described_class.fake!
    order('context')
    expect(described_class.enqueued.first.input).to include('processing_priority' => 'high')
    expect { order('context-too-expensive') }
      .to raise_error(TaskerCore::ValidationError) { |error| expect(error.error_code).to eq('MAX_VALUE_EXCEEDED') }
    expect(described_class.enqueued.size).to eq(1)
  end

  {
    'context-declined' => %w[process_payment PAYMENT_DECLINED],
    'context-amount-mismatch' => %w[process_payment PAYMENT_AMOUNT_MISMATCH],
    'context-unknown-product' => %w[validate_order PRODUCT_NOT_FOUND]
  }.each do |name, (step, code)|
    it "order: #{name} ends in error" do
      described_class.inline!
      task = order(name)
      expect(task.state).to eq('error')
      expect(failure(task, step)).to have_attributes(state: 'error', attempts: 1, error_code: code)
    end
  end

  it 'order: what is out of stock is tried again each minute' do
    described_class.inline!
    task = order('context-out-of-stock')
    expect(failure(task, 'reserve_inventory')).to have_attributes(state: 'waiting_for_retry', attempts: 1)
    expect(failure(task, 'reserve_inventory').retry_in_ms).to be_between(59_000, 60_000)
    described_class.travel(60)
    expect(failure(task, 'reserve_inventory').attempts).to eq(2)
    expect(task.wait(timeout: 60)).to eq('error')
    expect(failure(task, 'reserve_inventory')).to have_attributes(state: 'error', attempts: 3)
  end

  it 'order: a failure that passes is forgotten' do
    described_class.inline!
    expect(order('context-retry').tap { |task| task.wait(timeout: 2) }).to be_complete
  end
end
