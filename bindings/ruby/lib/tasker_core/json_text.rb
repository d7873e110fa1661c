# frozen_string_literal: true

require 'date'
require 'json'
require 'time'
require_relative 'errors'
require_relative 'indifferent_hash'

module TaskerCore
  # Payloads between Ruby values and the JSON text that travels. Integers of any size and doubles come back exactly;
  # what has no exact form in JSON is refused with its place, never turned into something else.
  #
  # @api private
  module JsonText
    # The broker refuses documents nested deeper than this.
    DEPTH_MAX = 127
    # Ruby counts the outermost level too.
    PARSE_DEPTH_MAX = 128
    # What many steps have as inputs.
    NOTHING = IndifferentHash.new.freeze
    # How to write; copied for each document, which is cheaper than a new one.
    WRITER = JSON::State.new(max_nesting: DEPTH_MAX + 1).freeze
    # How a NUL character is written.
    NUL = '\u0000'
    private_constant :NOTHING, :WRITER, :NUL

    module_function

    # @param value [Object]
    # @param place [String] what to call the value in an error
    # @return [String] JSON text
    # @raise [Errors::NotJsonError] naming the place of what cannot be written
    def dump(value, place: 'value')
      text = WRITER.dup.generate(value) if ready?(value, 0)
      return text if text && !text.include?(NUL)

      WRITER.dup.generate(plain(value, place, 0))
    rescue JSON::GeneratorError, SystemStackError => e
      raise Errors::NotJsonError, "#{place} cannot be written as JSON: #{e.message}"
    end

    # @param text [String] JSON text
    # @return [Object] frozen; hashes are {IndifferentHash}
    def load(text)
      return NOTHING if text == '{}'

      frozen(JSON::Parser.new(text, max_nesting: PARSE_DEPTH_MAX).parse)
    end

    # Takes over what a parse has made: the keys of its hashes are strings already.
    def frozen(value)
      case value
      when Hash
        value.each_pair { |key, inner| value[key] = frozen(inner) unless inner.frozen? }
        IndifferentHash.new.replace(value).freeze
      when Array then value.map! { |inner| frozen(inner) }.freeze
      else value.freeze
      end
    end

    # Whether the value can be written as it is: nearly every result is, and this is much cheaper than {plain}.
    def ready?(value, depth)
      case value
      when String then text_ready?(value)
      when Integer, nil, true, false then true
      when Float then value.finite?
      when Hash then depth < DEPTH_MAX && hash_ready?(value, depth + 1)
      when Array then depth < DEPTH_MAX && value.all? { |inner| ready?(inner, depth + 1) }
      else false
      end
    end

    # `all?` would make an array of each pair.
    def hash_ready?(hash, depth)
      hash.each_pair { |key, inner| return false unless key_ready?(key) && ready?(inner, depth) }
      true
    end

    def key_ready?(key)
      case key
      when String then text_ready?(key)
      when Symbol then text_ready?(key.name)
      else false
      end
    end

    # A NUL shows in what was written.
    def text_ready?(text) = text.ascii_only? || (text.encoding == Encoding::UTF_8 && text.valid_encoding?)

    # The value made of nil, booleans, numbers, strings, arrays and hashes only; says where that is not possible.
    def plain(value, place, depth)
      case value
      when nil, true, false, Integer then value
      when Float then finite(value, place)
      when String then text(value, place)
      when Symbol then text(value.name, place)
      when Hash then plain_hash(value, place, nested(depth, place))
      when Array then plain_array(value, place, nested(depth, place))
      when Time then value.iso8601(value.nsec.zero? ? 0 : 6)
      when Date then value.iso8601
      else refuse(place, value)
      end
    end

    def plain_hash(hash, place, depth)
      hash.each_with_object({}) do |(key, value), plain|
        name = key_text(key, place)
        plain[name] = plain(value, "#{place}.#{name}", depth)
      end
    end

    def plain_array(array, place, depth)
      array.each_with_index.map { |value, index| plain(value, "#{place}[#{index}]", depth) }
    end

    def key_text(key, place)
      case key
      when String then text(key, "a key of #{place}")
      when Symbol then text(key.name, "a key of #{place}")
      when Integer, true, false then key.to_s
      else raise Errors::NotJsonError, "#{place} has a #{key.class} as a key, which JSON cannot hold"
      end
    end

    def finite(value, place)
      return value if value.finite?

      raise Errors::NotJsonError, "#{place} is #{value}, which JSON cannot hold"
    end

    def text(value, place)
      utf8 = value.encoding == Encoding::UTF_8 ? value : utf8(value, place)
      raise Errors::NotJsonError, "#{place} is not valid UTF-8" unless utf8.valid_encoding?
      raise Errors::NotJsonError, "#{place} holds a NUL character, which cannot be stored" if utf8.include?("\0")

      utf8
    end

    def utf8(value, place)
      value.encoding == Encoding::BINARY ? value.dup.force_encoding(Encoding::UTF_8) : value.encode(Encoding::UTF_8)
    rescue EncodingError
      raise Errors::NotJsonError, "#{place} cannot be written as UTF-8"
    end

    def nested(depth, place)
      return depth + 1 if depth < DEPTH_MAX

      raise Errors::NotJsonError, "#{place[0, 40]}... is nested deeper than #{DEPTH_MAX} levels"
    end

    def refuse(place, value)
      hint = ' (say to_s or to_f)' if value.is_a?(Numeric)
      raise Errors::NotJsonError, "#{place} is a #{value.class}, which JSON cannot hold#{hint}"
    end

    private_class_method :frozen, :ready?, :hash_ready?, :key_ready?, :text_ready?, :plain, :plain_hash, :plain_array,
                         :key_text, :finite, :text, :utf8, :nested, :refuse
  end
end
