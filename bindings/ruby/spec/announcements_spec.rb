# frozen_string_literal: true

RSpec.describe TaskerCore::Client, '#announce_tasks' do
  subject(:client) { described_class.new(broker: broker.endpoint, timeout: 5, logger: Logger.new(log)) }

  let(:log) { StringIO.new }
  let(:broker) { FakeBroker.new }

  after do
    client.close
    broker.stop
  end

  def call(&block)
    Thread.new(&block).tap { |thread| thread.report_on_exception = false }
  end

  # Answers a question of the client: whatever was sent before it has arrived by then.
  def round_trip
    asked = call { client.health_check }
    broker.reply(broker.expect('HealthCheck'), 'HealthReport', 'status' => 'ok')
    asked.value
  end

  it 'waits until the broker has heard it' do
    announced = call { client.announce_tasks }
    request = broker.expect('AnnounceTasks')
    expect(announced).to be_alive
    broker.reply(request, 'TasksAnnounced')
    expect(announced.join(5)).to be(announced)
  end

  it 'raises what the broker refuses' do
    announced = call { client.announce_tasks }
    request = broker.expect('AnnounceTasks')
    broker.reply(request, 'Error', refusal(request, 'forbidden'))
    expect { announced.value }.to raise_error(TaskerCore::Errors::ForbiddenError)
  end

  context 'without waiting' do
    it 'sends one, and one more when that is answered, however often it is called' do
      client.announce_tasks(wait: false)
      first = broker.expect('AnnounceTasks')
      5.times { client.announce_tasks(wait: false) }
      round_trip
      expect(broker.waiting('AnnounceTasks')).to be_empty

      broker.reply(first, 'TasksAnnounced')
      second = broker.expect('AnnounceTasks')
      broker.reply(second, 'TasksAnnounced')
      round_trip
      expect(broker.waiting('AnnounceTasks')).to be_empty

      client.announce_tasks(wait: false)
      broker.reply(broker.expect('AnnounceTasks'), 'TasksAnnounced')
    end

    it 'gives up on an answer that does not come' do
      client.announce_tasks(wait: false, timeout: 0)
      client.announce_tasks(wait: false)
      expect(broker.expect('AnnounceTasks')).to be_a(FakeBroker::Received)
    end

    it 'blocks nobody while there is no broker' do
      lonely = described_class.new(broker: 'tcp://127.0.0.1:1', timeout: 60, logger: Logger.new(log))
      expect(lonely.announce_tasks(wait: false)).to be_nil
    ensure
      lonely.close
    end

    it 'leaves a broker alone that takes none, and says so once' do
      client.announce_tasks(wait: false)
      request = broker.expect('AnnounceTasks')
      broker.reply(request, 'Error', refusal(request, 'unknown_message'))
      round_trip
      client.announce_tasks(wait: false)
      round_trip
      expect(broker.waiting('AnnounceTasks')).to be_empty
      expect(log.string.scan('takes no announcements').size).to eq(1)
    end

    it 'raises when the client was closed' do
      client.close
      expect { client.announce_tasks(wait: false) }.to raise_error(TaskerCore::Errors::ConnectionClosedError)
    end
  end

  describe '#find_task' do
    def find(&answer)
      found = call { client.find_task(namespace: :ns, name: 'flow', idempotency_key: 7) }
      answer.call(broker.expect('FindTask'))
      found.value
    end

    it 'asks by template and key' do
      found = find do |request|
        expect(request.fields.except('correlation_id'))
          .to eq('namespace' => 'ns', 'name' => 'flow', 'idempotency_key' => '7')
        broker.reply(request, 'TaskFound', 'task_id' => 't', 'template' => 'ns/flow@1.0.0')
      end
      expect(found).to have_attributes(task_id: 't', template: 'ns/flow@1.0.0')
    end

    it 'tells no task from a refused request' do
      expect { find { |request| broker.reply(request, 'Error', refusal(request, 'unknown_task')) } }
        .to raise_error(TaskerCore::Errors::UnknownResourceError)
      expect { find { |request| broker.reply(request, 'Error', refusal(request, 'refused')) } }
        .to raise_error(TaskerCore::Errors::CommandRefusedError, 'refused it is')
    end
  end
end
