# frozen_string_literal: true

require_relative '../promise'

module TaskerCore
  class Worker
    # The application's hooks on the life of a worker. They may take long, so that the loop's thread leaves them to
    # another one.
    #
    # @api private
    class Hooks
      def initialize(worker)
        @worker = worker
        @names = Thread::Queue.new
      end

      # Runs the hooks of this name.
      def fire(name) = lifecycle.fire(name, @worker)

      # Runs them soon, in the order of the calls. Of a name that still waits, this is one and the same.
      def fire_later(name)
        return unless lifecycle.any?(name)
        return if @last == name && !@names.empty?

        @last = name
        @names << name
        start unless @thread
      end

      # Runs them after those that wait, which have half of the time, for so many seconds at most: a worker that stops
      # waits no longer.
      def fire_within(seconds, name)
        Thread.new do
          settle(seconds / 2.0)
          fire(name)
        end.join(seconds)
      end

      private

      def lifecycle = TaskerCore.configuration.lifecycle

      def start
        @thread = Thread.new { loop { run(@names.pop) } }
        @thread.name = 'tasker-hooks'
      end

      def run(item)
        item.is_a?(Promise) ? item.give(true) : fire(item)
      end

      # Waits until all that were called for have been run.
      def settle(seconds)
        return unless @thread

        settled = Promise.new
        @names << settled
        settled.wait(seconds)
      end
    end
  end
end
