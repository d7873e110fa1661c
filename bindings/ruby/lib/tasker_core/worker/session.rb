# frozen_string_literal: true

require_relative '../link'
require_relative '../requests'
require_relative 'progress'
require_relative 'reports'

module TaskerCore
  class Worker
    # A worker's standing with one broker. Lives in the loop's thread.
    #
    #     unregistered -> registering <-> registered -> leaving -> left
    #
    # 1. Registers, and registers again after a reconnect, when the broker asks for it, or when it has been silent.
    # 2. Takes batches while registered, and only those that are meant for this registration.
    # 3. Sends heartbeats; everything else that is sent goes through {Reports}.
    #
    # @api private
    class Session
      # Until the broker says otherwise, and after a refused registration.
      REGISTER_AGAIN_SECONDS = 5
      # Heartbeats without a sign of life after which the registration is renewed.
      SILENT_HEARTBEATS = 3
      FETCH_SECONDS = 10

      attr_reader :state, :endpoint, :reports

      # @param worker [#batch_received, #cancelled, #drain_requested, #refused, #registered, #key_refused] told of what
      #   concerns all
      # @param profile [Hash] fields of `RegisterWorker` that stay the same
      def initialize(endpoint, event_loop, worker, runner, profile, logger)
        @endpoint = endpoint
        @event_loop = event_loop
        @worker = worker
        @profile = profile
        @logger = logger
        @requests = Requests.new
        @reports = Reports.new(runner, logger, event_loop.method(:after)) { |type, fields| @link.send(type, fields) }
        @progress = Progress.new(event_loop) { |job, text| report_progress(job, text) }
        @state = :unregistered
      end

      # Opens the connection; the registration follows once it is there.
      def open
        @link = Link.new([@endpoint], owner: self, logger: @logger, curve: @worker.curve)
        @event_loop.add(@link)
        beat
      end

      def registered? = %i[registered leaving].include?(@state)

      # A control message belongs to this session if it comes from its broker.
      def broker?(broker_id) = @broker_id == broker_id

      # Whether the broker knows that this worker has left; one that is away is not waited for without need.
      def left?
        @state == :left || (@leaving && !@link.up? && (@reports.empty? || !@leaving['drain']))
      end

      # Takes no more work; `drain: false` leaves what is unfinished to other workers.
      def leave(drain:, reason:)
        return if @leaving && @leaving['drain'] == drain

        @leaving = { 'drain' => drain, 'reason' => reason }
        unregister if registered?
      end

      # Result of a step that is not a parent. Called in handler threads.
      # @return [String] JSON text
      def fetch_result(task_id, name)
        fields = { 'task_id' => task_id, 'include_steps' => true, 'include_results' => [name] }
        reply = Requests.await(@event_loop, @requests, 'TaskStatus', fields, timeout: FETCH_SECONDS,
                                                                             repeatable: true) do |p|
          @link.send(p.type, p.fields, expires_at: p.expires_at)
        end
        steps = reply['steps'] || []
        step = steps.find { |candidate| candidate['name'] == name }
        return step['result'] if step && step['result']

        why = step ? "has no result: it is #{step['state']}" : 'does not exist'
        raise Errors::NotFoundError.new("step #{name} #{why} (steps: #{steps.map { |s| s['name'] }.join(', ')})",
                                        resource_type: 'step')
      end

      # How far a step is. Called in handler threads.
      # @param text [String] JSON text
      def progressed(job, text) = @progress.say(job, text)

      # The link's events.

      def link_up
        @logger.info("connected to the broker at #{@endpoint}")
        register unless @state == :left
      end

      def link_down
        @logger.warn("lost the connection to the broker at #{@endpoint}; results are kept")
        unregistered unless @state == :left
        @worker.connection_lost(self)
      end

      # Asks again which batches are this broker's.
      def renew
        register if registered? || @state == :registering
      end

      # Says this of the worker from now on.
      # @param changes [Hash] fields of `RegisterWorker`
      def introduce(changes)
        @profile = @profile.merge(changes)
        renew
      end

      # Whether there is nobody to report to.
      def away? = !@link.up?

      def link_refused(error)
        @registering_until = Clock.now + REGISTER_AGAIN_SECONDS
        @worker.key_refused(error)
      end

      def message(message) # rubocop:disable Metrics/CyclomaticComplexity -- one line a message type
        fields = message.fields
        case message.type
        when 'ExecuteBatch' then take(fields)
        when 'ResultsAccepted' then @reports.accepted(fields)
        when 'HeartbeatAcknowledged' then note_broker(fields)
        when 'WorkerRegistered' then registration_accepted(fields)
        when 'CancelSteps' then @worker.cancelled(fields['steps'].filter_map { |s| @reports.find(s) }, fields['reason'])
        when 'ResultsMissing' then @reports.missing(fields)
        when 'RegisterAgain' then register_again(fields)
        when 'Drain' then @worker.drain_requested(fields['reason'])
        when 'WorkerUnregistered' then left(fields)
        else @requests.resolve(message) || (message.type == 'Error' && refused(fields))
        end
      end

      private

      def unregistered
        @state = :unregistered
        @reports.open = false
        @link.clear
      end

      # Every registration has its own id: of several on their way, only the answer to the latest counts.
      def register
        unregistered
        return unless @link.up?

        @state = :registering
        @registration = Protocol.correlation_id
        @registering_until = Clock.now + REGISTER_AGAIN_SECONDS
        @elsewhere = @worker.batches_elsewhere(self)
        @link.send('RegisterWorker', { **@profile, 'correlation_id' => @registration,
                                                   'open_batches' => (@reports.batches + @elsewhere).map(&:id),
                                                   'unacknowledged' => @reports.carry(@registration) })
      end

      def registration_accepted(fields)
        return unless @state == :registering && fields['correlation_id'] == @registration

        @state = :registered
        @registration_id = fields['registration_id']
        @heartbeat_seconds = fields['heartbeat_ms'] / 1000.0
        @unacknowledged_max, @reports.payload_bytes_max = fields.values_at('unacknowledged_max', 'payload_bytes_max')
        @progress_bytes_max = fields['progress_bytes_max'] || 0
        @link.bundle_max = fields['bundle_max'] || 1
        note_broker(fields)
        closed = fields['closed_batches'] || []
        @worker.cancelled(@reports.close(closed), 'cancelled')
        take_over(*@elsewhere.partition { |batch| closed.include?(batch.id) })
        @reports.open = true
        @reports.send_all(@registration)
        @leaving ? unregister : beat
        @worker.registered(self, fields['templates'] || [])
      end

      # A broker that took another's place has its batches: what they owe is owed to it from now on. What it has not is
      # over, unless the other one is still there to know better.
      def take_over(closed, open)
        closed.each { |batch| batch.session.reports.close([batch.id]) if batch.session.away? }
        open.each do |batch|
          next unless batch.session != self && batch.session.reports.give_up(batch)

          @logger.info("the broker at #{@endpoint} has taken over batch #{batch.id}")
          batch.session = self
          @reports.take_over(batch)
        end
      end

      def note_broker(fields)
        @broker_id = fields['broker_id']
      end

      def register_again(fields)
        # The answer to something that was sent before the present registration says nothing about that one.
        return if @state == :registering || @state == :left

        @logger.info("the broker at #{@endpoint} asks to register again: #{fields['reason']}")
        register
      end

      def refused(error)
        return registration_refused(error) if error['correlation_id'] == @registration && @state == :registering
        return if @reports.refused(error)

        @logger.error("the broker refused a message: #{error['code']}: #{error['message']}")
        register if error['code'] == 'unknown_worker' && registered?
      end

      def registration_refused(error)
        @state = :unregistered
        @registering_until = Clock.now + ((error['retry_after_ms'] || (REGISTER_AGAIN_SECONDS * 1000)) / 1000.0)
        @worker.refused(self, Errors::CommandRefusedError.from(error))
      end

      def take(fields)
        # While a registration is on its way, the broker takes whatever it sent before as never received.
        return unless registered? && fields['registration_id'] == @registration_id
        return if @reports.known?(fields['batch_id'])

        batch = Batch.new(fields, self, Clock.now)
        full = @reports.unacknowledged >= @unacknowledged_max
        @reports.add(batch)
        return @reports.return_jobs(batch.jobs, 'draining') if @leaving
        return @worker.batch_received(batch) unless full

        @reports.return_jobs(batch.jobs, 'too many results are not acknowledged yet')
      end

      def unregister
        @state = :leaving
        @link.send('UnregisterWorker', { 'correlation_id' => Protocol.correlation_id,
                                         'registration_id' => @registration_id, **@leaving })
      end

      # A broker that says no limit does not know the message.
      def report_progress(job, text)
        return unless registered? && text.bytesize <= @progress_bytes_max

        fields = { 'correlation_id' => Protocol.correlation_id, **job.reference, 'progress' => text }
        @link.send('ReportProgress', fields)
      end

      def left(fields)
        return unless @leaving && fields['registration_id'] == @registration_id

        @state = :left
        @worker.session_left(self)
      end

      def schedule_beat
        @beat&.cancel
        @beat = @event_loop.after(@heartbeat_seconds || 1) { beat }
      end

      # Everything that depends on time.
      def beat
        now = Clock.now
        case @state
        when :unregistered, :registering then try_again if now > (@registering_until || 0)
        when :registered, :leaving then check(now)
        end
        schedule_beat unless @state == :left
      end

      def try_again
        @link.up? ? register : @link.reopen
      end

      def check(now)
        return register if silent?(now)

        heartbeat
        @reports.send_all if @reports.overdue?(now - (SILENT_HEARTBEATS * @heartbeat_seconds))
      end

      def silent?(now)
        return false unless now - @link.heard_at > SILENT_HEARTBEATS * @heartbeat_seconds

        @logger.warn("no sign of life from the broker at #{@endpoint} for #{(now - @link.heard_at).round(1)} s")
        true
      end

      def heartbeat
        in_flight = @reports.in_flight
        fields = { 'correlation_id' => Protocol.correlation_id, 'registration_id' => @registration_id,
                   'free_slots' => [@profile['concurrency'] - in_flight, 0].max, 'in_flight' => in_flight,
                   'idle_ms' => @worker.idle_ms, 'load' => load_average }.compact
        @link.send('WorkerHeartbeat', fields)
        @worker.heartbeat_sent(self)
      end

      def load_average
        File.read('/proc/loadavg').to_f
      rescue SystemCallError
        nil
      end
    end
  end
end
