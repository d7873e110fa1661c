# frozen_string_literal: true

require 'open3'
require 'tmpdir'
require 'tasker_core/testing/matchers'
require_relative '../support/without_broker'

RSpec.describe TaskerCore::Testing::EnqueueMatcher do
  include_context 'without a broker'
  include TaskerCore::Testing::Matchers

  before { TaskerCore::Testing.fake! }

  let(:order) { SpecWorkflows::Order }

  def enqueue(count = 1, **input) = count.times { order.enqueue(id: 7, **input) }

  # Expects that an expectation fails with exactly this message, which a difference may follow.
  def fails(message, &block)
    expect(&block).to raise_error(RSpec::Expectations::ExpectationNotMetError) { |error|
      expect(error.message).to start_with(message)
    }
  end

  it 'passes for exactly one task, from the block only' do
    enqueue
    expect { enqueue }.to have_enqueued_workflow(order)
    expect { enqueue }.to have_enqueued_workflow('spec/order')
    expect { nil }.not_to have_enqueued_workflow(order)
    expect { enqueue }.not_to have_enqueued_workflow('spec/other')
    fails("expected spec/order@1.2.0 to be enqueued exactly once, but it was twice\nenqueued were:\n  " \
          "spec/order@1.2.0, input: {id: 7}\n  spec/order@1.2.0, input: {id: 7}") do
      expect { enqueue(2) }.to have_enqueued_workflow(order)
    end
    fails("expected spec/order@1.2.0 to be enqueued exactly once, but it was not\nnothing was enqueued") do
      expect { nil }.to have_enqueued_workflow(order)
    end
  end

  it 'fails for a task that should not be' do
    fails("expected spec/order@1.2.0 not to be enqueued, but it was once\nenqueued were:\n  " \
          'spec/order@1.2.0, input: {id: 7}') do
      expect { enqueue }.not_to have_enqueued_workflow(order)
    end
    fails('expected spec/order@1.2.0 not to be enqueued exactly twice, but it was twice') do
      expect { enqueue(2) }.not_to have_enqueued_workflow(order).twice
    end
  end

  it 'counts' do
    expect { enqueue(3) }.to have_enqueued_workflow(order).exactly(3).times
    expect { enqueue(3) }.to have_enqueued_workflow(order).at_least(2).times
    expect { enqueue(3) }.to have_enqueued_workflow(order).at_most(3).times
    expect { enqueue }.to have_enqueued_workflow(order).once
    fails('expected spec/order@1.2.0 to be enqueued at least three times, but it was twice') do
      expect { enqueue(2) }.to have_enqueued_workflow(order).at_least(3).times
    end
    fails('expected spec/order@1.2.0 to be enqueued at most once, but it was 4 times') do
      expect { enqueue(4) }.to have_enqueued_workflow(order).at_most(1).times
    end
  end

  it 'compares the input as it comes out of JSON' do
    expect { enqueue(kind: :vip) }.to have_enqueued_workflow(order).with(id: 7, kind: 'vip')
    expect { enqueue(kind: :vip) }.to have_enqueued_workflow(order).with('id' => Integer, 'kind' => :vip)
    expect { enqueue(items: [{ n: 1 }]) }.to have_enqueued_workflow(order).with(id: 7, items: [{ n: (1..2) }])
    expect { enqueue(kind: :vip) }.to have_enqueued_workflow(order).with(hash_including(id: 7))
    expect { enqueue(kind: :vip) }.to have_enqueued_workflow(order).with(a_hash_including('kind' => /v/))
    expect { enqueue(kind: :vip) }.not_to have_enqueued_workflow(order).with(id: 7)
    expect { enqueue }.not_to have_enqueued_workflow(order).with(id: 7, kind: nil)
    expect { enqueue(items: [1, 2]) }.not_to have_enqueued_workflow(order).with(id: 7, items: [1])
  end

  it 'shows the difference to what was meant' do
    fails("expected spec/order@1.2.0, input: {id: 8} to be enqueued exactly once, but it was not\nenqueued were:\n  " \
          "spec/order@1.2.0, input: {id: 7, kind: \"vip\"}\nDiff:") do
      expect { enqueue(kind: :vip) }.to have_enqueued_workflow(order).with(id: 8)
    end
    expect { expect { enqueue(kind: :vip) }.to have_enqueued_workflow(order).with(id: 8) }
      .to raise_error(RSpec::Expectations::ExpectationNotMetError, /-"id" => 8,\n.*\+"id" => 7,\n.*\+"kind" => "vip"/m)
    fails("expected spec/order@1.2.0, input: hash_including(:id=>8) to be enqueued exactly once, but it was not\n" \
          "enqueued were:\n  spec/order@1.2.0, input: {id: 7}") do
      expect { enqueue }.to have_enqueued_workflow(order).with(hash_including(id: 8))
    end
  end

  it 'compares how it was enqueued' do
    at = Time.at(2_000_000_000)
    enqueued = -> { order.set(key: 'k', tags: [:vip], priority: 3, wait_until: at, bypass: :ship).enqueue(id: 7) }
    expect(&enqueued).to have_enqueued_workflow(order).set(key: 'k', tags: %w[vip], priority: 3, bypass: [:ship]).at(at)
    TaskerCore::Testing.clear
    expect(&enqueued).not_to have_enqueued_workflow(order).at(at + 1)
    TaskerCore::Testing.clear
    expect(&enqueued).to have_enqueued_workflow(order).set(wait_until: a_value > Time.now, tags: include('vip'))
    expect { order.set(wait: 600).enqueue(id: 7) }.to have_enqueued_workflow(order).set(wait: 600)
    expect { order.set(wait: 600).enqueue(id: 7) }.not_to have_enqueued_workflow(order).set(wait: 610)
    expect { enqueue }.not_to have_enqueued_workflow(order).set(wait: 0)
    fails('expected spec/order@1.2.0, priority: 4, wait_until: 2033-05-18T03:33:20.000Z to be enqueued exactly once, ' \
          "but it was not\nenqueued were:\n  spec/order@1.2.0, input: {id: 7}, priority: 3, " \
          'wait_until: 2033-05-18T03:33:20.000Z') do
      TaskerCore::Testing.clear
      expect(&enqueued).to have_enqueued_workflow(order).set(priority: 4).at(at)
    end
    expect { expect(&enqueued).to have_enqueued_workflow(order).set(prio: 4) }.to raise_error(ArgumentError, /prio/)
  end

  it 'looks at all that was enqueued, of the workflow or of everything' do
    enqueue
    expect(order).to have_been_enqueued.with(id: 7)
    expect(TaskerCore::Testing).to have_enqueued_workflow(order)
    expect(TaskerCore::Testing).not_to have_enqueued_workflow('spec/other')
    fails("expected spec/other to be enqueued exactly once, but it was not\nenqueued were:\n  spec/order@1.2.0") do
      expect('spec/other').to have_been_enqueued
    end
    expect { enqueue }.to have_enqueued_workflow(order).and(change { TaskerCore::Testing.enqueued.size }.by(1))
  end

  it 'asserts for Minitest' do
    tests = Class.new do
      include TaskerCore::Testing::Assertions

      def assert_equal(expected, actual, message) = expected == actual || raise(message)
      def assert_empty(list, message) = list.empty? || raise(message)
    end.new
    expect(tests.assert_enqueued_workflow(order, with: { id: 7 }, priority: 0) { enqueue }.size).to eq(1)
    tests.assert_enqueued_workflow(order, times: 1)
    tests.refute_enqueued_workflow(order) { nil }
    expect { tests.assert_enqueued_workflow(order, with: { id: 8 }) { enqueue } }
      .to raise_error("expected spec/order@1.2.0, input: {id: 8} to be enqueued once; of this workflow were:\n  " \
                      'spec/order@1.2.0, input: {id: 7}')
    expect { tests.refute_enqueued_workflow(order) }.to raise_error(/to be enqueued 0 times/)
    task = TaskerCore::Testing.inline! { order.enqueue(id: 7, gateway: :never) }
    tests.assert_completed_steps(task, :validate, :reserve)
    expect { tests.assert_completed_steps(task, :charge) }.to raise_error(/charge: error/)
  end

  it 'comes with clean examples in fake mode for RSpec' do
    spec = <<~RUBY
      require 'tasker_core/rspec'
      class Mail < TaskerCore::Workflow
        step(:deliver) { 'sent' }
      end
      RSpec.describe Mail do
        2.times { it('is clean') { expect { Mail.enqueue }.to have_enqueued_workflow(Mail); expect(Mail).to have_been_enqueued } }
        it('runs', tasker: :inline) { expect(Mail.enqueue).to have_completed_steps(:deliver) }
        it('is real', tasker: :disabled) { expect(TaskerCore.client).to be_an_instance_of(TaskerCore::Client) }
        it('is wrong', tasker: :off) { nil }
      end
    RUBY
    Dir.mktmpdir do |folder|
      File.write(File.join(folder, 'mail_spec.rb'), spec)
      out, status = Open3.capture2e(RbConfig.ruby, '-S', 'rspec', '-I', File.expand_path('../../lib', __dir__), folder,
                                    chdir: folder)
      expect(out).to include('5 examples, 1 failure', ':off is none of :fake, :inline, :disabled')
      expect(status).not_to be_success
    end
  end
end
