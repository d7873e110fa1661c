# frozen_string_literal: true

require 'open3'
require_relative 'support/signatures'

RSpec.describe Signatures do
  let(:signatures) { described_class.new }

  it 'belong to classes and modules that exist' do
    expect(signatures.owners).to include('TaskerCore::Client', 'TaskerCore::Workflow', 'TaskerCore::Types::TaskStatus')
    expect(signatures.owners.reject { |name| Object.const_defined?(name) }).to be_empty
  end

  it 'are there for every public method' do
    expect(signatures.public_methods_of_gem).to include('TaskerCore.configure', 'TaskerCore::Client#initialize_task')
    expect(signatures.public_methods_of_gem - signatures.signed.keys).to be_empty
  end

  it 'resolve, and take what their methods take' do
    differences = signatures.signed.keys.to_h { |name| [name, signatures.difference(name)] }.compact
    expect(differences).to be_empty
  end

  it 'name every field of a record' do
    records = TaskerCore::Types.constants.map { |name| TaskerCore::Types.const_get(name) }
    records = records.select { |type| type.is_a?(Class) && type < TaskerCore::Types::Record }
    expect(records.size).to be > 15
    fields = records.flat_map do |record|
      own = record.ancestors.take_while { |ancestor| ancestor != TaskerCore::Types::Record }
      own.flat_map { |owner| owner.public_instance_methods(false) }.uniq.map { |field| "#{record}##{field}" }
    end
    expect(fields - signatures.signed.keys).to be_empty
  end

  # Other specs again, in a process that compares each call with its signature. Examples that are `:ill_typed` do what
  # signatures rule out, or return out of a block, which the comparison does not bear.
  it 'hold for every call that other specs make', seconds: 120 do
    specs = %w[workflow workflow_steps enqueue task client handlers execution trace_context middleware payloads
               testing/modes testing/engine testing/step_harness testing/task_matchers testing/enqueue_matcher]
    variables = { 'RBS_TEST_TARGET' => 'TaskerCore::*', 'RBS_TEST_RAISE' => 'true', 'RBS_TEST_LOGLEVEL' => 'error',
                  'RBS_TEST_OPT' => '-I sig -r logger', 'RUBYOPT' => '-rrbs/test/setup' }
    output, status = Open3.capture2e(variables, 'rspec', '--tag', '~ill_typed',
                                     *specs.map { |name| "spec/#{name}_spec.rb" }, chdir: Signatures::ROOT)
    expect(status).to be_success, output
    expect(output[/(\d+) examples/, 1].to_i).to be > 200
  end
end
