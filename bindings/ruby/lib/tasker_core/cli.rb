# frozen_string_literal: true

require 'optparse'
require_relative '../tasker_core'
require_relative 'config_file'

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

    BANNER = <<~TEXT
      Runs the steps of workflows: registers with a Tasker Core broker, takes steps and reports their outcomes.

      Usage: tasker-worker [options]

    TEXT
    FOOTER = <<~TEXT

      Signals:
        TERM, INT   finish the running steps, give back the others, leave; a second one ends at once
        TSTP        take no more steps, finish those at hand, stay
        TTIN        write what every thread is doing to the log

      Exit codes:
        0  ended as asked, all results are stored      3  the broker refused this worker
        1  an unexpected error                         4  the time was up before all steps were finished
        2  a wrong option, file or configuration       128 + n  ended at once by a second signal n

      Example:
        tasker-worker -r ./app/workflows -T ./config/workflows -c 10 -b tcp://broker:7570
    TEXT
    DEFAULTS = { require: [], templates: [], namespaces: [], concurrency: 5, timeout_seconds: 25 }.freeze

    def initialize(arguments, out: $stdout, err: $stderr)
      @arguments = arguments.dup
      @out = out
      @err = err
      @signals = Thread::Queue.new
    end

    # @return [Integer] the exit code
    def run
      options = options_from_arguments or return EXIT_OK
      options = with_file(options)
      prepare(options)
      work(options)
    rescue OptionParser::ParseError, Errors::ConfigurationError => e
      @err.puts("tasker-worker: #{e.message}")
      EXIT_USAGE
    end

    private

    def options_from_arguments
      options = {}
      done = nil
      parser = parser(options) { |text| done = text }
      rest = parser.parse(@arguments)
      raise OptionParser::InvalidArgument, "#{rest.first} (tasker-worker takes options only)" if rest.any?
      return options unless done

      @out.puts(done)
      nil
    end

    def parser(options)
      OptionParser.new(BANNER, 24) do |parser|
        list = ->(key) { ->(value) { (options[key] ||= []) << value } }
        comma = ->(key) { ->(values) { (options[key] ||= []).concat(values) } }
        parser.on('-r', '--require PATH', 'file, or folder of files, to load; may be repeated', &list[:require])
        parser.on('-T', '--templates PATH', 'template file, folder of them, or namespace/name;', 'may be repeated',
                  &list[:templates])
        parser.on('-n', '--namespaces A,B', Array, 'serve every template of these namespaces', &comma[:namespaces])
        parser.on('-b', '--broker URL', "the broker's work endpoint; repeated for several brokers",
                  "(#{Configuration::BROKER})", &list[:broker])
        parser.on('--events URL', "the broker's events endpoint, for hints; may be left out", &list[:events])
        parser.on('-c', '--concurrency N', Integer, 'steps at once (5)') { |value| options[:concurrency] = value }
        parser.on('-t', '--timeout SECONDS', Float, 'time for running steps when stopping (25)') do |value|
          options[:timeout_seconds] = value
        end
        parser.on('-C', '--config FILE', 'configuration, TOML or YAML: its part "worker"') { |v| options[:config] = v }
        parser.on('-e', '--environment NAME', 'sets TASKER_ENV, RAILS_ENV and RACK_ENV') do |v|
          options[:environment] = v
        end
        parser.on('--name NAME', 'stable name in the fleet (host and process id)') { |value| options[:name] = value }
        parser.on('--log-level LEVEL', %w[debug info warn error fatal], 'debug, info, warn, error, fatal (info)') do |v|
          options[:log_level] = v
        end
        parser.on('-V', '--version', 'the version') { yield "tasker-worker #{VERSION}" }
        parser.on('-h', '--help', 'this text') { yield parser.help + FOOTER }
      end
    end

    def with_file(options)
      from_file = options[:config] ? ConfigFile.load(options[:config]) : {}
      DEFAULTS.merge(from_file, options)
    end

    def prepare(options)
      set_environment(options[:environment]) if options[:environment]
      configuration = TaskerCore.configuration
      configuration.broker = options[:broker] if options[:broker]
      configuration.events = options[:events] if options[:events]
      configuration.logger.level = options[:log_level] if options[:log_level]
      options[:require].each { |path| load_application(path) }
    end

    def set_environment(name)
      %w[TASKER_ENV RAILS_ENV RACK_ENV].each { |variable| ENV[variable] = name }
      TaskerCore.configuration.environment = name
    end

    def load_application(path)
      if File.directory?(path)
        return Dir[File.join(path, '**', '*.rb')].each do |file|
                 require File.expand_path(file)
               end
      end

      require(File.exist?(path) || File.exist?("#{path}.rb") ? File.expand_path(path) : path)
    rescue LoadError => e
      raise Errors::ConfigurationError, "#{path} cannot be loaded: #{e.message}"
    end

    def work(options)
      worker = Worker.new(events: options[:events], **options.slice(:name, :concurrency, :templates, :namespaces))
      trap_signals
      worker.start
      Thread.new { worker.wait && @signals.push('OVER') }
      obey(worker, options[:timeout_seconds])
    ensure
      ZMQ.terminate
    end

    # Pushing to a queue is one of the few things that a signal handler may do.
    def trap_signals
      %w[INT TERM TSTP TTIN].each { |signal| Signal.trap(signal) { @signals.push(signal) } }
    end

    def obey(worker, timeout)
      loop do
        case (signal = @signals.pop)
        when 'OVER' then return code_of(worker)
        when 'TSTP' then worker.quiet
        when 'TTIN' then dump_threads(worker)
        else return stop(worker, timeout, signal)
        end
      end
    end

    def code_of(worker)
      case worker.error
      when nil then EXIT_OK
      when Errors::CommandRefusedError then EXIT_REFUSED
      else EXIT_FAILED
      end
    end

    def stop(worker, timeout, signal)
      TaskerCore.logger.info("#{signal}: stopping, at most #{timeout} s")
      %w[INT TERM].each { |again| Signal.trap(again) { exit!(128 + Signal.list[again]) } }
      worker.stop(timeout: timeout) ? EXIT_OK : EXIT_UNFINISHED
    end

    def dump_threads(worker)
      logger = TaskerCore.logger
      logger.warn("running: #{worker.running_steps.join('; ')}")
      Thread.list.each do |thread|
        logger.warn("thread #{thread.name || thread.object_id}\n#{(thread.backtrace || ['(no backtrace)']).join("\n")}")
      end
    end
  end
end
