# frozen_string_literal: true

require 'securerandom'
require 'socket'
require_relative '../link'
require_relative '../version'

module TaskerCore
  class Worker
    # What a worker says of itself when it registers. The same to all brokers: to each of them it is one process.
    #
    # @api private
    module Profile
      # @param worker [#name, #concurrency]
      # @param templates [Templates]
      # @return [Hash] fields of `RegisterWorker`
      def self.of(worker, templates)
        {
          'name' => worker.name, 'incarnation' => SecureRandom.uuid, 'templates' => templates.capabilities,
          'concurrency' => worker.concurrency, 'host' => Socket.gethostname, 'pid' => Process.pid,
          'language' => "ruby #{RUBY_VERSION}", 'library' => "tasker_core #{VERSION}",
          'bundle_max' => Link::BUNDLE_MAX
        }
      end
    end
  end
end
