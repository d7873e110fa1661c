# frozen_string_literal: true

require_relative '../support/without_broker'

RSpec.describe TaskerCore::Testing::StepHarness do
  include_context 'without a broker'

  def run(...) = described_class.new(...).run

  it 'runs a step of a workflow with what it is given' do
    outcome = run(SpecWorkflows::Order, :charge, input: { id: 7 }, attempt: 2, task: { task_id: 'T' })
    expect(outcome).to be_complete
    expect(outcome.result).to eq('key' => 'T:charge', 'attempt' => 2, 'last' => false, 'cancelled' => false)
    expect(outcome.result[:attempt]).to eq(2)
    expect(outcome.error).to be_nil
  end

  it 'passes input, results and configuration through JSON' do
    audit = run(SpecWorkflows::Order, :audit, input: { id: :seven }, results: { validate: { total: :much } },
                                              config: { by: :me })
    expect(audit.result).to eq('by' => 'me', 'step' => 'audit', 'total' => 'much', 'order' => 'seven')
    expect { run(SpecWorkflows::Order, :audit, input: { id: Object }) }
      .to raise_error(TaskerCore::Errors::NotJsonError, /input.id/)
    expect(run(->(*) { { a: [Float::NAN] } }).error)
      .to have_attributes(error_class: 'TaskerCore::Errors::NotJsonError', message: 'result.a[0] is NaN, which JSON ' \
                                                                                    'cannot hold', retryable?: false)
  end

  it 'says how a step failed, and whether another attempt follows' do
    outcome = run(SpecWorkflows::Order, :charge, input: { gateway: 'later' })
    expect(outcome).to be_failed.and be_retried
    expect(outcome.result).to be_nil
    expect(outcome.error).to have_attributes(error_class: 'TaskerCore::Errors::RetryableError', message: 'closed',
                                             code: nil, retryable?: true, retry_after: 60,
                                             context: { 'opens' => '9:00' })
    expect(outcome.error.exception).to be_a(TaskerCore::RetryableError)
    expect(run(SpecWorkflows::Order, :charge, input: { gateway: 'later' }, attempt: 2)).not_to be_retried
    expect(run(SpecWorkflows::Order, :charge, input: { gateway: 'never' }).error)
      .to have_attributes(code: 'STOLEN', retryable?: false, retry_after: nil)
    expect(run(SpecWorkflows::Order, :charge, input: { gateway: 'busy' }, attempt: 3).error.retry_after).to eq(30)
  end

  it 'has events and progress' do
    outcome = run(SpecWorkflows::Order, :ship, input: { id: 7 }, results: { reserve: {}, charge: { amount: 3 } })
    expect(outcome.result).to eq('reserve' => {}, 'charge' => { 'amount' => 3 }, 'amount' => 3)
    expect(outcome.events.map(&:to_a)).to eq([['shipped', { 'id' => 7 }]])
    expect(run(->(_, _, step) { step.report_progress(done: 0.5) && 1 }).progress).to eq([{ 'done' => 0.5 }])
  end

  it 'runs handlers by themselves' do
    expect(run(SpecHandlers::Square, input: { n: 3 }).result).to eq(9)
    expect(run(SpecHandlers::Square, results: { before: 4 }).result).to eq(16)
    expect(run(SpecHandlers::PlainCall, :named, attempt: 2, attempts: 9).result)
      .to eq('name' => 'named', 'attempt' => 2, 'of' => 9)
    expect(run(SpecHandlers::Neither).error.error_class).to eq('TaskerCore::Errors::ConfigurationError')
    publishing = Class.new(TaskerCore::StepHandler::Base) { def process(*) = publish_event(:done, 1) }
    expect(run(publishing, events: [:done]).events.map(&:name)).to eq(['done'])
    expect(run(publishing)).to be_failed
    busy = ->(*) { raise TaskerCore::RetryableError.new('busy', retry_after: 1.5) }
    expect(run(busy, attempt: 2)).to be_retried
    expect(run(busy, attempt: 2).error.retry_after).to eq(1.5)
    expect(run(busy, attempt: 3)).not_to be_retried
  end

  it 'runs a step of a template in YAML' do
    root = File.expand_path('../../../../examples/order_fulfillment', __dir__)
    require File.join(root, 'handlers.rb')
    TaskerCore::Testing.load_templates(File.join(root, 'template.yaml'))
    context = JSON.parse(File.read(File.join(root, 'context-out-of-stock.json')))
    outcome = run('fulfillment/process_order', :validate_order, input: context)
    expect(outcome.result[:order_total]).to eq(90.0)
    short = run('fulfillment/process_order@1.0.0', :reserve_inventory, input: context,
                                                                       results: { validate_order: outcome.result })
    expect(short.error).to have_attributes(retryable?: true, retry_after: 60)
  end

  it 'takes no step, result or parent for granted' do
    expect { run(SpecWorkflows::Order, :chrge) }.to raise_error(ArgumentError, /no step :chrge \(it has validate, /)
    expect { run(SpecWorkflows::Order, :ship, results: { chrge: 1 }) }
      .to raise_error(ArgumentError, /names no step of .*: chrge/)
    expect { run(SpecWorkflows::Order, :reserve) }
      .to raise_error(described_class::MissingResultError, 'give the result of step validate: results: ' \
                                                           '{ validate: ... }')
    expect(run(->(_, sequence) { sequence.get_results('x') }).error.error_class)
      .to eq('TaskerCore::Errors::NotFoundError')
  end

  it 'lets failed expectations through' do
    expect { run(->(*) { RSpec::Expectations.fail_with('wrong') }) }
      .to raise_error(RSpec::Expectations::ExpectationNotMetError, 'wrong')
  end
end
