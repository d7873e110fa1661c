# frozen_string_literal: true

require 'json'
require 'tmpdir'
require 'fileutils'
require 'uri'
require_relative '../client'
require_relative '../errors'
require_relative '../promise'

module TaskerCore
  module Testing
    # A broker for integration tests: a child process `tasker up` on free ports, with a private Postgres in a temporary
    # folder.
    #
    #     broker = TaskerCore::Testing::Broker.start
    #     TaskerCore.configure do |config|
    #       config.broker = broker.work
    #       config.events = broker.events
    #     end
    #
    # 1. Is ready when {.start} returns.
    # 2. Ends, and its folder goes, with {#stop}, with the block of {.start}, or with the process that started it, even
    #    if that is killed. What is forked may use it, and does not end it.
    class Broker
      # Where the binary is, unless it is on the PATH.
      VARIABLE = 'TASKER_BINARY'
      # Becomes the broker, and leaves a guard behind that ends it when its standard input, a pipe, ends: then the
      # process that had the other end is gone. A line says that all is done already. $1: the folder; $2...: the
      # broker's command.
      SCRIPT = <<~'SH'
        folder=$1
        shift
        exec 3<&0 </dev/null
        guard() {
            trap '' HUP INT TERM
            read -r _ <&3 && return
            kill -TERM "$1"
            while kill -0 "$1"; do sleep 0.1; done
            rm -rf "$folder"
        }
        ( guard $$ >/dev/null 2>&1 & )
        exec 3<&-
        exec "$@"
      SH
      POLL_SECONDS = 0.02
      private_constant :SCRIPT, :POLL_SECONDS

      class << self
        # @param binary [String, nil] path of `tasker`; `TASKER_BINARY` of the environment, or the one on the PATH
        # @param arguments [Array<String>] further arguments of `tasker up`
        # @param timeout [Numeric] seconds until it has to be ready
        # @yieldparam broker [Broker] it is stopped when the block ends
        # @return [Broker, Object] the broker, or what the block returned
        # @raise [ConfigurationError] when there is no binary, or it does not start; with the end of its log
        def start(binary: nil, arguments: [], timeout: 60)
          broker = new(find(binary), arguments, timeout)
          return broker unless block_given?

          begin
            yield broker
          ensure
            broker.stop
          end
        end

        private

        def find(binary)
          given = binary || ENV.fetch(VARIABLE, nil)
          return executable(given) || refuse("#{given} is no program") if given && !given.empty?

          places = ENV.fetch('PATH', '').split(File::PATH_SEPARATOR).map { |folder| File.join(folder, 'tasker') }
          places.filter_map { |place| executable(place) }.first ||
            refuse("there is no tasker on the PATH; say where it is with binary: or #{VARIABLE}")
        end

        def executable(path)
          File.expand_path(path) if File.file?(path) && File.executable?(path)
        end

        def refuse(what)
          raise Errors::ConfigurationError, "cannot start a broker: #{what}"
        end
      end

      # @return [String] endpoint for workers and clients
      attr_reader :work
      # @return [String] endpoint for subscribers
      attr_reader :events
      # @return [String] its database, for libpq: `PG.connect(broker.database_url)`
      attr_reader :database_url
      # @return [Integer] process id
      attr_reader :pid

      # @api private
      def initialize(binary, arguments, timeout)
        # Short, because the paths of sockets are; and whoever runs Postgres has to get through to its data.
        @folder = Dir.mktmpdir('tasker-', File.writable?('/tmp') ? '/tmp' : Dir.tmpdir)
        File.chmod(0o711, @folder)
        @owner = Process.pid
        launch(binary, arguments)
        at_exit { stop }
        read(await(Clock.now + timeout))
      rescue StandardError
        stop
        raise
      end

      # @return [Client] one for tests; another one in a forked child
      def client
        @client ||= Client.new(broker: work, events: events)
      end

      # @return [Hash{Symbol=>Object}] its database, for `ActiveRecord::Base.establish_connection`
      def database_config
        uri = URI(database_url)
        query = URI.decode_www_form(uri.query.to_s).to_h
        { adapter: 'postgresql', host: query.fetch('host', uri.host), port: uri.port, username: uri.user,
          database: uri.path.delete_prefix('/') }
      end

      # @return [Boolean]
      def running?
        return false if @status || @pid.nil?

        _, @status = Process.wait2(@pid, Process::WNOHANG) if Process.pid == @owner
        @status.nil?
      end

      # @return [String] what it has logged
      def log = File.exist?(log_file) ? File.read(log_file) : ''

      # Ends it and removes its data. May be called again; does nothing in a forked child.
      # @param timeout [Numeric] seconds that it may wait for its workers, and then once more for itself
      # @return [void]
      def stop(timeout: 5)
        return unless @owner == Process.pid && File.directory?(@folder)

        @client&.close
        %w[TERM TERM KILL].each { |signal| break if ended?(signal, timeout) }
        FileUtils.rm_rf(@folder)
        release
      end

      # @return [String]
      def inspect = "#<#{self.class.name} #{work} #{@status ? 'ended' : "process #{pid}"}>"

      private

      # In a process group of its own, so that Ctrl-C is for the tests, which then stop it.
      def launch(binary, arguments)
        reader, @guard = IO.pipe
        command = [binary, 'up', '--data', path('data'), '--port', '0', '--ready-file', path('ready'), *arguments]
        @pid = Process.spawn('/bin/sh', '-c', SCRIPT, 'tasker-guard', @folder, *command,
                             in: reader, out: log_file, err: %i[child out], chdir: @folder, pgroup: true)
      ensure
        reader&.close
      end

      def await(deadline)
        until File.exist?(path('ready'))
          give_up('ended') unless running?
          give_up('was not ready in time') if Clock.now > deadline
          sleep(POLL_SECONDS)
        end
        JSON.parse(File.read(path('ready')))
      end

      def read(ready)
        @work = ready['work'].first
        @events = ready['events'].first
        @database_url = ready['database']
      end

      def give_up(what)
        raise Errors::ConfigurationError, "cannot start a broker: it #{what}; the end of its log:\n" +
                                          log.lines.last(20).join
      end

      def ended?(signal, timeout)
        return true unless running?

        Process.kill(signal, @pid)
        deadline = Clock.now + timeout
        sleep(POLL_SECONDS) while running? && Clock.now < deadline
        !running?
      end

      def release
        @guard.puts
      rescue Errno::EPIPE
        nil
      ensure
        @guard.close
      end

      def path(name) = File.join(@folder, name)
      def log_file = path('log')
    end
  end
end
