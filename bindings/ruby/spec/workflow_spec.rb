# frozen_string_literal: true

require_relative 'support/workflows'

RSpec.describe TaskerCore::Workflow do
  def refused(message, &body)
    expect { Class.new(described_class, &body) }.to raise_error(TaskerCore::ConfigurationError, message)
  end

  # A class that is gone after the example.
  def workflow(name, parent = described_class, &body)
    stub_const(name, Class.new(parent)).tap { |made| made.class_eval(&body) }
  end

  it 'is the template that its YAML would be' do
    expect(SpecWorkflows::Order.template.to_h).to eq(
      'namespace_name' => 'spec', 'name' => 'order', 'version' => '1.2.0', 'description' => 'Takes an order',
      'step_templates' => [
        { 'name' => 'validate', 'handler_class' => 'SpecWorkflows::Order#validate', 'default_retry_limit' => 5 },
        { 'name' => 'reserve', 'handler_class' => 'SpecWorkflows::Order#reserve', 'default_retry_limit' => 5,
          'depends_on_steps' => ['validate'], 'handler_config' => { 'warehouse' => 'north' } },
        { 'name' => 'audit', 'handler_class' => 'SpecWorkflows::Order#audit', 'default_retry_limit' => 5,
          'depends_on_steps' => ['validate'], 'handler_config' => { 'by' => 'rule 7' } },
        { 'name' => 'charge', 'handler_class' => 'SpecWorkflows::Order#charge', 'default_retry_limit' => 5,
          'depends_on_steps' => ['validate'], 'timeout_seconds' => 20, 'retry_backoff' => 'fixed' },
        { 'name' => 'ship', 'handler_class' => 'SpecWorkflows::Order#ship', 'default_retry_limit' => 5,
          'depends_on_steps' => %w[reserve charge], 'skippable' => true, 'custom_events' => ['shipped'] },
        { 'name' => 'notify', 'handler_class' => 'SpecWorkflows::Order#notify', 'default_retry_limit' => 5,
          'depends_on_steps' => ['ship'] }
      ]
    )
    expect(YAML.safe_load(SpecWorkflows::Order.template.to_yaml)).to eq(SpecWorkflows::Order.template.to_h)
  end

  it 'takes seconds as numbers and as durations' do
    duration = Struct.new(:to_f)
    made = workflow('Timed') do
      step(:a, timeout: duration.new(90.0)) { 1 }
      step(:b, timeout: 1.5) { 1 }
    end
    expect(made.template.to_h['step_templates'].map { |step| step['timeout_seconds'] }).to eq([90, 1.5])
  end

  it 'takes namespace and name from the class, unless it sets them' do
    here = workflow('Big::HTTPServer') { step(:a) { 1 } }
    alone = workflow('Alone') { step(:a) { 1 } }
    named = workflow('Big::Other') do
      namespace :small
      workflow_name 'thing'
      version '2.0.0'
      step(:a) { 1 }
    end
    expect(here.template.key).to start_with('big/http_server@0.0.0-c')
    expect(alone.template.key).to start_with('default/alone@')
    expect(named.template.key).to eq('small/thing@2.0.0')
  end

  describe 'a class that cannot be right' do
    it 'is refused where a step comes after one that is not there' do
      refused(/step b of a workflow comes after c, which is not defined above it \(defined: a\)/) do
        step(:a) { 1 }
        step(:b, after: :c) { 1 }
        step(:c, after: :b) { 1 }
      end
      refused(/comes after a, which is itself/) { step(:a, after: :a) { 1 } }
    end

    it 'is refused where a name is taken or none' do
      refused(/step a of a workflow is defined twice/) { 2.times { step(:a) { 1 } } }
      refused(/has no valid name/) { step('a b') { 1 } }
      refused(/every object has/) { step(:hash) { 1 } }
    end

    it 'is refused where an option makes no sense', :ill_typed do
      refused(/a handler and a block/) { step(:a, handler: String) { 1 } }
      refused(/cannot be called: 7/) { step(:a, handler: 7) }
      refused(/attempts: 0/) { step(:a, attempts: 0) { 1 } }
      refused(/timeout: "1"/) { step(:a, timeout: '1') { 1 } }
      refused(/backoff: :often; there are exponential, linear, fixed/) { step(:a, backoff: :often) { 1 } }
      refused(/need an error class/) { retry_on wait: 3 }
      refused(/"later" are no seconds|wait: :later/) { retry_on KeyError, wait: :later }
      refused(/attempts: 0/) { retry_on KeyError, attempts: 0 }
    end

    it 'has no template when nothing runs a step, or it has no name' do
      idle = workflow('Idle') { step :a }
      expect { idle.template }.to raise_error(TaskerCore::ConfigurationError, /step a of Idle has nothing that runs it/)
      nameless = Class.new(described_class) { step(:a) { 1 } }
      expect { nameless.template }.to raise_error(TaskerCore::ConfigurationError, /needs a name/)
      expect { workflow('Empty') { nil }.template }.to raise_error(TaskerCore::ConfigurationError, /Empty has no steps/)
    end
  end

  describe 'inheritance' do
    it 'hands down settings, steps and rules, and keeps what a subclass adds to itself' do
      parent = workflow('Parent') do
        namespace :family
        step(:a) { 1 }
      end
      child = workflow('Child', parent) { step(:b, after: :a) { 2 } }
      expect(child.template.to_h).to include('namespace_name' => 'family', 'name' => 'child')
      expect([child, parent].map { |made| made.template.steps }).to eq([%w[a b], %w[a]])
    end
  end

  describe '.version' do
    let(:two) { Array.new(2) { |index| workflow("Drafts::Draft#{index}") { step(:a, attempts: index + 1) { 1 } } } }

    it 'follows the content where none is set' do
      versions = two.map(&:version)
      expect(versions).to all(match(/\A0\.0\.0-c\h{12}\z/))
      expect(versions.uniq.size).to eq(2)
      expect(two.first.version).to eq(versions.first)
    end

    it 'follows the content everywhere in development' do
      TaskerCore.configuration.versions_follow_content = true
      two.each { |made| made.version('3.0.0') }
      expect(two.map(&:version)).to all(match(/\A3\.0\.0-c\h{12}\z/))
    ensure
      TaskerCore.configuration.versions_follow_content = nil
    end
  end

  describe '.loaded' do
    it 'lists classes with steps, and of those of one name only the present one' do
      before = workflow('Listed') { step(:a) { 1 } }
      now = workflow('Listed') { step(:b) { 1 } }
      workflow('Unlisted') { namespace :x }
      expect(described_class.loaded).to include(now, SpecWorkflows::Order)
      expect(described_class.loaded).not_to include(before)
      expect(described_class.loaded.map(&:name)).not_to include('Unlisted', 'SpecWorkflows::Base')
    end
  end
end
