# frozen_string_literal: true

# Runs a block in a forked process, so that what it loads is met by nobody else.
module Child
  Failed = Class.new(StandardError)

  # @return [Object] what the block returned, through Marshal
  def in_child(&block)
    reader, writer = IO.pipe
    pid = fork do
      writer.write(outcome(&block))
      writer.close
      # The examples of the parent are not run again at the end.
      exit!(0)
    end
    writer.close
    result, error = Marshal.load(reader.read) # rubocop:disable Security/MarshalLoad -- our own child wrote it
    Process.wait(pid)
    error ? raise(Failed, error) : result
  end

  private

  def outcome
    Marshal.dump([yield, nil])
  rescue Exception => e # rubocop:disable Lint/RescueException -- whatever it is, the parent is to know
    Marshal.dump([nil, "#{e.class}: #{e.message}\n#{e.backtrace.first(8).join("\n")}"])
  end
end
