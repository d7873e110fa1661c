# frozen_string_literal: true

require 'support/child'
require 'support/inbox_databases'
require 'support/test_broker'

module InboxSpec
  class Note < TaskerCore::Workflow
    namespace :inbox_spec
    version '1.0.0'
    step(:keep) { 1 }
  end
end

# With the real broker: whether a task exists is for Postgres to say.
RSpec.describe TaskerCore::Inbox, seconds: 60 do
  include Child

  let!(:broker) { TestBroker.shared }
  let(:client) { TaskerCore::Client.new(broker: broker.work, logger: Logger.new(StringIO.new)) }
  let(:workflow) { InboxSpec::Note }
  # Tells the tasks of this example from others.
  let!(:tag) { "it's \"#{uuid}\", {\\}" }
  let(:log) { StringIO.new }

  after { client.close }

  # In a process of its own: the database as the application has it, and a client.
  def in_application(kind, database: nil)
    in_child do
      TaskerCore.configure do |config|
        config.broker = broker.work
        config.logger = Logger.new(log)
      end
      yield kind.new({ **broker.database_config, **{ database: database }.compact })
    end
  end

  def tagged = client.list_tasks(tag: tag).map(&:task_id)

  # The broker looks by itself within a second, or at once when it is told.
  def eventually
    loop do
      found = yield
      return found if found

      sleep 0.02
    end
  end

  def enqueue(transactional, input = {}, **options)
    workflow.set(tags: [tag], **options).enqueue(input, transactional: transactional)
  end

  InboxDatabases::ALL.each do |name, kind|
    context "with #{name}" do
      it 'makes a task if and only if the transaction commits' do
        in_application(kind) do |database|
          database.rolled_back { enqueue(database.handle, { n: 1 }) }
          database.transaction { enqueue(database.handle, { n: 2 }, key: "#{tag} committed") }
          nil
        end
        task = eventually { tagged.first }
        expect(client.find_task(namespace: 'inbox_spec', name: 'note', idempotency_key: "#{tag} committed").task_id)
          .to eq(task)
        expect(tagged).to eq([task])
      end

      it 'drops what a savepoint has undone' do
        in_application(kind) do |database|
          database.transaction do
            database.undone { enqueue(database.handle, { n: 1 }) }
            enqueue(database.handle, { n: 2 }, key: "#{tag} kept")
          end
          nil
        end
        expect(eventually { tagged.first }).to eq(
          client.find_task(namespace: 'inbox_spec', name: 'note', idempotency_key: "#{tag} kept").task_id
        )
        expect(tagged.size).to eq(1)
      end

      it 'keeps every value as it is' do
        input = { text: %(it's "quoted" \\ and $1 ? {}\n\u00e9\u{1F600}), large: 2**64, nested: [nil, true, 0.1] }
        row = in_application(kind) do |database|
          database.transaction do
            enqueue(database.handle, input, priority: -3, wait_until: Time.at(4_000_000_000.125), reason: "'", key: tag)
            database.value(<<~SQL)
              SELECT json_build_object('context', context::text, 'tags', tags, 'priority', priority, 'reason', reason,
                                       'run_at', extract(epoch FROM run_at), 'version', version, 'key', idempotency_key)
              FROM tasker.task_inbox ORDER BY inbox_id DESC LIMIT 1
            SQL
          end
        end
        row = JSON.parse(row)
        expect(TaskerCore::JsonText.load(row.delete('context'))).to eq(TaskerCore::IndifferentHash.wrap(input))
        expect(row).to eq('tags' => [tag], 'priority' => -3, 'reason' => "'", 'run_at' => 4_000_000_000.125,
                          'version' => '1.0.0', 'key' => tag)
        expect(eventually { tagged.first }).to be_a(String)
      end

      it 'makes a task at once without a transaction' do
        id = in_application(kind) { |database| enqueue(database.handle).then { |task| eventually { task.id } } }
        expect(tagged).to eq([id])
      end
    end
  end

  context 'with a database that has no inbox' do
    before(:context) do
      in_child do
        InboxDatabases::Bare.new(TestBroker.shared.database_config).handle.exec('CREATE DATABASE bare')
        nil
      end
    end

    %w[Sequel ActiveRecord].each do |name|
      it "enqueues after the commit, and says so once, with #{name}" do
        id, warnings = in_application(InboxDatabases::ALL[name], database: 'bare') do |database|
          tasks = []
          database.rolled_back { enqueue(database.handle, { n: 1 }) }
          database.transaction do
            database.undone { enqueue(database.handle, { n: 2 }) }
            tasks << enqueue(database.handle, { n: 3 })
            raise 'it is there before the commit' if tagged.any?
          end
          [tasks.first.id, log.string.scan('has no tasker.submit_task').size]
        end
        expect(tagged).to eq([id])
        expect(warnings).to eq(1)
      end
    end

    it 'refuses what a connection of pg could not keep' do
      expect do
        in_application(InboxDatabases::Bare, database: 'bare') do |database|
          database.transaction { enqueue(database.handle) }
        end
      end.to raise_error(Child::Failed, /ConfigurationError: a connection of pg does not tell when it commits/)
      id = in_application(InboxDatabases::Bare, database: 'bare') { |database| enqueue(database.handle).id }
      expect(tagged).to eq([id])
    end

    it 'refuses when nothing but the inbox will do' do
      expect do
        in_application(InboxDatabases::Record, database: 'bare') { enqueue(:inbox) }
      end.to raise_error(Child::Failed, /ConfigurationError: the database .*bare has no tasker.submit_task/)
    end
  end

  it 'enqueues after the commit when that is asked for' do
    id = in_application(InboxDatabases::Record) do |database|
      task = nil
      database.transaction do
        task = enqueue(:after_commit)
        raise 'it is there before the commit' unless database.value('SELECT count(*) FROM tasker.task_inbox').zero?
      end
      task.id
    end
    expect(tagged).to eq([id])
  end

  it 'writes each request, whatever a query cache remembers' do
    rows = in_application(InboxDatabases::Record) do |database|
      # There is a cache only where there is a connection.
      database.value('SELECT 1')
      ActiveRecord::Base.cache do
        database.transaction do
          2.times { enqueue(database.handle, {}, key: 'the same') }
          database.value("SELECT count(*) FROM tasker.task_inbox WHERE idempotency_key = 'the same'")
        end
      end
    end
    expect(rows).to eq(2)
    expect(eventually { tagged.first }).to be_a(String)
  end

  it 'needs to be told of a database where there is none' do
    expect { enqueue(true) }.to raise_error(TaskerCore::ConfigurationError, /needs ActiveRecord or Sequel/)
    expect { enqueue(Object.new) }.to raise_error(TaskerCore::ConfigurationError, /Object is no connection/)
    expect { enqueue(:never) }.to raise_error(TaskerCore::ConfigurationError, /:never is none of true/)
  end
end
