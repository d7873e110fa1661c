# frozen_string_literal: true

require 'support/rails_application'
require 'support/test_broker'

RSpec.describe 'the generators', seconds: 90 do
  before(:context) { @app = RailsApplication.new(TestBroker.shared) }
  after(:context) { @app&.remove }

  attr_reader :app

  def generate(*arguments) = app.run('bin/rails', 'generate', *arguments)

  it 'make the settings, the base class, and a line for the worker' do
    app.write('Procfile.dev', "web: bin/rails server\n")
    generate('tasker:install')
    expect(app.read('app/workflows/application_workflow.rb')).to include("< TaskerCore::Workflow\n  namespace :shop\n")
    expect(app.read('Procfile.dev')).to eq("web: bin/rails server\ntasker: bundle exec tasker-worker\n")
    told = app.ruby(<<~RUBY, RAILS_ENV: 'production', SECRET_KEY_BASE: 'x', TASKER_CONCURRENCY: '7')
      settings = TaskerCore::Rails::Settings.of(Rails.application)
      { broker: TaskerCore.configuration.broker, worker: settings.worker }
    RUBY
    expect(told).to eq('broker' => TestBroker.shared.work, 'worker' => { 'concurrency' => 7, 'timeout_seconds' => 25 })
  end

  it 'make a workflow whose steps are what was asked for, with a test that passes' do
    generate('tasker:workflow', 'Shop/OrderFulfillment', 'validate', 'reserve:validate', 'ship:validate,reserve')
    text = app.read('app/workflows/shop/order_fulfillment.rb')
    expect(text).to include('class Shop::OrderFulfillment < ', "step :validate\n", "step :reserve, after: :validate\n",
                            "step :ship, after: %i[validate reserve]\n")
    told = app.ruby('[Shop::OrderFulfillment.template.steps, Shop::OrderFulfillment.workflow_name]')
    expect(told).to eq([%w[validate reserve ship], 'order_fulfillment'])
    app.run('bin/rails', 'db:create', 'db:migrate', RAILS_ENV: 'test')
    expect(app.run('bin/rails', 'test', RAILS_ENV: 'test', PARALLEL_WORKERS: '1'))
      .to match(/1 runs, 2 assertions, 0 failures, 0 errors/)
  end

  it 'make a spec where there are specs' do
    app.write('spec/rails_helper.rb', "require_relative '../config/environment'\n")
    generate('tasker:workflow', 'Refund', 'pay', 'tell:pay')
    expect(app.run('bundle', 'exec', 'rspec', RAILS_ENV: 'test')).to include('1 example, 0 failures')
    expect(File.exist?(app.path('test/workflows/refund_test.rb'))).to be(false)
  ensure
    FileUtils.rm_rf(app.path('spec'))
  end

  {
    %w[a b:c] => 'b comes after c, which is not given before it',
    %w[a a] => 'the step a is given twice',
    %w[a B] => '"B" is no name of a step',
    %w[a:a] => 'a comes after a, which is not given before it'
  }.each do |steps, problem|
    it "refuse the steps #{steps.join(' ')}" do
      output, = app.try('bin/rails', 'generate', 'tasker:workflow', 'Wrong', *steps)
      expect(output).to include(problem)
      expect(File.exist?(app.path('app/workflows/wrong.rb'))).to be(false)
    end
  end
end
