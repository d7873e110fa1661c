# frozen_string_literal: true

RSpec.describe TaskerCore::Worker::Hooks do
  include Attempts

  let(:told) { Thread::Queue.new }
  let(:hooks) { described_class.new(:worker) }

  before { allow(TaskerCore).to receive(:configuration).and_return(configuration) }

  # Runs the last hooks, until they are done or wait for something.
  def last_hooks(seconds)
    others = Thread.list
    caller = Thread.new { hooks.fire_within(seconds, :shutdown) }
    Thread.pass until !caller.alive? || (Thread.list - others - [caller]).any? { |thread| thread.status == 'sleep' }
    caller
  end

  it 'run in the order of the events, the last ones too' do
    gate = Thread::Queue.new
    configuration.on(:quiet) { told << gate.pop }
    configuration.on(:shutdown) { told << :shutdown }
    hooks.fire_later(:quiet)
    Thread.pass until gate.num_waiting == 1
    thread = last_hooks(20)
    gate << :quiet
    thread.join
    expect([told.pop, told.pop]).to eq(%i[quiet shutdown])
  end

  it 'run at the end although earlier ones do not come to theirs' do
    never = Thread::Queue.new
    configuration.on(:heartbeat) { never.pop }
    configuration.on(:shutdown) { told << :shutdown }
    hooks.fire_later(:heartbeat)
    last_hooks(0.2).join
    expect(told.pop).to eq(:shutdown)
  end
end
