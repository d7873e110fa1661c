# frozen_string_literal: true

module TaskerCore
  class Inbox
    # The inbox through a connection of the gem pg.
    #
    # @api private
    class PG
      # None is meant unless it is given.
      def self.loaded? = false

      def self.for?(connection)
        !defined?(::PG::Connection).nil? && connection.is_a?(::PG::Connection)
      end

      # @param values [Array<String>]
      # @return [String] as Postgres writes an array of text
      def self.array(values)
        quoted = values.map { |value| %("#{value.to_s.gsub(/["\\]/) { |character| "\\#{character}" }}") }
        "{#{quoted.join(',')}}"
      end

      def initialize(connection)
        @connection = connection
      end

      def database = "#{@connection.host}:#{@connection.port}/#{@connection.db}"

      def value(sql)
        # With a type map, a boolean comes as one.
        ['t', true].include?(@connection.exec(sql).getvalue(0, 0))
      end

      # @param types [Hash{String=>String}] parameters and their types
      # @param values [Hash{String=>Object}]
      def call(function, types, values)
        arguments = types.each_with_index.map { |(name, type), index| "#{name} => $#{index + 1}::#{type}" }
        @connection.exec_params("SELECT #{function}(#{arguments.join(', ')})",
                                types.map { |name, type| text(type, values[name]) })
      end

      # Not of the end of a transaction that is open.
      def tells_of_commit? = @connection.transaction_status == ::PG::PQTRANS_IDLE

      # Calls the block when there is no transaction, and does not otherwise.
      def after_commit
        yield if tells_of_commit?
      end

      private

      def text(type, value) = type.end_with?('[]') ? PG.array(value) : value.to_s
    end
  end
end
