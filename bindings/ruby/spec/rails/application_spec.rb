# frozen_string_literal: true

require 'support/rails_application'
require 'support/test_broker'

# From `rails new` to a workflow that runs, with the real broker, whose database is the application's as well.
RSpec.describe 'a Rails application', seconds: 240 do
  before(:context) do
    @app = RailsApplication.new(TestBroker.shared)
    @app.run('bin/rails', 'generate', 'tasker:install')
    @app.run('bin/rails', 'generate', 'tasker:workflow', 'OrderFulfillment', 'validate', 'reserve:validate',
             'charge:validate', 'ship:reserve,charge')
    @app.run('bin/rails', 'generate', 'model', 'Order', 'total:integer', '--no-test-framework')
    @app.run('bin/rails', 'db:migrate')
  end

  after(:context) { @app&.remove }

  after { |example| warn(app.logs) if example.exception }

  attr_reader :app

  def wait_and_tell = 'task.wait(timeout: 20).then { |state| { state: state, results: task.results } }'

  it 'enqueues with its transaction, runs it on a worker, and reloads what is edited' do
    before_worker = app.ruby(<<~RUBY)
      Order.transaction do
        OrderFulfillment.enqueue({ order_id: Order.create!(total: 1).id }, transactional: true)
        raise ActiveRecord::Rollback
      end
      order = task = nil
      Order.transaction do
        order = Order.create!(total: 2)
        task = OrderFulfillment.enqueue({ order_id: order.id }, transactional: :inbox)
      end
      sleep 0.01 until task.id
      { order: order.id, id: task.id, orders: Order.count,
        tasks: TaskerCore.client.list_tasks(namespace: 'shop', name: 'order_fulfillment').map(&:task_id),
        left: ActiveRecord::Base.connection.select_value('SELECT count(*) FROM tasker.task_inbox') }
    RUBY
    expect(before_worker).to include('orders' => 1, 'tasks' => [before_worker['id']], 'left' => 0)

    worker = app.start_worker('-p', '2')
    first = app.ruby("task = TaskerCore::Task.find('#{before_worker['id']}'); #{wait_and_tell}")
    expect(first['state']).to eq('complete')
    expect(first['results']['ship'].keys).to eq(%w[reserve charge])
    expect(first['results']['validate']).to eq('input' => { 'order_id' => before_worker['order'] })

    app.edit('app/workflows/order_fulfillment.rb') { |text| text.sub('{ input: ctx.input }', "{ edited: 'once' }") }
    run = "task = OrderFulfillment.enqueue(order_id: 1); #{wait_and_tell}.merge(template: task.template)"
    edited = app.ruby(run)
    expect(edited).to include('state' => 'complete')
    expect(edited['results']['validate']).to eq('edited' => 'once')

    # Another step is another version, and another class is another template: the worker registers again.
    app.edit('app/workflows/order_fulfillment.rb') { |text| text.sub(/version .*\n/, "\\0  step(:look) { 7 }\n") }
    app.write('app/workflows/refund.rb', "class Refund < ApplicationWorkflow\n  step(:pay) { 'paid' }\nend\n")
    changed = app.ruby(run)
    expect(changed).to include('state' => 'complete')
    expect(changed['results']['look']).to eq(7)
    expect(changed['template']).not_to eq(edited['template'])
    expect(app.ruby("task = Refund.enqueue; #{wait_and_tell}")).to eq('state' => 'complete',
                                                                      'results' => { 'pay' => 'paid' })
    expect(worker).to be_running
    expect(worker.stop).to eq(0)
  end

  it 'tells of code that does not load, and goes on when it does' do
    worker = app.start_worker
    app.write('app/workflows/broken.rb', "class Broken < ApplicationWorkflow\n  step(:one) { 1\nend\n")
    worker.wait_for(/the workflows cannot be loaded: SyntaxError/)
    app.edit('app/workflows/broken.rb') { |text| text.sub('{ 1', '{ 1 }') }
    expect(app.ruby("task = Broken.enqueue; #{wait_and_tell}")).to include('results' => { 'one' => 1 })
    expect(worker.stop).to eq(0)
  end
end
