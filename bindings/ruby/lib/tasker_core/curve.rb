# frozen_string_literal: true

require_relative 'errors'
require_relative 'zmq/library'

module TaskerCore
  # The keys by which a process shows a broker who it is, and knows the broker (CURVE). With them, what is sent is
  # encrypted.
  #
  #     TaskerCore.configure do |config|
  #       config.curve = { server_public_key: 'rq:rM>}U?@Lns47E1%kR.o@n%FcmmsL/@{H8]yf7',
  #                        secret_key_file: '/etc/tasker/app.key' }
  #     end
  #
  # 1. `tasker key new --secret-file FILE` makes the file, and prints the public key for the broker's list of peers.
  # 2. Only the owner of the file may be able to read it.
  # 3. The secret key is never shown.
  class Curve
    # A key in Z85 (ZeroMQ RFC 32).
    KEY = %r{\A[0-9a-zA-Z.\-:+=^!/*?&<>()\[\]{}@%$#]{40}\z}
    # Bytes of a key in Z85 with its final NUL.
    KEY_BYTES = 41
    # Permissions of others than the owner.
    OTHERS = 0o077
    private_constant :KEY, :KEY_BYTES, :OTHERS

    # @return [String] the broker's public key
    attr_reader :server_public_key
    # @return [String] our own public key, which the broker has to list
    attr_reader :public_key

    # @api private
    # @param value [Curve, Hash, nil]
    # @return [Curve, nil]
    def self.from(value)
      return value if value.nil? || value.is_a?(Curve)

      new(**value)
    rescue ArgumentError, TypeError => e
      raise Errors::ConfigurationError, "curve takes server_public_key: and secret_key_file: (#{e.message})"
    end

    # @param server_public_key [String] 40 characters
    # @param secret_key_file [String] where our own secret key is
    # @raise [Errors::ConfigurationError] naming the file or the key
    def initialize(server_public_key:, secret_key_file:)
      @server_public_key = check('server_public_key', server_public_key)
      secret = check(secret_key_file, read(secret_key_file))
      @public_key = public_of(secret, secret_key_file)
      # In a closure, so that nothing that shows or dumps objects comes by it.
      @secret = -> { secret }
    end

    # @api private
    # @return [Hash{Symbol=>String}] options of a socket
    def options
      { curve_serverkey: server_public_key, curve_publickey: public_key, curve_secretkey: @secret.call }
    end

    def inspect = "#<#{self.class} public_key=#{public_key} server_public_key=#{server_public_key}>"
    alias to_s inspect

    private

    def check(name, key)
      return key if KEY.match?(key.to_s)

      raise Errors::ConfigurationError, "#{name} is not a key: it has to be 40 characters of Z85"
    end

    # As with ssh: a file of ours that others can read is refused.
    def read(path)
      File.open(path) do |file|
        status = file.stat
        if status.file? && status.owned? && status.mode.anybits?(OTHERS)
          raise Errors::ConfigurationError, "#{path} can be read by others; `chmod 600` makes it private"
        end

        file.read(1024).to_s.strip
      end
    rescue SystemCallError => e
      raise Errors::ConfigurationError, "#{path} cannot be read: #{e.message}"
    end

    def public_of(secret, path)
      memory = FFI::MemoryPointer.new(:char, KEY_BYTES)
      return memory.read_string if ZMQ::Library.zmq_curve_public(memory, secret).zero?

      raise Errors::ConfigurationError, "#{path} is not a key, or libzmq was built without CURVE"
    end
  end
end
