# frozen_string_literal: true

require 'tasker_core/testing/matchers'
require_relative '../support/without_broker'

RSpec.describe TaskerCore::Testing::Matchers do
  include_context 'without a broker'
  include described_class

  before { TaskerCore::Testing.inline! }

  def order(**input) = SpecWorkflows::Order.enqueue(id: 7, **input)

  def fails(message, &block)
    expect(&block).to raise_error(RSpec::Expectations::ExpectationNotMetError, message)
  end

  let(:failed) do
    "the task is error:\n  validate: complete\n  reserve: complete\n  audit: complete\n  " \
      "charge: error, TaskerCore::Errors::PermanentError (STOLEN): card is stolen\n  ship: pending\n  notify: pending"
  end

  it 'looks for steps that are complete' do
    expect(order).to have_completed_steps(:validate, :notify)
    expect(order(gateway: :never)).to have_completed_steps('validate').and have_failed_step(:charge)
    expect(order(gateway: :never)).not_to have_completed_steps(:validate, :charge)
    expect(TaskerCore::Testing.enqueued.last).to have_completed_steps(:audit)
    expect(TaskerCore::Testing.enqueued.last.id).to have_completed_steps(:audit)
    expect(order.status(steps: true)).to have_completed_steps(:audit)
    fails("expected the task to have completed validate, ship, but #{failed}") do
      expect(order(gateway: :never)).to have_completed_steps(:validate, :ship)
    end
    fails(/\Aexpected the task not to have completed validate, but the task is complete:/) do
      expect(order).not_to have_completed_steps(:validate)
    end
    expect { expect(7).to have_completed_steps(:a) }.to raise_error(ArgumentError, '7 is no task')
  end

  it 'looks at their order' do
    expect(order).to have_completed_steps(:validate, :charge, :ship).in_order
    fails(/\Aexpected the task to have completed ship, charge in this order, .*in the order: validate, reserve,/m) do
      expect(order).to have_completed_steps(:ship, :charge).in_order
    end
  end

  it 'looks for a step that failed, and its error' do
    task = order(gateway: :never)
    expect(task).to have_failed_step(:charge)
    expect(task).to have_failed_step(:charge).with_error(TaskerCore::PermanentError, 'card is stolen', code: 'STOLEN')
    expect(task).to have_failed_step(:charge).with_error('TaskerCore::Errors::PermanentError', /stolen/)
    expect(task).to have_failed_step(:charge).with_error(StandardError)
    expect(task).not_to have_failed_step(:charge).with_error(KeyError)
    expect(task).not_to have_failed_step(:charge).with_error('PermanentError')
    expect(task).not_to have_failed_step(:charge).with_error(code: 'GONE')
    expect(task).not_to have_failed_step(:charge).with_error(nil, 'stolen')
    expect(task).not_to have_failed_step(:validate)
    expect(order).not_to have_failed_step(:charge)
    fails("expected the task to have failed in charge with KeyError, \"no\", code GONE, but #{failed}") do
      expect(task).to have_failed_step(:charge).with_error(KeyError, 'no', code: 'GONE')
    end
    fails(/\Aexpected the task not to have failed in charge, but the task is error/) do
      expect(task).not_to have_failed_step(:charge)
    end
  end

  it 'looks for a task that is complete' do
    expect(order).to be_complete_task
    expect(order(gateway: :busy)).not_to be_complete_task
    fails("expected the task to be complete, but #{failed}") { expect(order(gateway: :never)).to be_complete_task }
    fails(/\Aexpected the task not to be complete, but the task is complete/) { expect(order).not_to be_complete_task }
  end
end
