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

    module_function

    # @param value [Object]
    # @param place [String] what to call the value in an error
    # @return [String] JSON text
    # @raise [Errors::NotJsonError] naming the place of what cannot be written
    def dump(value, place: 'value')
      JSON.generate(ready?(value, 0) ? value : plain(value, place, 0), max_nesting: DEPTH_MAX + 1)
    rescue JSON::GeneratorError, SystemStackError => e
      raise Errors::NotJsonError, "#{place} cannot be written as JSON: #{e.message}"
    end

    # @param text [String] JSON text
    # @return [Object] frozen; hashes are {IndifferentHash}
    def load(text)
      IndifferentHash.deep_freeze(parse(text))
    end

    # @param text [String] JSON text
    # @return [Object] hashes are {IndifferentHash}
    def parse(text)
      JSON.parse(text, max_nesting: PARSE_DEPTH_MAX, object_class: IndifferentHash)
    end

    # Whether the value can be written as it is: nearly every result is, and this is much cheaper than {plain}.
    def ready?(value, depth)
      case value
      when nil, true, false, Integer then true
      when String then text_ready?(value)
      when Float then value.finite?
      when Hash
        depth < DEPTH_MAX && value.all? { |key, inner| key_ready?(key) && ready?(inner, depth + 1) }
      when Array then depth < DEPTH_MAX && value.all? { |inner| ready?(inner, depth + 1) }
      else false
      end
    end

    def key_ready?(key)
      case key
      when Symbol then text_ready?(key.name)
      when String then text_ready?(key)
      else false
      end
    end

    def text_ready?(text)
      (text.encoding == Encoding::UTF_8 || text.ascii_only?) && text.valid_encoding? && !text.include?("\0")
    end

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

    private_class_method :ready?, :key_ready?, :text_ready?, :plain, :plain_hash, :plain_array, :key_text, :finite,
                         :text, :utf8, :nested, :refuse
  end
end
