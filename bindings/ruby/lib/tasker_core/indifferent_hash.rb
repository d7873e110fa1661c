# frozen_string_literal: true

module TaskerCore
  # A Hash with string keys that takes symbols as well, at every level. It is what handlers see as `task.context`,
  # `step.handler_config` and as results; those are frozen.
  #
  #     task.context[:customer][:id] == task.context['customer']['id']
  #
  # `deep_symbolize_keys`, `to_h` and `dup` give copies that can be changed.
  class IndifferentHash < Hash
    # @param value [Object] any value
    # @return [Object] the same with every Hash in it made indifferent
    def self.wrap(value)
      case value
      when IndifferentHash then value
      when Hash then value.each_with_object(new) { |(key, inner), hash| hash[key] = inner }
      when Array then value.map { |inner| wrap(inner) }
      else value
      end
    end

    # @param value [Object] what {wrap} or a JSON parse made
    # @return [Object] the same, frozen at every level
    def self.deep_freeze(value)
      case value
      when Hash then value.each_value { |inner| deep_freeze(inner) }
      when Array then value.each { |inner| deep_freeze(inner) }
      end
      value.freeze
    end

    def [](key) = super(plain(key))

    def []=(key, value)
      super(plain(key), IndifferentHash.wrap(value))
    end
    alias store []=

    def fetch(key, *default, &block) = super(plain(key), *default, &block)
    def key?(key) = super(plain(key))
    alias has_key? key?
    alias include? key?
    alias member? key?

    def dig(key, *rest)
      value = self[key]
      rest.empty? || value.nil? ? value : value.dig(*rest)
    end

    def delete(key, &block) = super(plain(key), &block)
    def values_at(*keys) = super(*keys.map { |key| plain(key) })
    def fetch_values(*keys, &block) = super(*keys.map { |key| plain(key) }, &block)
    def slice(*keys) = IndifferentHash.wrap(super(*keys.map { |key| plain(key) }))
    def except(*keys) = IndifferentHash.wrap(to_hash.except(*keys.map { |key| plain(key) }))
    def select(&block) = block ? IndifferentHash.wrap(super(&block)) : super
    alias filter select
    def reject(&block) = block ? IndifferentHash.wrap(super(&block)) : super
    def compact = IndifferentHash.wrap(to_hash.compact)
    def transform_values(&block) = block ? IndifferentHash.wrap(super(&block)) : super

    def merge(...)
      dup.update(...)
    end

    def update(*others, &block)
      super(*others.map { |other| IndifferentHash.wrap(other) }, &block)
    end
    alias merge! update

    # A changeable copy of this level; the levels below are copied as well.
    def dup
      each_with_object(IndifferentHash.new) { |(key, value), copy| copy[key] = copy_of(value) }
    end

    def with_indifferent_access = dup

    # @return [Hash] a plain, changeable copy with string keys at every level
    def deep_stringify_keys = rebuild(self, &:to_s)
    # @return [Hash] a plain, changeable copy with symbol keys at every level
    def deep_symbolize_keys = rebuild(self, &:to_sym)

    # @return [Hash] a plain copy of this level with symbol keys
    def symbolize_keys = to_hash.transform_keys(&:to_sym)
    # @return [Hash] a plain copy of this level with string keys
    def stringify_keys = to_hash

    # @return [Hash] a plain copy of this level with string keys
    def to_hash = {}.update(self)

    def to_h(&block)
      block ? to_hash.to_h(&block) : deep_stringify_keys
    end

    private

    def plain(key)
      key.is_a?(Symbol) ? key.name : key
    end

    def copy_of(value)
      case value
      when IndifferentHash then value.dup
      when Array then value.map { |inner| copy_of(inner) }
      when String then value.dup
      else value
      end
    end

    def rebuild(value, &block)
      case value
      when Hash then value.each_with_object({}) { |(key, inner), hash| hash[block.call(key)] = rebuild(inner, &block) }
      when Array then value.map { |inner| rebuild(inner, &block) }
      when String then value.dup
      else value
      end
    end
  end
end
