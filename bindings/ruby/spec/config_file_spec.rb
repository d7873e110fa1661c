# frozen_string_literal: true

require 'tasker_core/config_file'
require 'tempfile'

RSpec.describe TaskerCore::ConfigFile do
  def load(text, extension = '.toml')
    Tempfile.create(['tasker', extension]) do |file|
      file.write(text)
      file.close
      @path = file.path
      described_class.load(file.path)
    end
  end

  it 'reads its part of a TOML file' do
    text = <<~TOML
      [server]
      work = ["tcp://127.0.0.1:7570"]

      [worker]
      broker = "tcp://127.0.0.1:7570"
      concurrency = 10
      namespaces = ["a", "b"]
      timeout_seconds = 2
    TOML
    expect(load(text)).to eq(broker: 'tcp://127.0.0.1:7570', concurrency: 10, namespaces: %w[a b], timeout_seconds: 2)
  end

  it 'knows the keys of the shared configuration, and takes its defaults' do
    defaults = described_class.load(File.expand_path('../../../config/default.toml', __dir__))
    expect(defaults.keys.map(&:to_s)).to match_array(described_class::KEYS.keys)
    expect(defaults).to include(broker: TaskerCore::Configuration::BROKER, concurrency: 5, timeout_seconds: 25)
  end

  it 'reads YAML just so' do
    expect(load("worker:\n  require: [a.rb]\n", '.yaml')).to eq(require: ['a.rb'])
    expect(load("broker: {}\n", '.yml')).to eq({})
    expect(load('', '.yml')).to eq({})
  end

  {
    "[worker]\nconcurency = 3\n" => 'worker.concurency is not known',
    "[worker]\nconcurrency = \"3\"\n" => 'worker.concurrency has to be a whole number above 0, not "3"',
    "[worker]\nconcurrency = 0\n" => 'worker.concurrency',
    "[worker]\nprocesses = -1\n" => 'worker.processes has to be a whole number from 0 on, not -1',
    "[worker]\nnamespaces = \"a\"\n" => 'worker.namespaces has to be a list of texts',
    "[worker]\ntimeout_seconds = 2.5\n" => 'worker.timeout_seconds has to be a whole number from 0 to 3600, not 2.5',
    "[worker]\nlog_format = \"xml\"\n" => 'worker.log_format has to be text or json, not "xml"',
    "[worker]\nbroker = [\"tcp://a:1\"]\n" => 'worker.broker has to be a text',
    "worker = 3\n" => 'worker has to be a table',
    "[worker\n" => 'is not TOML'
  }.each do |text, problem|
    it "refuses #{text.inspect} with file and key" do
      expect { load(text) }.to raise_error(TaskerCore::ConfigurationError) { |error|
        expect(error.message).to include(@path).and include(problem)
      }
    end
  end

  it 'refuses a file that is not YAML, or of another kind' do
    expect { load("a: [\n", '.yaml') }.to raise_error(TaskerCore::ConfigurationError, /is not YAML/)
    expect { load('{}', '.json') }.to raise_error(TaskerCore::ConfigurationError, /\.toml, \.yaml or \.yml/)
  end
end
