# frozen_string_literal: true

require_relative '../tasker_core'
require_relative 'cli/application'
require_relative 'cli/options'
require_relative 'cli/presence'
require_relative 'cli/probe'
require_relative 'cli/service_manager'

module TaskerCore
  # The program `tasker-worker`.
  #
  # 1. Reads options and the configuration file; options win.
  # 2. Loads the application, starts a {Worker}, and waits for signals.
  # 3. Ends with a code that says how it went.
  #
  # @api private
  class CLI
    EXIT_OK = 0
    EXIT_FAILED = 1
    EXIT_USAGE = 2
    EXIT_REFUSED = 3
    EXIT_UNFINISHED = 4
    # Objects that are made room for before the work begins: 4 MB. Ruby collects garbage whenever its heap is full, and
    # leaves little room in it; a small application would collect every few hundred steps.
    ROOM = 100_000
    private_constant :ROOM

    def initialize(arguments, out: $stdout, err: $stderr)
      @arguments = arguments.dup
      @out = out
      @err = err
      @signals = Thread::Queue.new
    end

    # @return [Integer] the exit code
    def run
      options = Options.new(@arguments)
      return show(options.text) if options.text

      prepare(options)
      work(options)
    rescue OptionParser::ParseError, Errors::ConfigurationError => e
      @err.puts("tasker-worker: #{e.message}")
      EXIT_USAGE
    end

    private

    def show(text)
      @out.puts(text)
      EXIT_OK
    end

    def prepare(options)
      choose_environment(options[:environment]) if options[:environment]
      # An application may ask for them while it loads, and the command line still wins over what it sets itself.
      configure(options)
      options.under(Application.new(options[:require]).load(TaskerCore.logger))
      configure(options)
    end

    def configure(options)
      configuration = TaskerCore.configuration
      configuration.broker = options[:broker] if options[:broker]
      configuration.events = options[:events] if options[:events]
      configuration.logger.level = options[:log_level] if options[:log_level]
      configuration.log_format = options[:log_format] if options[:log_format]
      choose_keys(options)
    end

    def choose_environment(name)
      %w[TASKER_ENV RAILS_ENV RACK_ENV].each { |variable| ENV[variable] = name }
      TaskerCore.configuration.environment = name
    end

    # An empty setting is as good as none.
    def choose_keys(options)
      server, file = %i[server_public_key secret_key_file].map { |key| options[key] unless options[key].to_s.empty? }
      return unless server || file
      raise Errors::ConfigurationError, '--server-key and --key-file belong together' unless server && file

      TaskerCore.configuration.curve = { server_public_key: server, secret_key_file: file }
    end

    def work(options)
      worker = Worker.new(**options.for_worker)
      probe = probe_of(worker, options)
      make_room
      trap_signals
      worker.start
      probe&.start
      @presence = Presence.new(worker, ServiceManager.new(TaskerCore.logger)).start
      Thread.new { worker.wait && @signals.push('OVER') }
      code = obey(worker, options[:timeout_seconds])
    ensure
      [@presence, probe].each { |observer| observer&.stop }
      # Loops of clients that handlers have opened as well: the context ends only when all sockets are closed.
      AtExit.close_all
      # The process would wait for ever for a thread that does not end.
      exit!(code) if worker&.stuck?
    end

    def probe_of(worker, options)
      Probe.new(worker, options[:probe_address], options[:probe_port], TaskerCore.logger) if options[:probe_port]
    end

    # A heap that was once this large stays so.
    def make_room
      GC.disable
      Array.new(ROOM) { Object.new }
    ensure
      GC.enable
      GC.start
    end

    # Pushing to a queue is one of the few things that a signal handler may do.
    def trap_signals
      %w[INT TERM TSTP TTIN USR2].each { |signal| Signal.trap(signal) { @signals.push(signal) } }
    end

    def obey(worker, timeout)
      loop do
        case (signal = @signals.pop)
        when 'OVER' then return code_of(worker)
        when 'TSTP' then worker.quiet
        when 'TTIN' then worker.dump_threads
        when 'USR2' then worker.renew
        else return stop(worker, timeout, signal)
        end
      end
    end

    def code_of(worker)
      case worker.error
      when nil then EXIT_OK
      when Errors::CommandRefusedError, Errors::KeyRefusedError then EXIT_REFUSED
      else EXIT_FAILED
      end
    end

    def stop(worker, timeout, signal)
      TaskerCore.logger.info("#{signal}: stopping, at most #{timeout} s")
      @presence.stopping
      %w[INT TERM].each { |again| Signal.trap(again) { exit!(128 + Signal.list[again]) } }
      worker.stop(timeout: timeout) ? EXIT_OK : EXIT_UNFINISHED
    end
  end
end
