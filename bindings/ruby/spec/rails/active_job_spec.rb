# frozen_string_literal: true

require 'support/rails_application'
require 'support/test_broker'

RSpec.describe 'the adapter of Active Job', seconds: 90 do
  before(:context) do
    @app = RailsApplication.new(TestBroker.shared)
    @app.edit('config/application.rb') do |text|
      text.sub(/load_defaults .*\n/, <<~RUBY)
        \\0
        config.active_job.queue_adapter = :tasker
        config.tasker.broker = ENV.fetch('TASKER_BROKER')
        config.tasker.request_timeout = 5
      RUBY
    end
    @app.write('app/jobs/note_job.rb', <<~RUBY)
      class NoteJob < ActiveJob::Base
        Busy = Class.new(StandardError)
        retry_on(Busy, wait: 0, attempts: 2) { |job, _| job.note('gave up') }
        discard_on(KeyError) { |job, _| job.note('discarded') }

        def perform(kind, options = {})
          note(kind)
          raise Busy if kind == 'busy'
          raise KeyError if kind == 'key'
          raise 'broken' if kind == 'broken'
        end

        def note(text)
          line = [text, executions, queue_name, provider_job_id, arguments.last]
          File.open(ENV.fetch('NOTES'), 'a') { |file| file.puts(JSON.generate(line)) }
        end
      end
    RUBY
    @app.write('app/mailers/note_mailer.rb', <<~RUBY)
      class NoteMailer < ActionMailer::Base
        def hello(name) = mail(to: 'a@example.org', from: 'b@example.org', subject: name, body: name)
      end
    RUBY
    @app.write('config/initializers/mail.rb', <<~RUBY)
      ActionMailer::Base.delivery_method = :file
      ActionMailer::Base.file_settings = { location: Rails.root.join('tmp/mails') }
    RUBY
  end

  before do
    app.write('notes', '')
    # For every process of the application.
    @app.environment[:NOTES] = app.path('notes')
  end

  after { |example| warn(app.logs) if example.exception }
  after(:context) { @app&.remove }

  attr_reader :app

  # Jobs of other examples may run as well.
  def notes(*kinds) = app.read('notes').lines.map { |line| JSON.parse(line) }.select { |it| kinds.include?(it.first) }

  # Ruby that enqueues, waits for what it was, and tells its end.
  def run(job)
    app.ruby(<<~RUBY)
      task = TaskerCore::Task.find(#{job}.provider_job_id)
      { state: task.wait, id: task.id, template: task.status.task.to_h.values_at('namespace', 'name').join('/') }
    RUBY
  end

  it 'runs jobs, with what is Active Job\'s own' do
    worker = app.start_worker
    done = run("NoteJob.perform_later('fine', { at: Time.at(1).utc, big: 2**64, sym: :s })")
    expect(done).to include('state' => 'complete', 'template' => 'active_job/default')
    expect(notes('fine')).to eq([['fine', 1, 'default', done['id'],
                                  { 'at' => '1970-01-01 00:00:01 UTC', 'big' => 2**64, 'sym' => 's' }]])

    expect(run("NoteJob.set(queue: 'low priority!').perform_later('busy')"))
      .to include('state' => 'complete', 'template' => 'active_job/low_priority_')
    sleep 0.05 until notes('gave up').any?
    expect(notes('busy', 'gave up').map { |note| note.first(3) })
      .to eq([['busy', 1, 'low priority!'], ['busy', 2, 'low priority!'], ['gave up', 2, 'low priority!']])

    expect(run("NoteJob.perform_later('key')")).to include('state' => 'complete')
    expect(notes('discarded').size).to eq(1)
    expect(worker.stop).to eq(0)
  end

  it 'ends a job with the error that escapes it, and mails' do
    worker = app.start_worker
    failed = run("NoteJob.perform_later('broken')")
    expect(failed['state']).to eq('error')
    step = app.ruby("TaskerCore.client.task_status('#{failed['id']}', steps: true).steps.first.to_h")
    expect(step).to include('attempts' => 1)
    expect(notes('broken').size).to eq(1)

    app.ruby("NoteMailer.hello('you').deliver_later; nil")
    sleep 0.05 until File.size?(app.path('tmp/mails/a@example.org'))
    expect(app.read('tmp/mails/a@example.org')).to include('Subject: you')
    expect(worker.stop).to eq(0)
  end

  it 'maps priorities and times, and enqueues a job that is sent twice once' do
    told = app.ruby(<<~RUBY)
      job = NoteJob.set(priority: 7, wait: 3600).perform_later('later')
      task = TaskerCore.client.task_status(job.provider_job_id)
      again = ActiveJob::Base.queue_adapter.enqueue_at(job, job.scheduled_at)
      sql = "SELECT priority, extract(epoch FROM run_at) - extract(epoch FROM created_at) AS wait FROM tasker.tasks " \\
            "WHERE task_id = '\#{job.provider_job_id}'"
      row = ActiveRecord::Base.connection.exec_query(sql).first
      { id: job.provider_job_id, again: again, state: task.state, **row }
    RUBY
    expect(told).to include('again' => told['id'], 'priority' => -7, 'state' => 'pending')
    expect(told['wait'].to_f).to be_within(60).of(3600)
  end

  it 'enqueues many at once, each with its outcome' do
    told = app.ruby(<<~RUBY)
      # As Rails 7.1 has it.
      ActiveJob::EnqueueError = Class.new(StandardError)
      NoteJob.class_eval { attr_accessor :successfully_enqueued, :enqueue_error }
      jobs = Array.new(3) { |n| NoteJob.new("many \#{n}") } + [NoteJob.new('x' * 2_000_000)]
      jobs[1].queue_name = 'other'
      count = ActiveJob::Base.queue_adapter.enqueue_all(jobs)
      { count: count, enqueued: jobs.map(&:successfully_enqueued), ids: jobs.filter_map(&:provider_job_id).uniq.size,
        error: jobs.last.enqueue_error&.message }
    RUBY
    expect(told).to include('count' => 3, 'enqueued' => [true, true, true, false], 'ids' => 3)
    expect(told['error']).to match(/large|bytes|limit/)
  end

  it 'enqueues within the transaction when that is asked for' do
    told = app.ruby(<<~RUBY)
      NoteJob.queue_adapter = ActiveJob::QueueAdapters::TaskerAdapter.new(transactional: :inbox)
      count = -> { TaskerCore.client.list_tasks(namespace: 'active_job', name: 'atomic').size }
      ActiveRecord::Base.transaction do
        NoteJob.set(queue: 'atomic').perform_later('never')
        raise ActiveRecord::Rollback
      end
      ActiveRecord::Base.transaction { NoteJob.set(queue: 'atomic').perform_later('once') }
      sleep 0.01 until count.call.positive?
      { count: count.call, waits: NoteJob.queue_adapter.enqueue_after_transaction_commit?,
        default: ActiveJob::Base.queue_adapter.enqueue_after_transaction_commit? }
    RUBY
    expect(told).to eq('count' => 1, 'waits' => false, 'default' => true)
  end

  it 'serves the queues that the settings name' do
    app.write('config/tasker.yml', <<~YAML)
      shared:
        broker: tcp://127.0.0.1:1
      development:
        worker:
          queues: [one, 'the other']
    YAML
    worker = app.start_worker
    served = app.ruby("TaskerCore.client.list_workers.find { |it| it.pid == #{worker.pid} }.templates")
    expect(served).to contain_exactly('active_job/one@1.0.0', 'active_job/the_other@1.0.0')
    worker.stop
  ensure
    FileUtils.rm_f(app.path('config/tasker.yml'))
  end
end
