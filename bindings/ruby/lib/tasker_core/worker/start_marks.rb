# frozen_string_literal: true

require 'ffi'

module TaskerCore
  class Worker
    # Which of the jobs that a child has it has started: one byte a job, in memory that both processes share. It
    # outlives the child, however that ended, and setting a mark costs a step next to nothing.
    #
    # @api private
    class StartMarks
      # The system's functions.
      module System
        extend FFI::Library
        ffi_lib FFI::Library::LIBC

        attach_function :mmap, %i[pointer size_t int int int off_t], :pointer
        attach_function :munmap, %i[pointer size_t], :int
      end

      READ_WRITE = 0x3
      SHARED_ANONYMOUS = FFI::Platform.mac? ? 0x1001 : 0x21
      FAILED = FFI::Pointer.new(-1)
      private_constant :System, :READ_WRITE, :SHARED_ANONYMOUS, :FAILED

      # @param size [Integer] jobs at a time
      def initialize(size)
        @size = size
        @memory = System.mmap(nil, size, READ_WRITE, SHARED_ANONYMOUS, -1, 0)
        raise SystemCallError.new('mmap', FFI.errno) if @memory == FAILED
      end

      def set(index) = @memory.put_uint8(index, 1)
      def clear(index) = @memory.put_uint8(index, 0)
      def set?(index) = @memory.get_uint8(index) == 1

      # Gives the memory back; no mark may be looked at after that.
      def free
        System.munmap(@memory, @size) if @memory
        @memory = nil
      end
    end
  end
end
