# frozen_string_literal: true

require 'yaml'

# The example workflows, run step by step in the order of their templates, without a broker.
RSpec.describe 'examples' do
  root = File.expand_path('../../../examples', __dir__)
  folders = %w[linear_workflow diamond_workflow tree_workflow mixed_dag_workflow order_fulfillment]
  before { folders.each { |folder| require File.join(root, folder, 'handlers.rb') } }

  define_method(:template) { |folder| YAML.safe_load_file(File.join(root, folder, 'template.yaml')) }
  define_method(:context) { |folder, name = 'context'| File.read(File.join(root, folder, "#{name}.json")) }

  def parents_of(step) = [*step['depends_on_step'], *step['depends_on_steps']]

  def fields_of(step, definition, attempt)
    step(step['name'], handler: step['handler_class'], parents: parents_of(step), attempt:,
                       retry_limit: step['default_retry_limit'] || 3,
                       inputs: JSON.generate(step['handler_config'] || {}),
                       custom_events: definition['custom_events'] || [])
  end

  def job_for(fields, context, texts)
    session = Object.new.tap { |it| it.define_singleton_method(:fetch_result) { |_, name| texts.fetch(name) } }
    results = fields['parents'].map { |name| { 'step' => name, 'result' => texts.fetch(name) } }
    task = { 'task_id' => uuid, 'context' => context, 'results' => results }
    batch = { 'batch_id' => uuid, 'tasks' => [task], 'steps' => [fields] }
    TaskerCore::Worker::Batch.new(batch, session, 0).jobs.first
  end

  # @return [Hash{String=>Hash}] outcomes by step, until one fails
  def run(folder, context, attempt: 1)
    runner = TaskerCore::Worker::Runner.new(TaskerCore::Handlers.new, Logger.new(nil))
    definition = template(folder)
    definition['step_templates'].each_with_object({}) do |step, outcomes|
      break outcomes if outcomes.values.any? { |outcome| outcome['status'] == 'error' }

      texts = outcomes.transform_values { |outcome| outcome['result'] }
      job = job_for(fields_of(step, definition, attempt), context, texts)
      runner.run(job)
      outcomes[step['name']] = job.outcome
    end
  end

  def results(folder, context)
    run(folder, context).transform_values { |outcome| outcome['error'] || JSON.parse(outcome['result']) }
  end

  folders.each do |folder|
    it "#{folder} names its steps, parents and handlers right" do
      steps = template(folder)['step_templates']
      names = steps.map { |step| step['name'] }
      expect(names.uniq).to eq(names)
      expect(steps.flat_map { |step| parents_of(step) } - names).to be_empty
      steps.each { |step| expect(Object.const_get(step['handler_class'])).to be < TaskerCore::StepHandler::Base }
      expect(JSON.parse(context(folder))).to be_a(Hash)
    end
  end

  it 'linear: squares four times, and only even numbers' do
    expect(results('linear_workflow', context('linear_workflow')).values)
      .to eq([36, 1296, 1_679_616, 2_821_109_907_456])
    expect(results('linear_workflow', '{"even_number":8}').values.last).to eq(281_474_976_710_656)
    odd = results('linear_workflow', context('linear_workflow', 'context-odd'))
    expect(odd['linear_step_1']).to include('retryable' => false, 'code' => 'NOT_EVEN')
    expect(odd.size).to eq(1)
  end

  it 'diamond: joins both branches' do
    expect(results('diamond_workflow', context('diamond_workflow')).values).to eq([16, 256, 256, 4_294_967_296])
    expect(results('diamond_workflow', '{"even_number":8}').values.last).to eq(281_474_976_710_656)
    expect(results('diamond_workflow', '{"even_number":10}').values.last).to eq(10_000_000_000_000_000)
  end

  it 'tree: brings four leaves together as an integer' do
    expect(results('tree_workflow', context('tree_workflow')).values)
      .to eq([4, 16, 16, 256, 256, 256, 256, 18_446_744_073_709_551_616])
  end

  it 'mixed: crosses, up to 2^128' do
    expect(results('mixed_dag_workflow', context('mixed_dag_workflow')).values)
      .to eq([4, 16, 16, 65_536, 256, 256, 18_446_744_073_709_551_616])
    expect(results('mixed_dag_workflow', context('mixed_dag_workflow', 'context-large')).values.last)
      .to eq(340_282_366_920_938_463_463_374_607_431_768_211_456)
  end

  describe 'order' do
    define_method(:order) { |name = 'context'| results('order_fulfillment', context('order_fulfillment', name)) }

    def refused(changes)
      document = JSON.parse(context('order_fulfillment'))
      changes.each { |path, value| path[0..-2].inject(document) { |inner, key| inner[key] }[path.last] = value }
      results('order_fulfillment', JSON.generate(document)).values.last
    end

    it 'comes to the cent' do
      expect(order['validate_order']).to include('customer_validated' => true, 'customer_id' => 12_345,
                                                 'order_total' => 209.97, 'validation_status' => 'complete')
      expect(order['validate_order']['validated_items'].map { |item| item['line_total'] }).to eq([59.98, 149.99])
      expect(order['reserve_inventory']).to include('items_reserved' => 2, 'reservation_status' => 'confirmed')
      expect(order['process_payment']).to include('gateway_fee' => 6.09, 'amount_charged' => 209.97)
      expect(order['ship_order']).to include('shipping_cost' => 16.25, 'shipping_status' => 'label_created')
    end

    it 'comes to the cent in standard, too' do
      standard = order('context-standard')
      expect(standard['validate_order']['order_total']).to eq(109.97)
      expect(standard['process_payment']['gateway_fee']).to eq(3.19)
      expect(standard['ship_order']['shipping_cost']).to eq(10.24)
    end

    it 'keeps a reservation for fifteen minutes' do
      reservation = order['reserve_inventory']
      expect(Time.iso8601(reservation['expires_at']) - Time.iso8601(reservation['reserved_at'])).to be_within(1).of(900)
    end

    it 'delivers in business days' do
      days = OrderFulfillment::ShipOrderHandler.new
      friday = Date.new(2026, 1, 2)
      { 1 => Date.new(2026, 1, 5), 2 => Date.new(2026, 1, 6), 5 => Date.new(2026, 1, 9) }.each do |count, date|
        expect(days.__send__(:business_days_from, friday, count)).to eq(date)
      end
    end

    it 'publishes that it was shipped' do
      outcome = run('order_fulfillment', context('order_fulfillment'))['ship_order']
      expect(outcome['events'].map { |event| event['name'] }).to eq(['order_shipped'])
    end

    {
      'MISSING_CUSTOMER_ID' => { %w[customer_info id] => nil },
      'MISSING_CUSTOMER_EMAIL' => { %w[customer_info email] => '' },
      'MISSING_ORDER_ITEMS' => { %w[order_items] => [] },
      'INVALID_ORDER_ITEM' => { ['order_items', 0, 'price'] => nil },
      'INVALID_QUANTITY' => { ['order_items', 0, 'quantity'] => 0 },
      'INVALID_PRICE' => { ['order_items', 0, 'price'] => -1 },
      'PRODUCT_NOT_FOUND' => { ['order_items', 0, 'product_id'] => 999 },
      'ORDER_TOTAL_TOO_HIGH' => { ['order_items', 0, 'price'] => 25_000.01 },
      'MISSING_PAYMENT_INFO' => { %w[payment_info] => {} },
      'MISSING_PAYMENT_METHOD' => { %w[payment_info method] => nil },
      'MISSING_PAYMENT_TOKEN' => { %w[payment_info token] => nil },
      'PAYMENT_AMOUNT_MISMATCH' => { %w[payment_info amount] => 209.98 },
      'PAYMENT_DECLINED' => { %w[simulate] => { 'process_payment' => { 'fail' => 'declined' } } },
      'PAYMENT_AUTH_FAILED' => { %w[simulate] => { 'process_payment' => { 'fail' => 'auth' } } }
    }.each do |code, changes|
      it "fails for good with #{code}" do
        expect(refused(changes)).to include('code' => code, 'retryable' => false)
      end
    end

    it 'waits for stock' do
      expect(order('context-out-of-stock')['reserve_inventory']).to include('retryable' => true, 'retry_after' => '60')
    end

    it 'fails as often as asked' do
      text = context('order_fulfillment', 'context-retry')
      expect(run('order_fulfillment', text)['reserve_inventory']['error'])
        .to include('retryable' => true, 'retry_after' => '2')
      expect(run('order_fulfillment', text, attempt: 2).values.map do |outcome|
               outcome['status']
             end.uniq).to eq(['complete'])
    end

    describe 'task handler' do
      let(:handler) do
        OrderFulfillment::OrderFulfillmentHandler.new(config: template('order_fulfillment')['handler_config'])
      end

      def request(changes = {})
        document = JSON.parse(context('order_fulfillment'))
        changes.each { |path, value| path[0..-2].inject(document) { |inner, key| inner[key] }[path.last] = value }
        TaskerCore::IndifferentHash.wrap(namespace: 'fulfillment', name: 'process_order', context: document)
      end

      it 'prefers premium customers' do
        expect(handler.initialize_task(request)[:context])
          .to include('processing_priority' => 'high', 'expedited_shipping' => true)
        expect(handler.initialize_task(request({ %w[customer_info tier] => 'standard' }))[:context])
          .not_to include('expedited_shipping')
      end

      {
        'MAX_ITEMS_EXCEEDED' => { %w[order_items] => [{}] * 51 },
        'MAX_VALUE_EXCEEDED' => { %w[payment_info amount] => 10_000.01 },
        'MIN_VALUE_NOT_MET' => { %w[payment_info amount] => 0.009 }
      }.each do |code, changes|
        it "refuses with #{code}" do
          expect { handler.initialize_task(request(changes)) }
            .to raise_error(TaskerCore::ValidationError) { |error| expect(error.error_code).to eq(code) }
        end
      end
    end
  end
end
