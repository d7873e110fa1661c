# frozen_string_literal: true

require 'fileutils'
require 'json'
require 'tmpdir'
require 'uri'

# The real broker with a private Postgres, on free ports, one for all examples that need it.
class RealBroker
  BINARY = ENV.fetch('TASKER_BINARY') { File.expand_path('../../../../target/debug/tasker', __dir__) }

  class << self
    def shared = @shared ||= new
    def stop = @shared&.stop
  end

  # @return [String] the work endpoint
  attr_reader :work
  # @return [String] URL of its database
  attr_reader :database

  def initialize
    raise "there is no broker #{BINARY}: cargo build --bin tasker" unless File.executable?(BINARY)

    # Short, because the paths of sockets are; and the account that runs Postgres must get through.
    @folder = Dir.mktmpdir('tk', '/tmp')
    File.chmod(0o711, @folder)
    @ready = File.join(@folder, 'ready')
    @log = File.join(@folder, 'log')
    @pid = Process.spawn(BINARY, 'up', '--data', File.join(@folder, 'data'), '--port', '0', '--ready-file', @ready,
                         out: @log, err: @log)
    fields = JSON.parse(wait_until_ready)
    @work = fields['work'].first
    @database = fields['database']
  end

  def stop
    Process.kill('TERM', @pid)
    Process.wait(@pid)
    FileUtils.rm_rf(@folder)
  end

  # @return [Hash{Symbol=>String}] how to connect to its database
  def connection
    uri = URI(database)
    { host: URI.decode_www_form(uri.query).to_h.fetch('host'), port: uri.port, username: uri.user,
      database: uri.path.delete_prefix('/') }
  end

  private

  def wait_until_ready
    600.times do
      return File.read(@ready) if File.size?(@ready)
      raise "the broker did not start:\n#{File.read(@log)}" if Process.wait(@pid, Process::WNOHANG)

      sleep(0.1)
    end
    raise "the broker was not ready in a minute:\n#{File.read(@log)}"
  end
end

RSpec.configure { |config| config.after(:suite) { RealBroker.stop } }
