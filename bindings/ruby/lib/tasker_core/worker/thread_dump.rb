# frozen_string_literal: true

module TaskerCore
  class Worker
    # What every thread of this process is doing, for the log.
    #
    # @api private
    module ThreadDump
      module_function

      # @param running [Array<String>] the steps that run
      def write(logger, running)
        logger.warn("process #{Process.pid}, running: #{running.join('; ')}")
        Thread.list.each do |thread|
          lines = thread.backtrace || ['(no backtrace)']
          logger.warn("process #{Process.pid}, thread #{thread.name || thread.object_id}\n#{lines.join("\n")}")
        end
      end
    end
  end
end
