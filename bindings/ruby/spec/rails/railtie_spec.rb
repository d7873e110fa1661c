# frozen_string_literal: true

require 'support/rails_application'
require 'support/test_broker'

RSpec.describe 'the Railtie', seconds: 90 do
  before(:context) do
    @app = RailsApplication.new(TestBroker.shared)
    @app.write('config/tasker.yml', "shared:\n  broker: <%= ENV['TASKER_BROKER'] %>\n  request_timeout: 3\n" \
                                    "production:\n  worker: { concurrency: 3 }\n")
    @app.write('app/workflows/probe.rb', <<~RUBY)
      class Probe < TaskerCore::Workflow
        namespace :probe
        step(:pool) do
          ActiveRecord::Base.connection.select_value('SELECT 1')
          { pool: ActiveRecord::Base.connection_pool.size, workflows: TaskerCore::Workflow.loaded.map(&:name) }
        end
        # The thread may be the same one; what is seen is what the step before has left.
        step(:left, after: :pool) { ActiveRecord::Base.connection_pool.stat.slice(:busy) }
        step(:fails, attempts: 2) { Lib.raise_it }
      end
    RUBY
    @app.write('app/models/lib.rb', "class Lib\n  def self.raise_it = [1].each { raise 'broken' }\nend\n")
    # Error reports as Rails 7 and later has them.
    @app.write('config/errors.rb', <<~RUBY)
      reports = Class.new do
        def report(error, **options)
          line = [error.message, options.slice(:handled, :severity), options[:context].slice(:step, :attempt)]
          File.open(ENV.fetch('REPORTS'), 'a') { |file| file.puts(JSON.generate(line)) }
        end
      end.new
      Rails.define_singleton_method(:error) { reports }
    RUBY
    @app.edit('config/application.rb') { |text| text.sub("require \"rails\"\n", "\\0require_relative 'errors'\n") }
    @app.environment.update(REPORTS: @app.path('reports'), SECRET_KEY_BASE: 'x', RAILS_LOG_TO_STDOUT: '')
  end

  after { |example| warn(app.logs) if example.exception }
  after(:context) { @app&.remove }

  attr_reader :app

  it 'takes over what the application is and says' do
    told = app.ruby(<<~RUBY)
      configuration = TaskerCore.configuration
      { environment: configuration.environment, logger: configuration.logger.equal?(Rails.logger),
        broker: configuration.broker, request_timeout: configuration.request_timeout,
        versions: configuration.versions_follow_content }
    RUBY
    expect(told).to eq('environment' => 'development', 'logger' => true, 'broker' => TestBroker.shared.work,
                       'request_timeout' => 3, 'versions' => true)
    expect(app.ruby('TaskerCore.configuration.versions_follow_content', RAILS_ENV: 'production')).to be(false)
  end

  it 'leaves the last word to initializers' do
    app.write('config/initializers/tasker.rb', "TaskerCore.configure { |config| config.request_timeout = 4 }\n")
    expect(app.ruby('TaskerCore.configuration.request_timeout')).to eq(4)
  ensure
    FileUtils.rm_f(app.path('config/initializers/tasker.rb'))
  end

  it 'stops the start over a wrong setting' do
    settings = app.read('config/tasker.yml')
    app.write('config/tasker.yml', "development:\n  brokr: a\n")
    output, code = app.try('bin/tasker-worker')
    expect(output).to match(%r{\Atasker-worker: /.*config/tasker.yml: development.brokr is not known})
    expect(code).to eq(2)
  ensure
    app.write('config/tasker.yml', settings)
  end

  it 'runs steps as requests are run, cleans backtraces and reports errors, in production' do
    worker = app.start_worker('-c', '1', RAILS_ENV: 'production')
    told = app.ruby(<<~RUBY, RAILS_ENV: 'production')
      task = Probe.enqueue
      state = task.wait(timeout: 60)
      worker = TaskerCore.client.list_workers.find { |it| it.pid == #{worker.pid} }
      { state: state, results: task.results, concurrency: worker.concurrency, served: worker.templates }
    RUBY
    expect(told).to include('state' => 'error', 'concurrency' => 1)
    expect(told['served']).to contain_exactly(a_string_starting_with('probe/probe@'))
    expect(told['results']).to eq('pool' => { 'pool' => 10, 'workflows' => ['Probe'] }, 'left' => { 'busy' => 0 })
    reports = app.read('reports').lines.map { |line| JSON.parse(line) }
    expect(reports).to eq(
      [['broken', { 'handled' => true, 'severity' => 'warning' }, { 'step' => 'fails', 'attempt' => 1 }],
       ['broken', { 'handled' => false, 'severity' => 'error' }, { 'step' => 'fails', 'attempt' => 2 }]]
    )
    # In the log, and as the broker has it, only what is the application's.
    expect(worker.log).to match(%r{RuntimeError: broken\napp/models/lib.rb:2:in .*\n.*app/models/lib.rb:2})
    expect(worker.stop).to eq(0)
    expect(app.read('log/production.log')).to include('RuntimeError: broken')
  end

  it 'lets the command line win over the settings, and finds the application elsewhere' do
    elsewhere = app.start_worker('-r', app.root, '-c', '2', '-n', 'probe', RAILS_ENV: 'production', folder: '/')
    served = app.ruby("TaskerCore.client.list_workers.find { |it| it.pid == #{elsewhere.pid} }.to_h")
    expect(served).to include('concurrency' => 2)
    expect(elsewhere.stop).to eq(0)
  end
end
