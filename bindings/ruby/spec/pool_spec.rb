# frozen_string_literal: true

RSpec.describe TaskerCore::Worker::Pool do
  let(:handlers) { TaskerCore::Handlers.new }
  let(:ended) { Thread::Queue.new }
  let(:pool) { new_pool(8) }

  # All of its threads sleep, and have to be woken.
  def new_pool(size)
    runner = TaskerCore::Worker::Runner.new(handlers, Logger.new(File::NULL))
    pool = described_class.new(size, runner) { |job| ended << job }
    Thread.pass until pool.instance_variable_get(:@idle).size == size
    pool
  end

  after { pool.stop(kill: true) }

  def jobs(*names)
    steps = names.each_with_index.map { |name, index| [index.to_s, { handler: name }] }
    TaskerCore::Worker::Batch.new(batch(uuid, steps), nil, TaskerCore::Clock.now).jobs
  end

  # The next jobs to end.
  def take(count) = Timeout.timeout(5) { Array.new(count) { ended.pop } }

  it 'runs as many handlers at once as it has threads' do
    here = Thread::Queue.new
    all = TaskerCore::Promise.new
    handlers.register('Meet', lambda {
      here << true
      all.give(true) if here.size == 8
      all.wait(5).first
    })
    pool.push(jobs(*['Meet'] * 8))
    expect(take(8).map { |job| job.outcome['result'] }).to eq(['true'] * 8)
  end

  it 'lets no job wait behind a handler that waits, while a thread is free' do
    gate = Thread::Queue.new
    handlers.register('Wait', -> { gate.pop })
    handlers.register('Quick', -> { 1 })
    pool.push(jobs(*%w[Quick Wait Quick Wait Wait Quick Wait Quick Wait Wait Wait Quick]))
    expect(take(5).map { |job| job.step.name }).to match_array(%w[0 2 5 7 11])
    # One thread is left.
    3.times do
      pool.push(jobs('Quick'))
      expect(take(1).first.state).to eq(:complete)
    end

    pool.push(jobs('Wait', 'Quick'))
    Thread.pass until pool.running.size == 8
    expect(ended).to be_empty
    gate << 2
    expect(take(2).map { |job| job.outcome['result'] }).to contain_exactly('2', '1')
    7.times { gate << 3 }
    expect(take(7).size).to eq(7)
  end

  it 'knows in each thread which attempt it runs' do
    handlers.register('Which', -> { TaskerCore::Execution::Attempt.current.step.name })
    pool.push(jobs('Which', 'Which'))
    expect(take(2).map { |job| job.outcome['result'] }).to contain_exactly('"0"', '"1"')
    expect(TaskerCore::Execution::Attempt.current).to be_nil
  end

  it 'does small jobs with few threads' do
    stub_const('TaskerCore::Worker::Pool::TURN_SECONDS', 60)
    pool = new_pool(50)
    handlers.register('Which', -> { Thread.current.name })
    pool.push(jobs(*['Which'] * 200))
    expect(take(200).map { |job| job.outcome['result'] }.uniq.size).to be < 10
  ensure
    pool.stop
  end

  it 'goes on without a thread that somebody else has ended' do
    thread = nil
    handlers.register('Quick', -> { (thread = Thread.current).name })
    7.times do
      pool.push(jobs('Quick', 'Quick'))
      expect(take(2).map(&:state)).to eq(%i[complete complete])
      # The one that has just slept in is the first to be woken.
      Thread.pass until thread.stop?
      thread.kill.join
    end
  end

  it 'keeps an interrupt that comes too late from the next handler' do
    gate = Thread::Queue.new
    # Interrupted while its result is written, which is not the handler's own code.
    result = Class.new(Hash) { define_method(:each_pair) { |&block| gate.pop and super(&block) } }
    handlers.register('Slow', -> { result.new })
    handlers.register('Quick', -> { 1 })
    pool = new_pool(1)
    slow, quick = jobs('Slow', 'Quick')
    pool.push([slow, quick])
    Thread.pass until gate.num_waiting == 1
    expect(pool.interrupt(slow, TaskerCore::Worker::StepInterrupt.new('late'))).to be(true)
    gate << true
    expect(take(2).map { |job| [job, job.state] }).to eq([[slow, :complete], [quick, :complete]])
  ensure
    pool.stop
  end

  it 'gives back what no thread has taken, and ends when it has nothing to do' do
    gate = Thread::Queue.new
    handlers.register('Wait', -> { gate.pop })
    pool.push(jobs(*['Wait'] * 10))
    Thread.pass until pool.running.size == 8
    expect(pool.take_waiting.map { |job| job.step.name }).to eq(%w[8 9])
    8.times { gate << 1 }
    expect(take(8).size).to eq(8)
    expect(pool.stop).to be(true)
  end
end
