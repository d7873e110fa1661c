# frozen_string_literal: true

require 'optparse'
require_relative '../config_file'
require_relative '../configuration'
require_relative '../version'

module TaskerCore
  class CLI
    # Options of `tasker-worker`, from the command line and from the configuration file. The command line wins.
    #
    # @api private
    class Options
      DEFAULTS = {
        require: [], templates: [], namespaces: [], queues: [], concurrency: 5, processes: 0, timeout_seconds: 25,
        probe_address: '127.0.0.1'
      }.freeze
      FOR_WORKER = %i[events name concurrency processes max_memory_mb max_steps templates namespaces queues].freeze
      LEVELS = %w[debug info warn error fatal].freeze
      FORMATS = %w[text json].freeze
      BANNER = <<~TEXT
        Runs the steps of workflows: registers with a Tasker Core broker, takes steps and reports their outcomes.

        Usage: tasker-worker [options]

      TEXT
      FOOTER = <<~TEXT

        Signals:
          TERM, INT   give back what has not started, finish what runs, leave; what runs longer than --timeout
                      is interrupted and given back. A second one ends at once
          TSTP        take no more steps, finish those at hand, stay
          TTIN        write what every thread is doing to the log, of each process
          USR2        replace the forked processes by new ones, one after the other

        Exit codes:
          0  ended as asked, all results are stored      3  the broker refused this worker
          1  an unexpected error                         4  the time was up before all steps were finished
          2  a wrong option, file or configuration       128 + n  ended at once by a second signal n

        Example:
          tasker-worker -r ./app/workflows -T ./config/workflows -c 10 -b tcp://broker:7570
      TEXT

      # @return [String, nil] help or version, when that is all that was asked for
      attr_reader :text

      # @param arguments [Array<String>]
      # @raise [OptionParser::ParseError, Errors::ConfigurationError]
      def initialize(arguments)
        @given = {}
        @parser = OptionParser.new(BANNER, 24)
        work_options
        broker_options
        process_options
        rest = @parser.parse(arguments)
        raise OptionParser::InvalidArgument, "#{rest.first} (tasker-worker takes options only)" if rest.any?

        @given = ConfigFile.load(@given[:config]).merge(@given) if @given[:config] && @text.nil?
        @values = DEFAULTS.merge(@given)
      end

      # Takes these where nothing else was given.
      # @param options [Hash{Symbol=>Object}]
      def under(options)
        @values = DEFAULTS.merge(options, @given)
      end

      def [](name) = @values[name]

      # @return [Hash] keywords of {Worker#initialize}
      def for_worker = @values.slice(*FOR_WORKER)

      private

      def work_options
        list(:require, '-r', '--require PATH', 'file, folder of files, or Rails application to load; may be',
             'repeated (the Rails application in this folder)')
        list(:templates, '-T', '--templates PATH', 'template file, or folder of them; may be repeated')
        list(:namespaces, '-n', '--namespaces A,B', Array, 'serve what is registered already: namespaces,',
             'or single templates: namespace/name[@version]')
        list(:queues, '-q', '--queues A,B', Array, "queues of Active Job to serve; '*' for all")
        one(:concurrency, '-c', '--concurrency N', Integer, 'steps at once, in each process (5)')
        one(:processes, '-p', '--processes N', Integer, 'processes to fork, which run the handlers while this one',
            'talks to the broker (0: handlers run in this one)')
        one(:max_memory_mb, '--max-memory MB', Integer, 'replace a forked process that has more resident memory')
        one(:max_steps, '--max-steps N', Integer, 'replace a forked process that was given so many steps')
      end

      def broker_options
        list(:broker, '-b', '--broker URL', "the broker's work endpoint; repeated for several brokers",
             "(#{Configuration::BROKER})")
        list(:events, '--events URL', "the broker's events endpoint, for hints; may be left out")
        one(:server_public_key, '--server-key KEY', "the broker's public key, when it demands keys")
        one(:secret_key_file, '--key-file FILE', "this worker's secret key, when the broker demands keys")
        one(:name, '--name NAME', 'stable name in the fleet (host and process id)')
      end

      def process_options
        one(:timeout_seconds, '-t', '--timeout SECONDS', Float, 'time for running steps when stopping (25)')
        one(:probe_port, '--probe-port N', Integer, 'answer /livez, /readyz and / over HTTP there; 0 takes a free port')
        one(:probe_address, '--probe-address A', 'where the probe listens (127.0.0.1)')
        one(:config, '-C', '--config FILE', 'configuration, TOML or YAML: its part "worker"')
        one(:environment, '-e', '--environment NAME', 'sets TASKER_ENV, RAILS_ENV and RACK_ENV')
        one(:log_level, '--log-level LEVEL', LEVELS, "#{LEVELS.join(', ')} (info)")
        one(:log_format, '--log-format FORMAT', FORMATS, "#{FORMATS.join(', ')} (text, or the application's own)")
        @parser.on('-V', '--version', 'the version') { @text = "tasker-worker #{VERSION}" }
        @parser.on('-h', '--help', 'this text') { @text = @parser.help + FOOTER }
      end

      def one(key, *definition) = @parser.on(*definition) { |value| @given[key] = value }
      def list(key, *definition) = @parser.on(*definition) { |value| (@given[key] ||= []).concat(Array(value)) }
    end
  end
end
