# frozen_string_literal: true

# Workflow classes that specs run. They have names, because workers look them up by name.
module SpecWorkflows
  class Busy < StandardError; end
  class Declined < TaskerCore::RetryableError; end

  # What its subclasses share.
  class Base < TaskerCore::Workflow
    namespace :spec
    retry_on Busy, wait: ->(attempt) { attempt * 10 }, attempts: 5
    discard_on 'SpecWorkflows::Declined'
  end

  class Reserve
    def call(ctx) = { reserved: ctx.results[:validate][:total], from: ctx.config[:warehouse] }
  end

  class Audit < TaskerCore::StepHandler::Base
    def process(task, sequence, step)
      { by: config[:by], step: step.name, total: sequence.get_results('validate')[:total], order: task.context[:id] }
    end
  end

  class Order < Base
    version '1.2.0'
    description 'Takes an order'

    step(:validate) do |ctx|
      return { total: 0 } if ctx.input[:id].nil?

      { total: ctx.input[:id] * 2 }
    end
    step :reserve, after: :validate, handler: Reserve, config: { warehouse: 'north' }
    step :audit, after: :validate, handler: 'SpecWorkflows::Audit', config: { by: 'rule 7' }
    step :charge, after: :validate, attempts: 2, timeout: 20, backoff: :fixed
    step :ship, after: %i[reserve charge], skippable: true, events: :shipped
    step :notify, after: :ship, handler: ->(_task, sequence) { sequence.names }

    def charge(ctx)
      case ctx.input[:gateway]
      when 'busy' then raise Busy, 'come back'
      when 'declined' then raise Declined.new('no funds', retry_after: 5)
      when 'broken' then raise KeyError, 'no gateway'
      when 'later' then ctx.retry!('closed', in: 60, opens: '9:00')
      when 'never' then ctx.fail!('card is stolen', code: 'STOLEN', card: 4)
      end
      { key: ctx.idempotency_key, attempt: ctx.attempt, last: ctx.last_attempt?, cancelled: ctx.cancelled? }
    end

    private

    def ship
      ctx.publish(:shipped, id: ctx.input[:id])
      ctx.results.to_h.merge(amount: ctx.results.dig(:charge, :amount))
    end
  end
end
