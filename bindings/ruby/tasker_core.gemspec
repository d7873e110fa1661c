# frozen_string_literal: true

require_relative 'lib/tasker_core/version'

Gem::Specification.new do |spec|
  spec.name = 'tasker_core'
  spec.version = TaskerCore::VERSION
  spec.authors = ['The Tasker Core authors']
  spec.summary = 'Workers and client of the Tasker Core workflow broker'
  spec.description = 'Write the steps of a workflow as Ruby classes; run them in worker processes that talk to the ' \
                     'Tasker Core broker over ZeroMQ; submit and watch workflows from any Ruby program.'
  spec.license = 'MIT'
  spec.required_ruby_version = '>= 3.1'
  spec.files = Dir.chdir(__dir__) { Dir['lib/**/*', 'sig/**/*.rbs', 'exe/*', '*.md', '.yardopts'] }
  spec.bindir = 'exe'
  spec.executables = ['tasker-worker']
  spec.require_paths = ['lib']
  spec.metadata['rubygems_mfa_required'] = 'true'

  spec.add_runtime_dependency 'ffi', '~> 1.15'
  # Part of Ruby until 4.0.
  spec.add_runtime_dependency 'logger', '~> 1.4'
  spec.add_runtime_dependency 'msgpack', '~> 1.4'
  spec.add_runtime_dependency 'tomlrb', '>= 1.3', '< 3'
  spec.add_development_dependency 'faraday', '>= 1.1', '< 3'
  spec.add_development_dependency 'pg', '~> 1.4'
  spec.add_development_dependency 'rails', '>= 6.1'
  spec.add_development_dependency 'rbs', '>= 2.1'
  spec.add_development_dependency 'rspec', '~> 3.12'
  spec.add_development_dependency 'rubocop', '~> 1.39'
  spec.add_development_dependency 'sequel', '~> 5.63'
  spec.add_development_dependency 'yard', '~> 0.9'
end
