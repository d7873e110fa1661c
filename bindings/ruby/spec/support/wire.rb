# frozen_string_literal: true

require 'securerandom'

# Bodies of the broker's messages, as short as a test wants them.
module Wire
  module_function

  def uuid = SecureRandom.uuid

  # A new secret key in Z85: any digits and small letters make one.
  def secret_key = SecureRandom.alphanumeric(40).downcase

  def unz85(text)
    digits = '0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-:+=^!/*?&<>()[]{}@%$#'
    text.scan(/.{5}/).map { |group| group.each_char.reduce(0) { |sum, c| (sum * 85) + digits.index(c) } }.pack('N*')
  end

  def registered(message, **overrides)
    {
      'correlation_id' => message['correlation_id'], 'registration_id' => uuid, 'broker_id' => uuid, 'epoch' => 1,
      'heartbeat_ms' => 5000, 'worker_timeout_ms' => 30_000, 'payload_bytes_max' => 1_048_576,
      'message_bytes_max' => 16_777_216, 'unacknowledged_max' => 1000, 'closed_batches' => [], 'templates' => []
    }.merge(overrides.transform_keys(&:to_s))
  end

  # @param steps [Hash{String=>Hash}] by name: handler and whatever differs from the usual
  def batch(registration_id, steps, context: {}, results: {}, batch_id: uuid, task_id: uuid)
    {
      'batch_id' => batch_id, 'registration_id' => registration_id, 'deadline_ms' => 60_000,
      'tasks' => [{ 'task_id' => task_id, 'namespace' => 'ns', 'name' => 'flow', 'version' => '1.0.0',
                    'context' => JSON.generate(context), 'tags' => ['a'], 'priority' => 3,
                    'results' => results.map do |step, result|
                                   { 'step' => step, 'result' => JSON.generate(result) }
                                 end }],
      'steps' => steps.map { |name, fields| step(name, **fields) }
    }
  end

  def step(name, handler:, **fields)
    {
      'task' => 0, 'name' => name, 'handler' => handler, 'attempt' => 1, 'retry_limit' => 3, 'retryable' => true,
      'timeout_seconds' => 30.0, 'inputs' => '{}', 'parents' => []
    }.merge(fields.transform_keys(&:to_s))
  end

  # The acknowledgement of a report, as a broker would send it.
  def accepted(message, closed: [], disposition: 'accepted')
    rows = (message['results'] || message['steps'] || []).map do |row|
      row.slice('batch_id', 'task_id', 'step', 'attempt').merge('disposition' => disposition)
    end
    { 'correlation_id' => message['correlation_id'], 'results' => rows, 'closed_batches' => closed }
  end

  def refusal(message, code, retryable: false, **fields)
    { 'correlation_id' => message['correlation_id'], 'code' => code, 'message' => "#{code} it is",
      'retryable' => retryable }.merge(fields.transform_keys(&:to_s))
  end
end
