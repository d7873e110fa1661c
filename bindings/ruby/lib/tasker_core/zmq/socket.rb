# frozen_string_literal: true

require_relative 'library'

module TaskerCore
  module ZMQ
    # One socket. Only the thread that made it may use it.
    #
    # 1. Options are set before the socket is bound or connected: later they have no effect on that endpoint.
    # 2. A message is an array of frames, sent and received as a whole.
    # 3. `false` and `nil` say "not now"; anything unexpected is an {Error}.
    # 4. After a "not now" it is not asked for messages again until a {Poller} has seen some.
    #
    # @api private
    class Socket
      TYPES = { pair: 0, pub: 1, sub: 2, dealer: 5, router: 6 }.freeze
      # Name => [number, kind].
      OPTIONS = {
        routing_id: [5, :bytes], subscribe: [6, :bytes], unsubscribe: [7, :bytes], linger: [17, :int],
        reconnect_ivl: [18, :int], backlog: [19, :int], reconnect_ivl_max: [21, :int], maxmsgsize: [22, :int64],
        sndhwm: [23, :int], rcvhwm: [24, :int], last_endpoint: [32, :bytes], router_mandatory: [33, :int],
        tcp_keepalive: [34, :int], immediate: [39, :int], ipv6: [42, :int], curve_server: [47, :int],
        curve_publickey: [48, :bytes], curve_secretkey: [49, :bytes], curve_serverkey: [50, :bytes],
        router_handover: [56, :int], handshake_ivl: [66, :int], connect_timeout: [79, :int],
        tcp_maxrt: [80, :int]
      }.freeze
      DESCRIPTOR = 14
      EVENTS = 15
      POLLIN = 1
      DONTWAIT = 1
      SNDMORE = 2
      MESSAGE_BYTES = 64
      private_constant :DESCRIPTOR, :EVENTS, :POLLIN, :DONTWAIT, :SNDMORE, :MESSAGE_BYTES

      # @return [FFI::Pointer]
      attr_reader :pointer
      # Whether there may be messages to receive.
      attr_writer :readable

      # Tells when it may have become readable, but only once, and not when libzmq has taken the sign while it sent.
      # @return [Integer]
      attr_reader :descriptor

      # @param type [Symbol] one of {TYPES}
      # @param options [Hash{Symbol=>Object}] options of {OPTIONS}
      def initialize(type, **options)
        @pointer = Library.check('zmq_socket', Library.zmq_socket(ZMQ.context, TYPES.fetch(type)))
        @readable = true
        @integer = FFI::MemoryPointer.new(:int)
        @integer_bytes = FFI::MemoryPointer.new(:size_t)
        @integer_bytes.put(:size_t, 0, @integer.size)
        @descriptor = integer(DESCRIPTOR)
        @message = FFI::MemoryPointer.new(MESSAGE_BYTES)
        Library.zmq_msg_init(@message)
        { linger: 0 }.merge(options).each { |name, value| set(name, value) }
      rescue StandardError
        close
        raise
      end

      def set(name, value)
        number, kind = OPTIONS.fetch(name)
        bytes = if kind == :bytes
                  value.b
                else
                  [value].pack(kind == :int ? 'i' : 'q')
                end
        memory = FFI::MemoryPointer.new(:char, [bytes.bytesize, 1].max)
        memory.put_bytes(0, bytes)
        result = Library.zmq_setsockopt(@pointer, number, memory, bytes.bytesize)
        Library.check("setting #{name}", result)
      end

      # The endpoint that was bound last, with the port that was picked.
      def last_endpoint
        memory = FFI::MemoryPointer.new(:char, 1024)
        size = FFI::MemoryPointer.new(:size_t)
        size.put(:size_t, 0, memory.size)
        Library.check('zmq_getsockopt', Library.zmq_getsockopt(@pointer, OPTIONS[:last_endpoint].first, memory, size))
        memory.read_string
      end

      def bind(endpoint) = Library.check("binding #{endpoint}", Library.zmq_bind(@pointer, endpoint))
      def connect(endpoint) = Library.check("connecting to #{endpoint}", Library.zmq_connect(@pointer, endpoint))

      # Reports connection events to the `inproc://` endpoint; `nil` ends that.
      def monitor(endpoint, events = 0)
        Library.check('zmq_socket_monitor', Library.zmq_socket_monitor(@pointer, endpoint, events))
      end

      # Whether its descriptor tells of the next message: to be asked before that is waited for.
      def silent?
        @readable ||= (integer(EVENTS) & POLLIN).positive? if @sent
        @sent = false
        !@readable
      end

      # @param frames [Array<String>]
      # @return [Boolean] `false` when the message cannot go out now
      def send_frames(frames)
        @sent = true
        last = frames.size - 1
        frames.each_with_index do |frame, index|
          return false unless send_frame(frame, index == last ? DONTWAIT : DONTWAIT | SNDMORE)
        end
        true
      end

      # @return [Array<String>, nil] the frames of the next message, if there is one
      def receive
        size = receive_frame if @readable
        return unless size

        frames = [frame_bytes(size)]
        # The frames of a message arrive together: after the first, the others are there.
        frames << frame_bytes(receive_frame || 0) while Library.zmq_msg_more(@message) == 1
        frames
      end

      def close
        return unless @pointer && !@pointer.null?

        Library.zmq_msg_close(@message) if @message
        Library.zmq_close(@pointer)
        @pointer = nil
      end

      def closed? = @pointer.nil?

      private

      def integer(option)
        Library.check('zmq_getsockopt', Library.zmq_getsockopt(@pointer, option, @integer, @integer_bytes))
        @integer.read_int
      end

      def send_frame(frame, flags)
        return true unless Library.zmq_send(@pointer, frame, frame.bytesize, flags) == -1
        return false if Library.error_number == Library::EAGAIN

        interrupted!('zmq_send')
        send_frame(frame, flags)
      end

      def receive_frame
        size = Library.zmq_msg_recv(@message, @pointer, DONTWAIT)
        return size unless size == -1
        return @readable = nil if Library.error_number == Library::EAGAIN

        interrupted!('zmq_msg_recv')
        receive_frame
      end

      # Or something is wrong.
      def interrupted!(call)
        raise Error.new(call, Library.error_number) unless Library.error_number == Library::EINTR
      end

      def frame_bytes(size)
        size.zero? ? ''.b : Library.zmq_msg_data(@message).read_bytes(size)
      end
    end
  end
end
