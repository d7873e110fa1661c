# frozen_string_literal: true

module TaskerCore
  class CLI
    # Shows those who look after processes how the worker is.
    #
    # 1. The title of this process says how many steps run.
    # 2. The service manager is told when the worker is registered, and when it stops.
    # 3. The service manager's watchdog is fed, at least twice as often as it wants, while the worker's loop turns.
    #
    # @api private
    class Presence
      # A look at the worker is taken this often.
      SECONDS = 1.0
      private_constant :SECONDS

      # @param worker [Worker] one that has been started
      # @param service [ServiceManager]
      def initialize(worker, service)
        @worker = worker
        @service = service
        @seconds = [SECONDS, *service.watchdog_seconds&./(2)].min
      end

      def start
        @threads = [Thread.new { @service.ready if @worker.wait_until_registered },
                    Thread.new { loop { look } }]
        @threads.each { |thread| thread.name = 'tasker-presence' }
        self
      end

      def stopping = @service.stopping
      def stop = @threads.each(&:kill)

      private

      def look
        show
        seen = Clock.now
        @service.alive if @service.watchdog_seconds && @worker.responsive?(@seconds)
        sleep([seen + @seconds - Clock.now, 0].max)
      end

      def show
        state = @worker.stopping? ? ' stopping' : ''
        text = "#{@worker.running_steps.size} of #{@worker.concurrency} busy#{state}"
        return if text == @shown

        @shown = text
        Process.setproctitle("tasker-worker #{VERSION} [#{@worker.name}] #{text}")
        @service.status(text)
      end
    end
  end
end
