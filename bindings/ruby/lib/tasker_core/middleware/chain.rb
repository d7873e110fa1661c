# frozen_string_literal: true

require_relative '../errors'

module TaskerCore
  # Code that is put around every step of a worker ({Configuration#worker_middleware}), or around every request of a
  # client ({Configuration#client_middleware}).
  module Middleware
    # An ordered list of classes, changed and read as in Sidekiq.
    #
    #     config.worker_middleware.add(Timing, unit: :millisecond)
    #     config.worker_middleware.insert_before(Timing, Tenant)
    #
    # 1. Keeps each class once; one that is added again moves.
    # 2. Makes a new instance of each class for every call, with the arguments it was added with: instance variables are
    #    that call's own.
    # 3. Calls them around a block, the first one outermost.
    class Chain
      include Enumerable

      # A class and what its constructor gets.
      Entry = Struct.new(:klass, :arguments, :options) do
        # @api private
        def build = klass.new(*arguments, **options)
      end

      # @return [Array<Entry>] the outermost first; frozen
      attr_reader :entries

      def initialize
        @entries = [].freeze
        @mutex = Mutex.new
      end

      # Adds a class at the end: nearest to the handler, or to the broker.
      #
      # @param klass [Class] whose instances have `call(attempt)`, or `call(request)`, and yield
      # @param arguments [Array] of its constructor
      # @param options [Hash] keywords of its constructor
      # @return [self]
      # @raise [Errors::ConfigurationError] when its instances cannot be called
      def add(klass, *arguments, **options)
        change(klass, arguments, options) { |others, entry| [*others, entry] }
      end

      # Adds a class at the beginning: outermost.
      # @see #add
      # @return [self]
      def prepend(klass, *arguments, **options)
        change(klass, arguments, options) { |others, entry| [entry, *others] }
      end

      # Adds a class outside of another one; at the beginning when that is not there.
      # @see #add
      # @return [self]
      def insert_before(other, klass, *arguments, **options)
        change(klass, arguments, options) do |others, entry|
          others.insert(others.index { |candidate| candidate.klass == other } || 0, entry)
        end
      end

      # Adds a class inside of another one; at the end when that is not there.
      # @see #add
      # @return [self]
      def insert_after(other, klass, *arguments, **options)
        change(klass, arguments, options) do |others, entry|
          index = others.index { |candidate| candidate.klass == other }
          others.insert(index ? index + 1 : others.size, entry)
        end
      end

      # @param klass [Class]
      # @return [self]
      def remove(klass)
        @mutex.synchronize { @entries = without(klass).freeze }
        self
      end

      # Removes all.
      # @return [self]
      def clear
        @mutex.synchronize { @entries = [].freeze }
        self
      end

      # @yieldparam entry [Entry]
      def each(&block) = entries.each(&block)

      # @param klass [Class]
      # @return [Boolean]
      def include?(klass) = entries.any? { |entry| entry.klass == klass }
      alias exists? include?

      # @return [Boolean]
      def empty? = entries.empty?

      # @api private
      # Calls all of them around the block.
      # @param subject [Object] what they get
      # @return [Object] what the block returned, whatever they made of it; when it was not called, or what it raised
      #   was rescued, what the outermost returned
      def invoke(subject)
        reached = false
        value = nil
        returned = traverse(entries.map(&:build), 0, subject) do
          value = yield
          reached = true
          value
        end
        reached ? value : returned
      end

      private

      def traverse(links, index, subject, &innermost)
        return yield if index == links.size

        links[index].call(subject) { traverse(links, index + 1, subject, &innermost) }
      end

      def change(klass, arguments, options)
        check(klass)
        entry = Entry.new(klass, arguments.freeze, options.freeze).freeze
        @mutex.synchronize { @entries = yield(without(klass), entry).freeze }
        self
      end

      def without(klass) = @entries.reject { |entry| entry.klass == klass }

      def check(klass)
        return if klass.is_a?(Class) && klass.method_defined?(:call)

        raise Errors::ConfigurationError, "#{klass.inspect} cannot be middleware: it is no class with a method call"
      end
    end
  end
end
