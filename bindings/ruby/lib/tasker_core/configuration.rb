# frozen_string_literal: true

require 'logger'
require_relative 'curve'
require_relative 'handlers'

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
    # @return [Logger] where this library and its handlers write
    attr_accessor :logger
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
    # @return [Curve, nil] keys for brokers that demand them
    attr_reader :curve
    # @api private
    attr_reader :handlers

    def initialize
      @broker = BROKER
      @events = EVENTS
      @logger = Logger.new($stderr, progname: 'tasker', level: Logger::INFO)
      @request_timeout = 10
      @environment = ENV['TASKER_ENV'] || ENV['RAILS_ENV'] || ENV['RACK_ENV'] || 'development'
      @handlers = Handlers.new
    end

    # @param keys [Curve, Hash, nil] `server_public_key:` and `secret_key_file:`, see {Curve}
    def curve=(keys)
      @curve = Curve.from(keys)
    end
  end
end
