# frozen_string_literal: true

require 'io/wait'
require 'json'
require 'socket'

module TaskerCore
  class CLI
    # Answers an orchestrator's questions about the worker over HTTP.
    #
    # | path | answer |
    # |---|---|
    # | `/livez` | 200 while the worker's loop turns, else 503 |
    # | `/readyz` | 200 while it is registered and takes steps, else 503 |
    # | `/` | counts, as JSON |
    #
    # Anything else is refused. A connection is for one request, and bounded in time and bytes, as their number is.
    #
    # @api private
    class Probe
      # From the first byte to the last.
      SECONDS = 2
      REQUEST_BYTES_MAX = 8192
      CONNECTIONS_MAX = 8
      # The worker's loop has this long to show that it turns.
      TURN_SECONDS = 1
      REASONS = { 200 => 'OK', 400 => 'Bad Request', 404 => 'Not Found', 405 => 'Method Not Allowed',
                  503 => 'Service Unavailable' }.freeze
      REQUEST_LINE = %r{\A([A-Z]+) (\S+) HTTP/1\.[01]\r?\n}
      private_constant :SECONDS, :REQUEST_BYTES_MAX, :CONNECTIONS_MAX, :TURN_SECONDS, :REASONS, :REQUEST_LINE

      # @param worker [Worker]
      # @param port [Integer] 0 takes a free one
      # @raise [Errors::ConfigurationError] when nobody can listen there
      def initialize(worker, address, port, logger)
        @worker = worker
        @logger = logger
        @server = TCPServer.new(address, port)
        @connections = []
        worker.keep_from_children(@server)
      rescue SystemCallError, SocketError => e
        raise Errors::ConfigurationError, "the probe cannot listen on #{address}, port #{port}: #{e.message}"
      end

      def start
        @logger.info("the probe listens on #{@server.local_address.inspect_sockaddr}")
        @thread = Thread.new { loop { accept } }
        @thread.name = 'tasker-probe'
        self
      end

      def stop
        @thread&.kill
        @server.close
      end

      private

      def accept
        client = @server.accept
        @connections.select!(&:alive?)
        return client.close if @connections.size == CONNECTIONS_MAX

        @connections << Thread.new { serve(client) }
      rescue SystemCallError => e
        # No descriptor is free, or the peer has gone already.
        @logger.warn("the probe cannot take a connection: #{e.message}")
        sleep(TURN_SECONDS)
      end

      def serve(client)
        status, body = answer(request(client))
        client.write_nonblock("HTTP/1.1 #{status} #{REASONS[status]}\r\nContent-Type: application/json\r\n" \
                              "Content-Length: #{body.bytesize}\r\nConnection: close\r\n\r\n#{body}", exception: false)
      rescue SystemCallError, IOError
        nil # it has gone
      ensure
        client.close
      end

      # @return [String] what has come until the end of the header, or of the time
      def request(client)
        text = String.new
        deadline = Clock.now + SECONDS
        until text.match?(/\r?\n\r?\n/) || text.bytesize >= REQUEST_BYTES_MAX
          break unless client.wait_readable([deadline - Clock.now, 0].max)

          piece = client.read_nonblock(REQUEST_BYTES_MAX - text.bytesize, exception: false)
          break if piece.nil?

          text << piece unless piece == :wait_readable
        end
        text
      end

      def answer(request)
        return refuse(400, 'this is no request') unless request.match?(/\r?\n\r?\n/) && REQUEST_LINE.match?(request)

        method, path = request.match(REQUEST_LINE).captures
        return refuse(405, 'only GET is allowed') unless method == 'GET'

        case path
        when '/livez' then @worker.responsive?(TURN_SECONDS) ? say(200, 'ok') : refuse(503, 'the loop does not turn')
        when '/readyz' then ready
        when '/' then [200, JSON.generate(@worker.status)]
        else refuse(404, 'there is /, /livez and /readyz')
        end
      end

      def ready
        return refuse(503, 'the worker stops') if @worker.stopping?

        @worker.registered? ? say(200, 'ok') : refuse(503, 'the worker is not registered')
      end

      def say(status, text) = [status, JSON.generate({ status: text })]
      def refuse(status, problem) = [status, JSON.generate({ error: problem })]
    end
  end
end
