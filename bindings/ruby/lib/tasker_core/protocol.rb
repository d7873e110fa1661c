# frozen_string_literal: true

require 'msgpack'
require 'securerandom'
require_relative 'errors'

module TaskerCore
  # Messages to frames and back: a header of four bytes, and a MessagePack map. Knows nothing of sockets.
  #
  # @api private
  module Protocol
    # First byte of every header.
    MAGIC = 0x54
    # The protocol version spoken here.
    VERSION = 1

    # Message types by name, the same table as the broker's.
    TYPES = {
      'RegisterWorker' => 0x0101, 'WorkerHeartbeat' => 0x0102, 'ReportPartialResult' => 0x0103,
      'ReportBatchCompletion' => 0x0104, 'ReturnSteps' => 0x0105, 'UnregisterWorker' => 0x0106,
      'ReportProgress' => 0x0107,
      'WorkerRegistered' => 0x0201, 'HeartbeatAcknowledged' => 0x0202, 'ExecuteBatch' => 0x0203,
      'ResultsAccepted' => 0x0204, 'ResultsMissing' => 0x0205, 'CancelSteps' => 0x0206, 'Drain' => 0x0207,
      'RegisterAgain' => 0x0208, 'WorkerUnregistered' => 0x0209,
      'RegisterTemplate' => 0x0301, 'InitializeTask' => 0x0302, 'TryTaskIfReady' => 0x0303, 'TaskStatus' => 0x0304,
      'WaitForTask' => 0x0305, 'ListTasks' => 0x0306, 'CancelTask' => 0x0307, 'RetryTask' => 0x0308,
      'ResolveStep' => 0x0309, 'ListWorkers' => 0x030A, 'HealthCheck' => 0x030B, 'ListTemplates' => 0x030C,
      'ShowTemplate' => 0x030D, 'AnnounceTasks' => 0x030E, 'FindTask' => 0x030F, 'PauseNamespace' => 0x0310,
      'ResumeNamespace' => 0x0311, 'ListNamespaces' => 0x0312, 'DrainWorker' => 0x0313, 'ExplainStep' => 0x0314,
      'TemplateRegistered' => 0x0401, 'TasksInitialized' => 0x0402, 'TaskTried' => 0x0403,
      'TaskStatusReport' => 0x0404, 'TaskWaited' => 0x0405, 'TaskList' => 0x0406, 'TaskCancelled' => 0x0407,
      'TaskRetried' => 0x0408, 'StepResolved' => 0x0409, 'WorkerList' => 0x040A, 'HealthReport' => 0x040B,
      'TemplateList' => 0x040C, 'TemplateDefinition' => 0x040D, 'TasksAnnounced' => 0x040E, 'TaskFound' => 0x040F,
      'NamespaceChanged' => 0x0410, 'NamespaceList' => 0x0411, 'WorkerDraining' => 0x0412,
      'StepExplained' => 0x0413,
      'Error' => 0x0501, 'Event' => 0x0601, 'Control' => 0x0602
    }.freeze

    HEADERS = TYPES.transform_values { |code| [MAGIC, VERSION, code].pack('CCS>').freeze }.freeze
    NAMES = HEADERS.invert.freeze
    # Under this name each fiber keeps what it unpacks with.
    UNPACKER = :tasker_core_unpacker
    private_constant :HEADERS, :NAMES, :UNPACKER

    # A message: its type's name and its fields, with string keys.
    Message = Struct.new(:type, :fields) do
      def [](name) = fields[name]
      def correlation_id = fields['correlation_id']
    end

    # Ids for messages that come one after the other: a random UUID whose last group counts, which takes a tenth of the
    # time of a new one. Not to be used on both sides of a fork.
    class Ids
      GROUP = 12
      private_constant :GROUP

      def initialize
        @beginning = SecureRandom.uuid[...-GROUP].freeze
        @count = 0
      end

      # @return [String]
      def next = "#{@beginning}#{(@count += 1).to_s(16).rjust(GROUP, '0')}"
    end

    # Frames that are not a message.
    class MalformedError < Errors::Error; end

    module_function

    # @param type [String] a name of {TYPES}
    # @param fields [Hash{String=>Object}] without the fields that are nil
    # @return [Array(String, String)] header and body
    def encode(type, fields)
      [HEADERS.fetch(type), MessagePack.pack(fields)]
    end

    # @return [Message]
    # @raise [MalformedError]
    def decode(header, body)
      type = NAMES[header] || raise(MalformedError, describe(header))
      fields = unpack(body)
      raise MalformedError, "the body of #{type} is not a map" unless fields.is_a?(Hash)

      Message.new(type, fields)
    rescue MessagePack::UnpackError, EOFError => e
      raise MalformedError, "the body of #{type} is not MessagePack: #{e.class}"
    end

    # With the fiber's own unpacker: to make one takes longer than to read a short message. One whose use was broken
    # off, by an error or by whoever interrupts the thread, may have half a message, and is not used again.
    def unpack(body)
      fiber = Thread.current
      # Frozen strings are made once: keys, names and ids come many times in a message.
      unpacker = fiber[UNPACKER] || MessagePack::Unpacker.new(freeze: true)
      fiber[UNPACKER] = nil
      unpacker.feed_reference(body)
      fields = unpacker.full_unpack
      # It lets go of what it has read.
      unpacker.reset
      fiber[UNPACKER] = unpacker
      fields
    end
    private_class_method :unpack

    # @return [String] a new id for a command
    def correlation_id = SecureRandom.uuid

    def describe(header)
      magic, version, code = header.unpack('CCS>')
      return "the header has #{header.bytesize} bytes instead of 4" unless header.bytesize == 4
      return format('the header begins with 0x%02x instead of 0x%02x', magic, MAGIC) unless magic == MAGIC
      return "protocol version #{version} is not spoken here, only #{VERSION}" unless version == VERSION

      format('message type 0x%04x is not defined', code)
    end
    private_class_method :describe
  end
end
