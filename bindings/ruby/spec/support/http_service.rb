# frozen_string_literal: true

require 'socket'

# An HTTP service on a free port. It answers one request after the other with what the test has given it, and keeps
# them.
class HttpService
  Request = Struct.new(:verb, :path, :headers, :body)

  attr_reader :requests

  def initialize
    @server = TCPServer.new('127.0.0.1', 0)
    @requests = Thread::Queue.new
    @answers = Thread::Queue.new
    @thread = Thread.new { serve }
  end

  def url = "http://127.0.0.1:#{@server.addr[1]}"

  # @param status [Integer, nil] nil closes the connection instead; `:silent` keeps it open until the end
  def answer(status, body = '', **headers)
    @answers << [status, body, headers]
    self
  end

  def stop
    @thread.kill.join
    @server.close
  end

  private

  def serve
    silent = []
    loop do
      socket = @server.accept
      @requests << read(socket)
      status, body, headers = @answers.pop
      next silent << socket if status == :silent

      write(socket, status, body, headers) if status
      socket.close
    end
  end

  def read(socket)
    method, path = socket.gets.split
    headers = {}
    while (line = socket.gets.chomp) != ''
      name, value = line.split(': ', 2)
      headers[name.downcase] = value
    end
    Request.new(method, path, headers, socket.read(headers['content-length'].to_i))
  end

  def write(socket, status, body, headers)
    lines = headers.map { |name, value| "#{name.to_s.tr('_', '-')}: #{value}\r\n" }.join
    socket.write("HTTP/1.1 #{status} Reason\r\nContent-Length: #{body.bytesize}\r\nConnection: close\r\n" \
                 "#{lines}\r\n#{body}")
  end
end
