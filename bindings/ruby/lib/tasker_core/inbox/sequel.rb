# frozen_string_literal: true

module TaskerCore
  class Inbox
    # The inbox through a database of Sequel.
    #
    # @api private
    class Sequel
      def self.loaded? = !defined?(::Sequel::DATABASES).nil? && ::Sequel::DATABASES.any?

      # With several databases, the application has to say which.
      def self.default
        return ::Sequel::DATABASES.first if ::Sequel::DATABASES.size == 1

        raise Errors::ConfigurationError,
              "there are #{::Sequel::DATABASES.size} databases of Sequel: say transactional: DATABASE"
      end

      def self.for?(connection)
        !defined?(::Sequel::Database).nil? && connection.is_a?(::Sequel::Database)
      end

      def initialize(database)
        @database = database
      end

      def database = "#{@database.opts.values_at(:host, :port).compact.join(':')}/#{@database.opts[:database]}"

      def value(sql) = @database.get(::Sequel.lit(sql.delete_prefix('SELECT ')))

      # @param types [Hash{String=>String}] parameters and their types
      # @param values [Hash{String=>Object}]
      def call(function, types, values)
        arguments = types.map { |name, type| "#{name} => ?::#{type}" }
        bound = types.map { |name, type| type.end_with?('[]') ? PG.array(values[name]) : values[name] }
        # A database with replicas reads from them, unless told otherwise.
        @database.fetch("SELECT #{function}(#{arguments.join(', ')})", *bound).server(:default).single_value
      end

      def tells_of_commit? = true

      # Calls the block after the transaction, or at once when there is none; not at all when it, or the savepoint that
      # it is in, is rolled back.
      def after_commit(&block) = @database.after_commit(savepoint: true, &block)
    end
  end
end
