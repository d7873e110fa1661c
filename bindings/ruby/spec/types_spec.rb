# frozen_string_literal: true

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
end
