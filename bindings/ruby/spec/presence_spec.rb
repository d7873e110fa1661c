# frozen_string_literal: true

require 'json'
require 'net/http'
require 'tasker_core/cli'
require_relative 'support/program'

# How `tasker-worker` shows itself to those who look after processes.
RSpec.describe 'the presence of tasker-worker' do
  include_context 'with the program'

  # The service manager's end.
  def listen(path)
    Socket.new(:UNIX, :DGRAM).tap { |socket| socket.bind(Socket.sockaddr_un(path)) }
  end

  # What it is told, up to something.
  def told(socket, last)
    texts = []
    texts << socket.recvfrom(1000).first until texts.last == last
    texts
  end

  def title = File.read("/proc/#{@process.pid}/cmdline").delete("\0")

  describe 'to a service manager' do
    let(:path) { File.join(folder, 'notify') }
    let!(:manager) { listen(path) }
    let(:environment) { { 'NOTIFY_SOCKET' => path } }

    after { manager.close }

    it 'says when it is registered, what it does, and when it stops' do
      launch('--name', 'w1')
      expect(told(manager, 'STATUS=0 of 5 busy')).to eq(['STATUS=0 of 5 busy'])
      request, @registration = broker.register
      @identity = request.identity
      expect(told(manager, 'READY=1')).to eq(['READY=1'])
      execute({ 'a' => { handler: 'Waits' } })
      writer = started('a')
      told(manager, 'STATUS=1 of 5 busy')
      Process.kill('TERM', @process.pid)
      told(manager, 'STOPPING=1')
      writer.close
      broker.expect('UnregisterWorker')
      unregistered
      expect(@process.value.exitstatus).to eq(0)
    end

    context 'with a watchdog' do
      let(:environment) { { 'NOTIFY_SOCKET' => path, 'WATCHDOG_USEC' => '100000' } }

      it 'gives signs of life' do
        start('-p', '1')
        3.times { told(manager, 'WATCHDOG=1') }
      end
    end

    context 'with a watchdog and a socket that has no path' do
      let(:path) { "\0tasker-#{SecureRandom.hex(8)}" }
      let(:environment) { { 'NOTIFY_SOCKET' => path.sub("\0", '@'), 'WATCHDOG_USEC' => '100000' } }

      it 'is found as well' do
        launch
        told(manager, 'WATCHDOG=1')
      end
    end

    def service(**environment)
      environment = { NOTIFY_SOCKET: path, WATCHDOG_USEC: 20_000 }.merge(environment)
      TaskerCore::CLI::ServiceManager.new(Logger.new(nil), environment.to_h { |name, value| [name.to_s, value.to_s] })
    end

    it 'gives no sign of life while the loop does not turn' do
      allow(Process).to receive(:setproctitle)
      turns = false
      looks = Thread::Queue.new
      worker = Struct.new(:name, :concurrency, :running_steps, :stopping?, :wait_until_registered)
        .new('w1', 5, [], false)
      worker.define_singleton_method(:responsive?) { |_| looks << true and turns }
      presence = TaskerCore::CLI::Presence.new(worker, service).start
      # What the first look has brought about is there at the second.
      2.times { looks.pop }
      texts = []
      texts << manager.recv_nonblock(1000) while manager.wait_readable(0)
      expect(texts).to eq(['STATUS=0 of 5 busy'])
      turns = true
      expect(told(manager, 'WATCHDOG=1')).to eq(['WATCHDOG=1'])
    ensure
      presence.stop
    end

    it 'feeds no watchdog of another process' do
      expect(service(WATCHDOG_PID: Process.pid).watchdog_seconds).to eq(0.02)
      expect(service(WATCHDOG_PID: 1).watchdog_seconds).to be_nil
    end
  end

  it 'is in its title' do
    start('--name', 'w1', '-c', '3')
    execute({ 'a' => { handler: 'Waits' } })
    writer = started('a')
    Thread.pass until title == "tasker-worker #{TaskerCore::VERSION} [w1] 1 of 3 busy"
    writer.close
    Thread.pass until title == "tasker-worker #{TaskerCore::VERSION} [w1] 0 of 3 busy"
  end

  describe 'to probes' do
    def get(path, method: 'GET')
      response = Net::HTTP.start('127.0.0.1', @port) { |http| http.send_request(method, path) }
      [response.code.to_i, JSON.parse(response.body)]
    end

    def exchange(text)
      TCPSocket.open('127.0.0.1', @port) do |socket|
        socket.write(text)
        socket.close_write
        socket.read
      end
    rescue Errno::ECONNRESET
      'reset' # it was not read to its end
    end

    def launch_with_probe(*arguments)
      launch('--probe-port', '0', *arguments)
      @port = log_until('the probe listens on')[/127\.0\.0\.1:(\d+)/, 1].to_i
    end

    it 'it is alive at once, and ready while it is registered and takes steps' do
      launch_with_probe('-p', '2', '-c', '3', '--name', 'w1')
      expect(get('/livez')).to eq([200, { 'status' => 'ok' }])
      expect(get('/readyz')).to eq([503, { 'error' => 'the worker is not registered' }])
      request, @registration = broker.register
      @identity = request.identity
      log_until('is registered')
      expect(get('/readyz')).to eq([200, { 'status' => 'ok' }])

      execute({ 'a' => { handler: 'Waits' } })
      writer = started('a')
      code, status = get('/')
      expect(code).to eq(200)
      expect(status).to include('name' => 'w1', 'registered' => true, 'stopping' => false, 'concurrency' => 6,
                                'busy' => 1)
      expect(status['processes'].map { |child| child['busy'] }).to contain_exactly(0, 1)

      Process.kill('TSTP', @process.pid)
      broker.expect('UnregisterWorker')
      expect(get('/readyz')).to eq([503, { 'error' => 'the worker stops' }])
      writer.close
    end

    # The process that runs handlers, once it is another one.
    def other_than(pid)
      loop do
        process = get('/').last['processes'].find { |child| child['state'] == 'ready' && child['pid'] != pid }
        return process['pid'] if process
      end
    end

    it 'it listens in no other process' do
      launch_with_probe('-p', '1')
      first = other_than(nil)
      Process.kill('KILL', first)
      inodes = Dir["/proc/#{other_than(first)}/fd/*"].filter_map { |path| File.readlink(path)[/socket:\[(\d+)/, 1] }
      rows = File.readlines('/proc/net/tcp').map(&:split)
      listening = rows.select { |row| row[1].end_with?(format(':%04X', @port)) && row[3] == '0A' }.map { |row| row[9] }
      expect(listening.size).to eq(1)
      expect(inodes & listening).to be_empty
    end

    it 'it refuses anything else' do
      launch_with_probe
      expect(get('/else').first).to eq(404)
      expect(get('/livez', method: 'DELETE').first).to eq(405)
      expect(exchange("HELLO\r\n\r\n")).to start_with('HTTP/1.1 400 ')
      expect(exchange('')).to start_with('HTTP/1.1 400 ')
      expect(exchange("GET /livez HTTP/1.1\r\n#{'x' * 20_000}")).to eq('reset').or start_with('HTTP/1.1 400 ')
      expect(get('/livez').first).to eq(200)
    end

    it 'it is not held up by peers that say nothing' do
      launch_with_probe
      silent = Array.new(20) { TCPSocket.new('127.0.0.1', @port) }
      # Beyond the bound connections are closed; the others are when their time is up.
      silent.each(&:read)
      expect(get('/livez').first).to eq(200)
    end
  end
end
