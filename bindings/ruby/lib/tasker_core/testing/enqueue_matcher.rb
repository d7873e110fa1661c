# frozen_string_literal: true

require 'rspec/expectations'
require_relative '../testing'
require_relative 'expected_count'
require_relative 'selection'

module TaskerCore
  module Testing
    # What {Matchers#have_enqueued_workflow} and {Matchers#have_been_enqueued} make. Exactly one task is expected unless
    # a count is given; negated, none.
    class EnqueueMatcher
      include RSpec::Matchers::Composable

      # @return [Object] for the difference that RSpec shows
      attr_reader :expected, :actual

      # @api private
      # @param workflow [Class, String, nil] nil takes the subject
      def initialize(workflow = nil)
        @workflow = workflow
        @expectations = {}
      end

      # @param input [Hash, #===] the whole input, or a matcher: `hash_including(order_id: 7)`
      # @return [self]
      def with(input)
        @expectations[:input] = input
        self
      end

      # How it was enqueued, as {Workflow::Enqueuing#set} says it: values, or matchers.
      #
      # @param options [Hash] `key:`, `tags:`, `priority:`, `wait:`, `wait_until:`, `bypass:`, `correlation_id:`
      # @return [self]
      def set(**options)
        @expectations.update(options)
        self
      end

      # @param time [Time, #===] when its first step may start
      # @return [self]
      def at(time) = set(wait_until: time)

      # @param count [Integer]
      # @return [self]
      def exactly(count) = counted(ExpectedCount.exactly(count))
      # @param count [Integer]
      # @return [self]
      def at_least(count) = counted(ExpectedCount.at_least(count))
      # @param count [Integer]
      # @return [self]
      def at_most(count) = counted(ExpectedCount.at_most(count))
      # @return [self]
      def once = exactly(1)
      # @return [self]
      def twice = exactly(2)
      # @return [self]
      def times = self

      # @api private
      def supports_block_expectations? = !@workflow.nil?
      # @api private
      def supports_value_expectations? = true

      # @api private
      def matches?(subject) = evaluate(subject, @count || ExpectedCount.exactly(1))

      # @api private
      def does_not_match?(subject) = !evaluate(subject, @count || ExpectedCount.at_least(1))

      # @api private
      def failure_message
        "expected #{@selection} to be enqueued #{@wanted}, but #{was}#{what_else}"
      end

      # @api private
      def failure_message_when_negated
        "expected #{@selection} not to be enqueued#{" #{@count}" if @count}, but #{was}#{what_else}"
      end

      # @api private
      def description = "enqueue #{selection(@workflow)} #{@count || 'once'}"

      # The only candidate is what was meant, as a rule.
      # @api private
      def diffable?
        candidates = @selection.of_workflow(@tasks)
        return false unless @found.empty? && candidates.size == 1 && @selection.input.is_a?(Hash)

        @expected = @selection.input.transform_keys(&:to_s)
        @actual = candidates.first.input.to_h
        true
      end

      private

      def counted(count)
        @count = count
        self
      end

      def selection(workflow) = Selection.new(workflow, @expectations)

      def evaluate(subject, wanted)
        @selection = selection(@workflow || subject)
        @wanted = wanted
        @tasks = tasks(subject)
        @found = @selection.of(@tasks)
        @wanted.met_by?(@found.size)
      end

      def tasks(subject)
        before = Testing.enqueued
        return before unless subject.is_a?(Proc)

        subject.call
        Testing.enqueued - before
      end

      def was = @found.empty? ? 'it was not' : "it was #{ExpectedCount.times(@found.size)}"

      def what_else
        same = @selection.of_workflow(@tasks)
        others = (@tasks - same).map(&:template_key).tally
        lines = same.map { |task| "\n  #{@selection.show(task)}" }
        lines += others.map { |key, count| "\n  #{key}#{", #{ExpectedCount.times(count)}" if count > 1}" }
        lines.empty? ? "\nnothing was enqueued" : "\nenqueued were:#{lines.join}"
      end
    end
  end
end
