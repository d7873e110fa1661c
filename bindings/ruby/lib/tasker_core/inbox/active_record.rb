# frozen_string_literal: true

module TaskerCore
  class Inbox
    # The inbox through a connection of ActiveRecord.
    #
    # @api private
    class ActiveRecord
      # Something that a transaction of Rails before 7.2 tells of its end.
      class Callback
        def initialize(block) = @block = block

        def committed!(should_run_callbacks: true) = (@block.call if should_run_callbacks)
        def before_committed!(*) = nil
        def rolledback!(*, **) = nil
        def trigger_transactional_callbacks? = true
        def has_transactional_callbacks? = true # rubocop:disable Naming/PredicateName -- Rails calls it so
        def add_to_transaction(*) = nil
      end
      private_constant :Callback

      def self.loaded? = !defined?(::ActiveRecord::Base).nil?
      def self.default = ::ActiveRecord::Base

      # @param connection [Object] a connection, or a class that has one
      def self.for?(connection)
        return false unless loaded?

        connection.is_a?(::ActiveRecord::ConnectionAdapters::AbstractAdapter) ||
          (connection.is_a?(Class) && connection <= ::ActiveRecord::Base)
      end

      def initialize(connection)
        @connection = connection.is_a?(Class) ? connection.connection : connection
      end

      # @return [String] what tells databases apart in this process
      def database
        config = @connection.pool.db_config
        "#{config.configuration_hash.values_at(:host, :port).compact.join(':')}/#{config.database}"
      end

      def value(sql) = @connection.select_value(sql)

      # @param types [Hash{String=>String}] parameters and their types
      # @param values [Hash{String=>Object}]
      def call(function, types, values)
        arguments = types.map do |name, type|
          value = type.end_with?('[]') ? PG.array(values[name]) : values[name]
          "#{name} => #{@connection.quote(value)}::#{type}"
        end
        # Not a `select`, which the query cache would answer without asking the database.
        @connection.exec_query("SELECT #{function}(#{arguments.join(', ')})", 'Tasker enqueue').rows.first.first
      end

      def tells_of_commit? = true

      # Calls the block after the outermost transaction, or at once when there is none.
      def after_commit(&block)
        transaction = @connection.current_transaction
        return block.call unless transaction.open? && transaction.joinable?
        return transaction.after_commit(&block) if transaction.respond_to?(:after_commit)

        @connection.add_transaction_record(Callback.new(block))
      end
    end
  end
end
