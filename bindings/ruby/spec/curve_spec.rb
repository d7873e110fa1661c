# frozen_string_literal: true

require 'stringio'
require 'tmpdir'

# Keys: what they are made of, and what happens with them at a broker that demands some.
RSpec.describe TaskerCore::Curve do
  let(:folder) { Dir.mktmpdir('tasker-keys') }
  let(:secret) { Wire.secret_key }
  let(:file) { key_file('mine', secret) }
  let(:curve) { described_class.new(server_public_key: server.public_key, secret_key_file: file) }
  # The broker's pair, by its public key.
  let(:server) { described_class.new(server_public_key: 'x' * 40, secret_key_file: key_file('broker', server_secret)) }
  let(:server_secret) { Wire.secret_key }
  let(:log) { StringIO.new }
  let(:logger) { Logger.new(log) }

  after { FileUtils.remove_entry(folder) }

  def key_file(name, text, mode = 0o600)
    path = File.join(folder, name)
    File.write(path, "#{text}\n", perm: mode)
    path
  end

  it 'knows the public key of a secret one' do
    # The client's test keys of RFC 26.
    path = key_file('known', 'D:)Q[IlAW!ahhC2ac:9*A}h:p?([4%wOTJ%JR%cs')
    known = described_class.new(server_public_key: 'x' * 40, secret_key_file: path)
    expect(known.public_key).to eq('Yne@$w-vo<fVvi]a<NY6T1ed:M$fCG*[IaLV{hID')
    expect(known.options.keys).to eq(%i[curve_serverkey curve_publickey curve_secretkey])
  end

  it 'never shows the secret key' do
    worker = TaskerCore::Worker.new(namespaces: ['ns'], curve: curve)
    client = TaskerCore::Client.new(curve: curve)
    shown = [curve.inspect, curve.to_s, worker.inspect, client.inspect,
             TaskerCore::Configuration.new.tap { |c| c.curve = curve }.inspect].join
    expect(shown).to include(curve.public_key)
    expect(shown).not_to include(secret)
    expect { Marshal.dump(curve) }.to raise_error(TypeError)
  ensure
    client&.close
  end

  it 'refuses files and keys that are none, without quoting them' do
    {
      File.join(folder, 'absent') => 'cannot be read',
      key_file('open', secret, 0o644) => 'can be read by others',
      key_file('short', secret[1..]) => 'is not a key',
      key_file('odd', secret.sub(/.\z/, '~')) => 'is not a key',
      key_file('too-large', '#' * 40) => 'is not a key'
    }.each do |path, problem|
      expect { described_class.new(server_public_key: 'x' * 40, secret_key_file: path) }
        .to raise_error(TaskerCore::ConfigurationError) { |e|
          expect(e.message).to include(path).and include(problem)
          expect(e.message).not_to include(secret[1..10])
        }
    end
    expect { described_class.from(server_public_key: 'short', secret_key_file: file) }
      .to raise_error(TaskerCore::ConfigurationError, /server_public_key is not a key/)
    expect { described_class.from(secret: 'x') }.to raise_error(TaskerCore::ConfigurationError, /secret_key_file/)
    expect { described_class.from('x') }.to raise_error(TaskerCore::ConfigurationError, /server_public_key/)
  end

  describe 'at a broker that demands keys' do
    let(:listed) { [curve.public_key] }
    let(:broker) { FakeBroker.new(secret_key: server_secret, listed: listed) }

    after { broker.stop }

    def client(curve, timeout: 5)
      TaskerCore::Client.new(broker: broker.endpoint, events: broker.events, timeout: timeout, logger: logger,
                             curve: curve)
    end

    def health_of(client)
      asked = Thread.new { client.health_check }
      asked.report_on_exception = false
      broker.reply(broker.expect('HealthCheck'), 'HealthReport', 'status' => 'ok', 'problems' => [])
      asked.value.status
    end

    def logged(text)
      Timeout.timeout(10) { Thread.pass until log.string.include?(text) }
    end

    it 'lets a client with a listed key in' do
      client = client({ server_public_key: server.public_key, secret_key_file: file })
      expect(health_of(client)).to eq('ok')
    ensure
      client&.close
    end

    it 'tells a client at once that its key is refused, and lets it in when it is listed' do
      listed.clear
      client = client(curve)
      2.times do
        expect { client.health_check }.to raise_error(TaskerCore::Errors::KeyRefusedError, /refused this key/)
      end
      expect(log.string).to include('refused this key')
      listed << curve.public_key
      expect(health_of(client)).to eq('ok')
    ensure
      client&.close
    end

    it 'tells a client without a key that one is demanded' do
      client = client(nil, timeout: 30)
      expect { client.health_check }.to raise_error(TaskerCore::Errors::KeyRefusedError, /demands a key/)
    ensure
      client&.close
    end

    it 'warns of a server key that is not the broker\'s' do
      client = client({ server_public_key: curve.public_key, secret_key_file: file }, timeout: 1)
      expect { client.health_check }.to raise_error(TaskerCore::Errors::RequestTimeoutError)
      expect(log.string).to include('is the server key right?')
    ensure
      client&.close
    end

    it 'lets a forked child in with the same key' do
      client = client(curve)
      health_of(client)
      child = fork { exit!(client.health_check.status == 'ok' ? 0 : 1) }
      broker.reply(broker.expect('HealthCheck'), 'HealthReport', 'status' => 'ok', 'problems' => [])
      expect(Process.wait2(child).last.exitstatus).to eq(0)
    ensure
      client&.close
    end

    it 'lets a subscriber hear events, and tells one whose key is refused' do
      client = client(curve)
      heard = Thread::Queue.new
      subscription = client.subscribe('event.') { |event| heard << event.topic }
      event = { 'sequence' => 1, 'broker_id' => Wire.uuid, 'at_ms' => 1, 'topic' => 'event.task.started' }
      Timeout.timeout(10) do
        broker.publish('event.task.started', event) while heard.empty? && sleep(0.01)
      end
      expect(heard.pop).to eq('event.task.started')
      subscription.close
      listed.clear
      subscription = client.subscribe('event.') { |other| heard << other.topic }
      logged('refused this key')
    ensure
      subscription&.close
      client&.close
    end

    it 'ends a worker whose key is refused, and says why' do
      listed.clear
      worker = TaskerCore::Worker.new(broker: broker.endpoint, namespaces: ['ns'], logger: logger, curve: curve)
      expect { worker.run }.to raise_error(TaskerCore::Errors::KeyRefusedError)
      expect(log.string).to include('refused this key')
    end

    it 'brings a worker back that had lost its key for a while' do
      worker = TaskerCore::Worker.new(broker: broker.endpoint, namespaces: ['ns'], logger: logger, curve: curve)
      worker.start
      broker.register(heartbeat_ms: 100)
      worker.wait_until_registered(5)
      listed.clear
      broker.stop
      stub_const('TaskerCore::Worker::Session::REGISTER_AGAIN_SECONDS', 0.1)
      again = FakeBroker.new(endpoint: broker.endpoint, secret_key: server_secret, listed: listed)
      logged('refused this key')
      listed << curve.public_key
      again.register
      expect(worker.error).to be_nil
    ensure
      worker&.stop(timeout: 0)
      again&.stop
    end
  end
end
