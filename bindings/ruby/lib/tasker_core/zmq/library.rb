# frozen_string_literal: true

require 'ffi'
require_relative '../errors'

module TaskerCore
  module ZMQ
    # A call to libzmq failed.
    class Error < Errors::Error
      # @return [Integer] libzmq's error number
      attr_reader :number

      def initialize(call, number)
        super("#{call} failed: #{Library.zmq_strerror(number)} (#{number})")
        @number = number
      end
    end

    # The functions of libzmq that are used, and the numbers that go with them.
    #
    # @api private
    module Library
      extend FFI::Library
      ffi_lib ['libzmq.so.5', 'libzmq.5.dylib', 'zmq']

      EINTR = Errno::EINTR::Errno
      EAGAIN = Errno::EAGAIN::Errno
      EHOSTUNREACH = Errno::EHOSTUNREACH::Errno
      # `ZMQ_HAUSNUMERO + 53`
      ETERM = 156_384_765

      attach_function :zmq_ctx_new, [], :pointer
      attach_function :zmq_ctx_term, [:pointer], :int, blocking: true
      attach_function :zmq_socket, %i[pointer int], :pointer
      attach_function :zmq_close, [:pointer], :int, blocking: true
      attach_function :zmq_setsockopt, %i[pointer int pointer size_t], :int
      attach_function :zmq_getsockopt, %i[pointer int pointer pointer], :int
      attach_function :zmq_bind, %i[pointer string], :int
      attach_function :zmq_connect, %i[pointer string], :int
      attach_function :zmq_socket_monitor, %i[pointer string int], :int
      attach_function :zmq_send, %i[pointer buffer_in size_t int], :int
      attach_function :zmq_msg_init, [:pointer], :int
      attach_function :zmq_msg_recv, %i[pointer pointer int], :int
      attach_function :zmq_msg_data, [:pointer], :pointer
      attach_function :zmq_msg_more, [:pointer], :int
      attach_function :zmq_msg_close, [:pointer], :int
      attach_function :zmq_poll, %i[pointer int long], :int, blocking: true
      # The same for looking without waiting: it keeps Ruby's lock.
      attach_function :zmq_poll_now, :zmq_poll, %i[pointer int long], :int
      attach_function :zmq_curve_public, %i[buffer_out string], :int
      attach_function :zmq_strerror, [:int], :string

      module_function

      # The error of the last call of this thread, as FFI kept it right after that call: asking `zmq_errno` later can
      # find what the Ruby VM did in between.
      def error_number = FFI.errno

      # @return [Object] `result`, unless that says that the call failed
      def check(call, result)
        failed = result.is_a?(FFI::Pointer) ? result.null? : result == -1
        raise Error.new(call, error_number) if failed

        result
      end
    end
  end
end
