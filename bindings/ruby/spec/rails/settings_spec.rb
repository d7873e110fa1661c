# frozen_string_literal: true

require 'support/child'
require 'tempfile'

# In child processes: ActiveSupport, which reads the file, is to be met by nobody else.
RSpec.describe 'config/tasker.yml' do
  include Child

  # @return [Array] the client's and the worker's settings; and the path, wherever an error names it, is FILE
  def settings(text, environment: 'production', in_code: {})
    Tempfile.create(['tasker', '.yml']) do |file|
      file.write(text)
      file.close
      in_child do
        require 'active_support'
        require 'active_support/core_ext/hash'
        require 'tasker_core/rails/settings'
        under = TaskerCore::Rails::Settings.new(in_code, 'config.tasker')
        found = TaskerCore::Rails::Settings.from_file(file.path, environment).under(under)
        [found.client, found.worker]
      rescue TaskerCore::ConfigurationError => e
        e.message.sub(file.path, 'FILE')
      end
    end
  end

  it 'puts an environment over what is shared, key by key, after ERB' do
    text = <<~YAML
      shared:
        broker: tcp://shared:1
        request_timeout: 2.5
        worker: { concurrency: 3, queues: [a] }
      production:
        broker: [tcp://one:<%= 1 + 1 %>, tcp://two:2]
        worker:
          concurrency: <%= 4 * 2 %>
      development:
        broker: tcp://development:1
    YAML
    expect(settings(text)).to eq([{ broker: %w[tcp://one:2 tcp://two:2], request_timeout: 2.5 },
                                  { concurrency: 8, queues: ['a'] }])
    expect(settings(text, environment: 'development', in_code: { 'worker' => { 'concurrency' => 1 } }))
      .to eq([{ broker: 'tcp://development:1', request_timeout: 2.5 }, { concurrency: 1, queues: ['a'] }])
    expect(settings(text, environment: 'staging').first[:broker]).to eq('tcp://shared:1')
  end

  it 'takes what is empty for absent' do
    expect(settings("shared:\n  worker: {}\nproduction:\n  server_public_key: <%= nil %>\n")).to eq([{}, {}])
    expect(settings('')).to eq([{}, {}])
  end

  it 'has every setting of workers that a configuration file has, but for the connection' do
    expect(settings("production:\n  worker:\n    processes: 2\n    max_memory_mb: 500\n").last)
      .to eq(processes: 2, max_memory_mb: 500)
    expect(settings("production:\n  worker:\n    broker: tcp://a:1\n"))
      .to match(/\AFILE: production.worker.broker is not known \(known: name, concurrency, .*queues\)/)
  end

  {
    "production:\n  brokr: a\n" => /\AFILE: production.brokr is not known \(known: broker, .*worker\)/,
    "shared:\n  broker: 7\n" => 'FILE: shared.broker has to be a text or a list of texts, not 7',
    "production:\n  broker: []\n" => 'FILE: production.broker has to be a text or a list of texts, not []',
    "production:\n  secret_key_file: ''\n" => 'FILE: production.secret_key_file has to be a text, not ""',
    "production:\n  request_timeout: 0\n" => 'FILE: production.request_timeout has to be a number above 0, not 0',
    "production:\n  worker:\n    concurrency: many\n" =>
      'FILE: production.worker.concurrency has to be a whole number above 0, not "many"',
    "production:\n  worker:\n    queues: a\n" => 'FILE: production.worker.queues has to be a list of texts, not "a"',
    "production:\n  worker: 5\n" => 'FILE: production.worker has to be a table of keys, not 5',
    "production: tcp\n" => 'FILE: production has to be a table of keys, not "tcp"',
    "- a\n" => 'FILE has to be a table of environments',
    "production: [\n" => /\AFILE cannot be read: .*YAML/,
    "production:\n  broker: <%= ENV.fetch('TASKER_NOT_THERE') %>\n" => /\AFILE cannot be read: .*TASKER_NOT_THERE/
  }.each do |text, message|
    it "refuses #{text.inspect}" do
      expect(settings(text)).to match(message)
    end
  end

  it 'says where in the code a wrong setting is' do
    expect(settings('', in_code: { 'brokr' => 1 })).to start_with('config.tasker.brokr is not known')
  end
end
