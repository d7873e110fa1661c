# frozen_string_literal: true

# The ways in which applications talk to Postgres, all spoken to alike. Each is required only where it is used: in
# child processes, so that the other examples do not meet it.
module InboxDatabases
  # The gem pg on its own.
  class Bare
    def initialize(connection)
      require 'pg'
      @connection = PG.connect(host: connection[:host], port: connection[:port], user: connection[:username],
                               dbname: connection[:database])
    end

    def handle = @connection
    def value(sql) = @connection.exec(sql).getvalue(0, 0)

    def transaction
      @connection.exec('BEGIN')
      yield.tap { @connection.exec('COMMIT') }
    end

    def rolled_back
      @connection.exec('BEGIN')
      yield
      @connection.exec('ROLLBACK')
    end

    def undone
      @connection.exec('SAVEPOINT one')
      yield
      @connection.exec('ROLLBACK TO one')
    end
  end

  class Sequel
    def initialize(connection)
      require 'sequel'
      @database = ::Sequel.connect(adapter: 'postgres', host: connection[:host], port: connection[:port],
                                   user: connection[:username], database: connection[:database])
    end

    def handle = @database
    def value(sql) = @database.fetch(sql).single_value
    def transaction(&block) = @database.transaction(&block)
    def rolled_back(&block) = @database.transaction(rollback: :always, &block)
    def undone(&block) = @database.transaction(rollback: :always, savepoint: true, &block)
  end

  class Record
    def initialize(connection)
      require 'active_record'
      ActiveRecord::Base.establish_connection(connection)
    end

    def handle = ActiveRecord::Base
    def value(sql) = ActiveRecord::Base.connection.select_value(sql)
    def transaction(**options, &block) = ActiveRecord::Base.transaction(**options, &block)

    def rolled_back(**options)
      transaction(**options) do
        yield
        raise ActiveRecord::Rollback
      end
    end

    def undone(&block) = rolled_back(requires_new: true, &block)
  end

  ALL = { 'pg' => Bare, 'Sequel' => Sequel, 'ActiveRecord' => Record }.freeze
end
