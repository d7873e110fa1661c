# frozen_string_literal: true

require 'logger'
require 'timeout'
require 'tasker_core'

# The broker's side of the wire, played by a test: a ROUTER and a PUB on free ports. It answers heartbeats by itself,
# and nothing else.
class FakeBroker
  Received = Struct.new(:identity, :message) do
    def type = message.type
    def [](name) = message[name]
    def fields = message.fields
  end

  # The ROUTER as a source of the loop.
  Router = Struct.new(:socket, :on_frames) do
    def pump
      while (frames = socket.receive)
        on_frames.call(frames)
      end
      false
    end

    def flush = nil
    def poll_sockets = [[socket, false]]
    def close = socket.close
  end

  # The PUB, which is never read.
  Publisher = Struct.new(:socket) do
    def pump = false
    def flush = nil
    def poll_sockets = []
    def close = socket.close
  end

  attr_reader :endpoint, :events

  # @param endpoint [String] where to bind: the same one again plays a restart
  # @param heartbeats [Symbol] `:answered`, `:ignored` or `:kept` for the test
  # @param secret_key [String, nil] demands keys of everybody
  # @param listed [Array<String>] the public keys that are let in; may be changed
  def initialize(endpoint: 'tcp://127.0.0.1:*', heartbeats: :answered, secret_key: nil, listed: [])
    @heartbeats = heartbeats
    @listed = listed
    @curve = secret_key ? { curve_server: 1, curve_secretkey: secret_key } : {}
    @inbox = Thread::Queue.new
    @set_aside = []
    @bundles = []
    @broker_id = SecureRandom.uuid
    @loop = TaskerCore::EventLoop.new('fake-broker', logger: Logger.new($stderr))
    bound = Thread::Queue.new
    @loop.start { bound << bind(endpoint) }
    @endpoint, @events = bound.pop
  end

  # The next message of this type; messages of other types stay for later.
  def expect(type, seconds: 5)
    index = @set_aside.index { |received| received.type == type }
    return @set_aside.delete_at(index) if index

    Timeout.timeout(seconds, Timeout::Error, "no #{type} came (waiting: #{@set_aside.map(&:type)})") do
      loop do
        received = @inbox.pop
        return received if received.type == type

        @set_aside << received
      end
    end
  end

  # Messages of this type that are here already, after everything sent so far has had its chance.
  def waiting(type)
    @set_aside << @inbox.pop until @inbox.empty?
    @set_aside.select { |received| received.type == type }
  end

  def send(identity, type, fields)
    send_frames(identity, *TaskerCore::Protocol.encode(type, fields))
  end

  def send_frames(identity, *frames)
    @loop.post { @router.send_frames([identity, *frames]) }
  end

  # @param messages [Array<Array(String, Hash)>] sent as one
  def send_bundle(identity, *messages)
    send_frames(identity, *messages.flat_map { |type, fields| TaskerCore::Protocol.encode(type, fields) })
  end

  def reply(received, type, fields = {})
    send(received.identity, type, { 'correlation_id' => received['correlation_id'] }.merge(fields))
  end

  def publish(topic, fields, type: 'Event')
    @loop.post { @publisher.send_frames([topic, *TaskerCore::Protocol.encode(type, fields)]) }
  end

  # How many messages came as one, each time that they were more than one.
  # @return [Array<Integer>]
  attr_reader :bundles

  # Registers the worker that asks next.
  # @return [Array(Received, String)] the request and the registration's id
  def register(**overrides)
    request = expect('RegisterWorker')
    answer = Wire.registered(request, **overrides)
    @broker_id = answer['broker_id']
    send(request.identity, 'WorkerRegistered', answer)
    [request, answer['registration_id']]
  end

  def stop = @loop.stop

  private

  def bind(endpoint)
    admit if @curve.any?
    @router = TaskerCore::ZMQ::Socket.new(:router, router_mandatory: 1, router_handover: 1, **@curve)
    bind_patiently(@router, endpoint)
    @publisher = TaskerCore::ZMQ::Socket.new(:pub, **@curve)
    @publisher.bind('tcp://127.0.0.1:*')
    @loop.add(Router.new(@router, method(:receive)))
    @loop.add(Publisher.new(@publisher))
    [@router.last_endpoint, @publisher.last_endpoint]
  end

  # libzmq asks here about every connection of this process (ZAP, RFC 27).
  def admit
    zap = TaskerCore::ZMQ::Socket.new(:router)
    bind_patiently(zap, 'inproc://zeromq.zap.01')
    @loop.add(Router.new(zap, lambda { |frames|
      asker, empty, version, request, _domain, _address, _identity, _mechanism, key = frames
      known = @listed.any? { |listed| Wire.unz85(listed) == key }
      zap.send_frames([asker, empty, version, request, known ? '200' : '400', '', known ? 'somebody' : '', ''])
    }))
  end

  # libzmq gives an endpoint free some time after its socket was closed.
  def bind_patiently(socket, endpoint)
    socket.bind(endpoint)
  rescue TaskerCore::ZMQ::Error => e
    raise unless e.number == Errno::EADDRINUSE::Errno

    Thread.pass
    retry
  end

  def receive(frames)
    identity, *rest = frames
    @bundles << (rest.size / 2) if rest.size > 2
    rest.each_slice(2) { |header, body| take(identity, TaskerCore::Protocol.decode(header, body)) }
  end

  def take(identity, message)
    return @inbox << Received.new(identity, message) unless message.type == 'WorkerHeartbeat' && @heartbeats != :kept
    return unless @heartbeats == :answered

    answer = { 'correlation_id' => message['correlation_id'], 'broker_id' => @broker_id, 'epoch' => 1 }
    @router.send_frames([identity, *TaskerCore::Protocol.encode('HeartbeatAcknowledged', answer)])
  end
end
