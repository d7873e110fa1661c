#!/usr/bin/env ruby
# frozen_string_literal: true

# What it costs an application to enqueue inside its own transactions, and how soon the broker has the task. Starts a
# broker with a private Postgres of its own.
#
#     bench/inbox.rb                                # 4 processes, 2,000 transactions each
#     bench/inbox.rb --processes 8 --transactions 500
#
# In turn, the processes commit a row of their own; that and a NOTIFY, as a broker that listens would want it; and that
# and a task, while the broker takes what is there. Then single tasks are enqueued at rest. Compare figures of one run.

$LOAD_PATH.unshift(File.expand_path('../lib', __dir__))
require 'optparse'
require 'pg'
require 'tasker_core'
require 'tasker_core/testing'

# What is enqueued.
class InboxBench < TaskerCore::Workflow
  version '1.0.0'
  step(:only) { nil }
end

options = { processes: 4, transactions: 2_000, single: 50 }
OptionParser.new do |parser|
  parser.on('--processes N', Integer) { |count| options[:processes] = count }
  parser.on('--transactions N', Integer, 'of each process') { |count| options[:transactions] = count }
  parser.on('--single N', Integer, 'tasks at rest') { |count| options[:single] = count }
end.parse!

now = -> { Process.clock_gettime(Process::CLOCK_MONOTONIC) }

TaskerCore::Testing::Broker.start do |broker|
  TaskerCore.configuration.broker = broker.work
  TaskerCore.configuration.logger.level = Logger::WARN
  connection = PG.connect(broker.database_url)
  connection.exec('CREATE TABLE orders (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, note text)')
  TaskerCore.client.register_template(InboxBench.template.to_yaml)

  order = ->(pg) { pg.exec_params('INSERT INTO orders (note) VALUES ($1)', ['an order']) }
  ways = {
    'a row' => order,
    'a row and a NOTIFY' => lambda { |pg|
      order.call(pg)
      pg.exec('NOTIFY bench')
    },
    'a row and a task' => lambda { |pg|
      order.call(pg)
      InboxBench.enqueue({ order: 1 }, transactional: pg)
    }
  }
  ways.each do |name, work|
    ready, go = Array.new(2) { IO.pipe }
    children = Array.new(options[:processes]) do
      fork do
        go.last.close
        pg = PG.connect(broker.database_url)
        ready.last.write('.')
        go.first.read
        options[:transactions].times { pg.transaction { work.call(pg) } }
        exit!(0)
      end
    end
    ready.first.read(options[:processes])
    began = now.call
    go.last.close
    children.each { |pid| Process.wait(pid) }
    total = options[:processes] * options[:transactions]
    puts format('%-20<name>s %8<rate>d commits/s', name: name, rate: total / (now.call - began))
  end

  waiting = -> { connection.exec('SELECT count(*) FROM tasker.task_inbox').getvalue(0, 0).to_i }
  began = now.call
  left = waiting.call
  sleep(0.01) until waiting.call.zero?
  puts format('%<left>d rows left in the inbox were taken in %<seconds>.2f s', left: left, seconds: now.call - began)

  taken = Array.new(options[:single]) do
    task = nil
    connection.transaction { |pg| task = InboxBench.enqueue({ order: 1 }, transactional: pg) }
    committed = now.call
    TaskerCore.client.announce_tasks(wait: false)
    sleep(0.001) until task.id
    (now.call - committed) * 1000
  end.sort
  puts format('at rest, a task is there %<p50>.1f ms after its commit (p50; %<max>.1f at most)',
              p50: taken[taken.size / 2], max: taken.last)
end
