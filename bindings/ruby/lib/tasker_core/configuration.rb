# frozen_string_literal: true

require 'logger'
require_relative 'curve'
require_relative 'handlers'
require_relative 'lifecycle'
require_relative 'log_format'
require_relative 'middleware/chain'

module TaskerCore
  # What {TaskerCore.configure} sets: the defaults of every client and worker of this process.
  class Configuration
    # The broker's `work` endpoint unless told otherwise.
    BROKER = 'tcp://127.0.0.1:7570'
    # The broker's `events` endpoint unless told otherwise.
    EVENTS = 'tcp://127.0.0.1:7571'

    # @return [String, Array<String>] the broker's `work` endpoint, or several
    attr_accessor :broker
    # @return [String, Array<String>] the broker's `events` endpoint, or several
    attr_accessor :events
    # @return [Logger] where this library and its handlers write; what is written while a step runs says which
    attr_reader :logger
    # @return [Symbol, nil] `:text` or `:json`; nil leaves the logger's lines as they are
    # @see LogFormat
    attr_reader :log_format
    # @return [Numeric] seconds that a client waits for a reply unless told otherwise
    attr_accessor :request_timeout
    # @return [String] name of the environment: `development`, `production`
    attr_accessor :environment
    # @return [Object, #call, nil] the database in whose transactions tasks are enqueued, or what gives it: a class or
    #   connection of ActiveRecord, a database of Sequel, a connection of pg; see {Inbox}. Without it, that of
    #   `ActiveRecord::Base`, or the only one of Sequel.
    attr_accessor :database
    # @return [Boolean] whether each change of a {Workflow} is a version of its own, whatever it says: for development
    attr_accessor :versions_follow_content
    # @return [#call, nil] put around every step, its look-up of the handler included: takes a block and calls it. In a
    #   Rails application it reloads changed code and gives connections back.
    attr_accessor :reloader
    # @return [#call, nil] takes the backtrace of a failure, as an Array of lines, and returns what is worth keeping
    attr_accessor :backtrace_cleaner
    # @return [Curve, nil] keys for brokers that demand them
    attr_reader :curve
    # Put around every step that a worker of this process runs. Instances have `call(attempt)`, with an
    # {Execution::Attempt}, and yield. The result of the step is what its handler returned; only where the handler was
    # not run, or what it raised was rescued, it is what the outermost middleware returned.
    #
    # @return [Middleware::Chain]
    attr_reader :worker_middleware
    # Put around every request for a task. Instances have `call(request)`, with a Hash that they may change, and yield.
    # To refuse a request, they raise. The block returns the {Types::TaskInitialized}; for one of several requests that
    # go together, or one in a transaction, it returns nil, since the answer is not known yet.
    #
    # @return [Middleware::Chain]
    attr_reader :client_middleware
    # @api private
    attr_reader :handlers
    # @api private
    attr_reader :lifecycle

    def initialize
      @broker = BROKER
      @events = EVENTS
      @logger = Logger.new($stderr, progname: 'tasker', level: Logger::INFO, formatter: LogFormat.for(:text))
      @request_timeout = 10
      @environment = ENV['TASKER_ENV'] || ENV['RAILS_ENV'] || ENV['RACK_ENV'] || 'development'
      @handlers = Handlers.new
      @lifecycle = Lifecycle.new(self)
      @worker_middleware = Middleware::Chain.new
      @client_middleware = Middleware::Chain.new
    end

    # @param logger [Logger]
    def logger=(logger)
      @logger = logger
      apply_format if log_format
    end

    # Sets how the lines of the logger look, also of one that is set later.
    # @param name [Symbol, String, nil]
    # @raise [Errors::ConfigurationError]
    def log_format=(name)
      LogFormat.for(name) if name
      @log_format = name&.to_sym
      apply_format if name
    end

    # Has a block called in the life of each worker of this process. It runs in a thread where it may take its time, and
    # what it raises is logged.
    #
    # | event | when |
    # |---|---|
    # | `:startup` | before the worker takes its first step |
    # | `:fork` | in each process that a supervisor forks, before its first step |
    # | `:heartbeat` | with each heartbeat, unless the one before is still at it |
    # | `:quiet` | when it takes no more steps |
    # | `:shutdown` | when its last step has ended |
    #
    # @param event [Symbol]
    # @yieldparam worker [Worker]
    # @return [void]
    def on(event, &block) = lifecycle.on(event, &block)

    # Has a block called after each attempt that failed, in the thread that ran it and before it is reported. What the
    # block raises is logged and changes nothing. Attempts that are given back, or end with their process, are not told.
    #
    # @yieldparam error [Exception] a {RetryableError} or {PermanentError} when the handler returned an error
    # @yieldparam attempt [Execution::Attempt]
    # @return [void]
    def on_error(&block) = lifecycle.on_failure(:error, &block)

    # As {#on_error}, but only for the failure that ends the step: it is permanent, or this was the last attempt.
    #
    # @yieldparam error [Exception]
    # @yieldparam attempt [Execution::Attempt]
    # @return [void]
    def on_death(&block) = lifecycle.on_failure(:death, &block)

    # @param keys [Curve, Hash, nil] `server_public_key:` and `secret_key_file:`, see {Curve}
    def curve=(keys)
      @curve = Curve.from(keys)
    end

    private

    def apply_format
      logger.formatter = LogFormat.for(log_format, tagged: logger.respond_to?(:push_tags))
    end
  end
end
