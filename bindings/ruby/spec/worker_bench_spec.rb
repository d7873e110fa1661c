# frozen_string_literal: true

require 'open3'

RSpec.describe 'bench/worker.rb' do
  let(:program) { File.expand_path('../bench/worker.rb', __dir__) }

  def run(*options)
    output, status = Open3.capture2e('ruby', program, '--steps', '400', *options)
    expect(status).to be_success, output
    output
  end

  it 'measures many steps at once, one at a time, and in processes' do
    [%w[--at-once 20], %w[--at-once 1], %w[--at-once 4 --processes 2]].each do |options|
      expect(run(*options)).to match(%r{\A400 steps in batches of [\d.]+: [\d.]+ us of CPU a step; \d+ steps/s$})
    end
  end
end
