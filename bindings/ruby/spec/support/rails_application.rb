# frozen_string_literal: true

require 'bundler'
require 'fileutils'
require 'open3'
require 'tmpdir'
require 'yaml'

# A Rails application in a temporary folder, made by the installed Rails, with this gem in its Gemfile.
class RailsApplication
  GEM = File.expand_path('../..', __dir__)
  WITHOUT = %w[action-cable action-mailbox action-text active-storage bootsnap bundle git javascript keeps listen puma
               spring sprockets system-test turbolinks webpack-install].freeze

  attr_reader :root
  # @return [Hash{Symbol=>String}] variables of all its processes
  attr_reader :environment

  # @param broker [TaskerCore::Testing::Broker]
  def initialize(broker)
    @broker = broker
    @folder = Dir.mktmpdir('tasker-rails')
    @root = File.join(@folder, 'shop')
    @workers = []
    @environment = {}
    run_in(@folder, {}, 'rails', 'new', 'shop', '--database=postgresql', *WITHOUT.map { |it| "--skip-#{it}" })
    # The one that `rails new` writes asks for gems that Debian has under other versions.
    write('Gemfile', "source 'https://rubygems.org'\ngem 'rails'\ngem 'pg'\ngem 'rspec'\n" \
                     "gem 'tasker_core', path: '#{GEM}'\n")
    FileUtils.rm_f(path('.ruby-version'))
    database = { pool: 10, **broker.database_config }.transform_keys(&:to_s)
    run('bundle', 'binstubs', 'tasker_core')
    # Rails makes the database of tests anew whenever it likes.
    tests = database.merge('database' => 'shop_test')
    write('config/database.yml', { 'development' => database, 'test' => tests, 'production' => database }.to_yaml)
  end

  def path(name) = File.join(root, name)
  def read(name) = File.read(path(name))

  def write(name, text)
    FileUtils.mkdir_p(File.dirname(path(name)))
    File.write(path(name), text)
  end

  # Changes a file as an editor does. Rails looks at the time of the change, which has to be another one, and does not
  # look at files of the future.
  def edit(name)
    before = File.mtime(path(name))
    write(name, yield(read(name)))
    return if File.mtime(path(name)) > before

    raise "the file system does not tell two edits of #{name} apart"
  end

  # @return [String] what the command wrote
  def run(*command, **environment)
    run_in(root, variables(environment), *command)
  end

  # @return [Array(String, Integer)] what the command wrote, and its exit code
  def try(*command, **environment)
    output, status = Open3.capture2e(variables(environment), *command, chdir: root)
    [output, status.exitstatus]
  end

  # Runs Ruby in the application.
  # @return [Object] what the script's last value was, through JSON
  def ruby(script, **environment)
    file = File.join(@folder, 'script.rb')
    File.write(file, "result = begin\n#{script}\nend\nputs \"\\nRESULT \#{JSON.generate([result])}\"\n")
    output = run('bin/rails', 'runner', file, **environment)
    JSON.parse(output[/^RESULT (.*)$/, 1]).first
  end

  # Starts `tasker-worker` in the folder of the application, or another one, and waits until it is registered.
  # @return [Worker]
  def start_worker(*options, folder: root, **environment)
    log = File.join(@folder, "worker-#{@workers.size}.log")
    pid = Process.spawn(variables(environment), path('bin/tasker-worker'), *options, chdir: folder, out: log, err: log)
    worker = Worker.new(pid, log)
    @workers << worker
    worker.wait_for(/is registered/)
    worker
  end

  def remove
    @workers.each(&:stop)
    FileUtils.rm_rf(@folder)
  end

  # @return [String] what its workers wrote
  def logs = @workers.map(&:log).join("\n")

  # A worker process.
  Worker = Struct.new(:pid, :path) do
    def log = File.read(path)
    def running? = status.nil?

    def wait_for(pattern, seconds: 60)
      (seconds * 20).times do
        return log if log.match?(pattern)
        raise "the worker has ended:\n#{log}" unless running?

        sleep(0.05)
      end
      raise "the worker did not write #{pattern.inspect}:\n#{log}"
    end

    # @return [Integer] the exit code
    def stop
      return status.exitstatus unless running?

      Process.kill('TERM', pid)
      @status = Process.wait2(pid).last
      status.exitstatus
    end

    def status = @status ||= Process.wait2(pid, Process::WNOHANG)&.last
  end

  private

  def variables(given)
    { 'TASKER_BROKER' => @broker.work, 'RAILS_ENV' => 'development', 'RUBYOPT' => nil, 'RUBYLIB' => nil,
      'DISABLE_SPRING' => '1' }.merge(environment.merge(given).transform_keys(&:to_s))
  end

  def run_in(folder, environment, *command)
    output, status = Open3.capture2e(environment, *command, chdir: folder)
    raise "#{command.join(' ')} failed:\n#{output}" unless status.success?

    output
  end
end
