# frozen_string_literal: true

require 'bigdecimal'
require 'date'
require 'securerandom'
require 'time'

# Takes an order: check, reserve, charge, ship.
#
# Amounts are added up as decimals and become doubles only at the end, so that 2 x 29.99 + 149.99 is 209.97 and not
# 209.97000000000003. Nothing fails by chance: a context that wants a fault says so under `simulate`.
module OrderFulfillment
  # Exact money.
  module Money
    module_function

    # @return [BigDecimal] the decimal that this number was written as
    def decimal(number) = BigDecimal(number.to_s)

    # @return [Float] rounded to cents
    def float(decimal) = decimal.round(2, half: :up).to_f
  end

  # Faults for demonstrations: `"simulate": {"ship_order": {"fail": "unavailable", "attempts": 2, "retry_after": 1}}`
  # makes the first two attempts fail.
  module Simulation
    module_function

    def run(task, step)
      wanted = task.context.dig(:simulate, step.name)
      return if wanted.nil? || step.attempt > wanted.fetch(:attempts, step.retry_limit)

      fail_with(wanted, step)
    end

    def fail_with(wanted, step)
      message = "#{step.name} fails as asked in attempt #{step.attempt}"
      case wanted[:fail]
      when 'unavailable' then raise TaskerCore::Errors::RetryableError.new(message, retry_after: wanted[:retry_after])
      when 'network' then raise TaskerCore::Errors::NetworkError.new(message, status_code: 503)
      when 'timeout' then raise TaskerCore::Errors::TimeoutError.new(message, timeout_duration: step.timeout_seconds)
      when 'declined' then raise TaskerCore::Errors::PermanentError.new(message, error_code: 'PAYMENT_DECLINED')
      when 'auth' then raise TaskerCore::Errors::PermanentError.new(message, error_code: 'PAYMENT_AUTH_FAILED')
      else raise TaskerCore::Errors::PermanentError.new("unknown fault #{wanted[:fail]}", error_code: 'UNKNOWN_FAULT')
      end
    end
  end

  # Looks at each order before it becomes a task.
  class OrderFulfillmentHandler < TaskerCore::TaskHandler::Base
    def initialize_task(request)
      context = request[:context]
      check_items(context)
      check_value(context)
      prefer(context) if context.dig(:customer_info, :tier) == 'premium'
      super
    end

    private

    def check_items(context)
      count = (context[:order_items] || []).size
      limit = config.fetch(:max_items_per_order, 50)
      return if count <= limit

      refuse("an order has at most #{limit} items, not #{count}", 'order_items', 'MAX_ITEMS_EXCEEDED')
    end

    def check_value(context)
      amount = context.dig(:payment_info, :amount)
      return if amount.nil? # the payment step says so, with its own code

      most = config.fetch(:max_order_value, 10_000)
      least = config.fetch(:min_order_value, 0.01)
      refuse("#{amount} is more than #{most}", 'payment_info.amount', 'MAX_VALUE_EXCEEDED') if amount > most
      refuse("#{amount} is less than #{least}", 'payment_info.amount', 'MIN_VALUE_NOT_MET') if amount < least
    end

    def prefer(context)
      context[:processing_priority] = 'high'
      context[:expedited_shipping] = true
    end

    def refuse(message, field, code)
      raise TaskerCore::Errors::ValidationError.new(message, field: field, error_code: code)
    end
  end

  # Base of the four steps.
  class OrderStepHandler < TaskerCore::StepHandler::Base
    def process(task, sequence, step)
      Simulation.run(task, step)
      perform(task, sequence, step)
    end

    private

    def refuse(code, message, **context)
      raise TaskerCore::Errors::PermanentError.new(message, error_code: code, context: context)
    end
  end

  # Customer, items, prices; the total.
  class ValidateOrderHandler < OrderStepHandler
    PRODUCTS = { 101 => 'Premium Widget A', 102 => 'Deluxe Widget B', 103 => 'Standard Widget C' }.freeze
    TOTAL_MAX = 50_000

    private

    def perform(task, _sequence, _step)
      customer = customer_of(task)
      items = items_of(task).each_with_index.map { |item, index| validated(item, index) }
      total = items.sum { |item| Money.decimal(item[:line_total]) }
      refuse('ORDER_TOTAL_TOO_HIGH', "the total #{total.to_f} is over #{TOTAL_MAX}") if total > TOTAL_MAX

      {
        customer_validated: true, customer_id: customer[:id], validated_items: items,
        order_total: Money.float(total), validation_status: 'complete', validated_at: Time.now.utc
      }
    end

    def customer_of(task)
      customer = task.context[:customer_info] || {}
      refuse('MISSING_CUSTOMER_ID', 'the order has no customer id') unless customer[:id]
      refuse('MISSING_CUSTOMER_EMAIL', 'the order has no customer email') if customer[:email].to_s.empty?
      customer
    end

    def items_of(task)
      items = task.context[:order_items] || []
      refuse('MISSING_ORDER_ITEMS', 'the order has no items') if items.empty?
      items
    end

    def validated(item, index)
      product_id, quantity, price = item.values_at(:product_id, :quantity, :price)
      unless product_id && quantity && price
        refuse('INVALID_ORDER_ITEM', "item #{index + 1} is not complete",
               item: item)
      end
      unless quantity_valid?(quantity)
        refuse('INVALID_QUANTITY', "item #{index + 1} has quantity #{quantity}",
               item: item)
      end
      refuse('INVALID_PRICE', "item #{index + 1} has price #{price}", item: item) unless price_valid?(price)

      name = PRODUCTS[product_id]
      refuse('PRODUCT_NOT_FOUND', "there is no product #{product_id}", product_id: product_id) unless name
      {
        product_id: product_id, product_name: name, quantity: quantity, unit_price: price,
        line_total: Money.float(Money.decimal(price) * quantity)
      }
    end

    def quantity_valid?(quantity) = quantity.is_a?(Integer) && quantity.positive?
    def price_valid?(price) = price.is_a?(Numeric) && price.positive?
  end

  # Stock, set aside.
  class ReserveInventoryHandler < OrderStepHandler
    STOCK = { 101 => 100, 102 => 50, 103 => 200 }.freeze
    RETRY_AFTER = 60
    KEPT_SECONDS = 15 * 60

    private

    def perform(_task, sequence, _step)
      items = sequence.get_results('validate_order')[:validated_items]
      items.each { |item| check_stock(item) }
      now = Time.now.utc
      {
        reservation_id: "RES-#{SecureRandom.hex(8).upcase}", items_reserved: items.size,
        reservation_status: 'confirmed', reserved_at: now, expires_at: now + KEPT_SECONDS,
        reservations: items.map { |item| item.slice(:product_id, :quantity) }
      }
    end

    def check_stock(item)
      available = STOCK.fetch(item[:product_id], 0)
      return if available >= item[:quantity]

      # More may come in: worth another try later.
      shortage = { product_id: item[:product_id], requested: item[:quantity], available: available }
      raise TaskerCore::Errors::RetryableError.new(
        "product #{item[:product_id]}: #{item[:quantity]} wanted, #{available} in stock",
        retry_after: RETRY_AFTER, context: shortage
      )
    end
  end

  # The money.
  class ProcessPaymentHandler < OrderStepHandler
    FEE_RATE = BigDecimal('0.029')

    private

    def perform(task, sequence, step)
      payment = payment_of(task)
      total = sequence.get_results('validate_order')[:order_total]
      amount = Money.decimal(payment[:amount] || 0)
      if amount != Money.decimal(total)
        refuse('PAYMENT_AMOUNT_MISMATCH', "the payment of #{payment[:amount]} is not the order's total of #{total}",
               amount: payment[:amount], order_total: total)
      end

      # The same key for every attempt: a gateway charges once.
      {
        payment_id: "PAY-#{SecureRandom.hex(8).upcase}", payment_status: 'completed', amount_charged: amount.to_f,
        gateway_fee: Money.float(amount * FEE_RATE), payment_method: payment[:method],
        idempotency_key: step.idempotency_key, processed_at: Time.now.utc
      }
    end

    def payment_of(task)
      payment = task.context[:payment_info]
      refuse('MISSING_PAYMENT_INFO', 'the order has no payment information') if payment.nil? || payment.empty?
      refuse('MISSING_PAYMENT_METHOD', 'the payment has no method') if payment[:method].to_s.empty?
      refuse('MISSING_PAYMENT_TOKEN', 'the payment has no token') if payment[:token].to_s.empty?
      payment
    end
  end

  # The label.
  class ShipOrderHandler < OrderStepHandler
    Service = Struct.new(:carrier, :price, :days, keyword_init: true)
    SERVICES = {
      'standard' => Service.new(carrier: 'UPS', price: BigDecimal('8.99'), days: 5),
      'express' => Service.new(carrier: 'FedEx', price: BigDecimal('15.00'), days: 2),
      'overnight' => Service.new(carrier: 'FedEx', price: BigDecimal('25.00'), days: 1)
    }.freeze
    UNIT_POUNDS = BigDecimal('0.5')
    POUNDS_INCLUDED = 1
    EXTRA_POUND_PRICE = BigDecimal('2.50')

    private

    def perform(task, sequence, step)
      shipping = task.context[:shipping_info]
      refuse('MISSING_SHIPPING_INFO', 'the order has no shipping address') if shipping.nil? || !shipping[:address]

      method = shipping[:method] || 'standard'
      service = SERVICES[method] || refuse('UNKNOWN_SHIPPING_METHOD', "there is no shipping method #{method}")
      label = label_for(service, method, units_of(sequence))
      step.publish_event('order_shipped', label.slice(:shipment_id, :tracking_number)) if notify?
      label
    end

    def notify? = config.fetch(:send_notifications, false)

    # The validated items are two steps back: they are asked for.
    def units_of(sequence)
      sequence.get_results('validate_order')[:validated_items].sum { |item| item[:quantity] }
    end

    def label_for(service, method, units)
      {
        shipment_id: "SHIP-#{SecureRandom.hex(6).upcase}", tracking_number: "#{service.carrier}#{SecureRandom.hex(6)}",
        shipping_status: 'label_created', shipping_cost: cost(service, units), carrier: service.carrier,
        shipping_method: method, estimated_delivery: business_days_from(Date.today, service.days)
      }
    end

    def cost(service, units)
      extra = [(UNIT_POUNDS * units) - POUNDS_INCLUDED, 0].max
      Money.float(service.price + (extra * EXTRA_POUND_PRICE))
    end

    def business_days_from(date, days)
      until days.zero?
        date += 1
        days -= 1 unless date.saturday? || date.sunday?
      end
      date
    end
  end
end
