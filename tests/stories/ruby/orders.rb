# frozen_string_literal: true

# Submits orders as an application does: orders.rb BROKER FOLDER. Prints what became of each, a line an order.

require 'json'
require 'tasker_core'

broker, folder = ARGV
require File.join(folder, 'handlers')

client = TaskerCore::Client.new(broker: broker)
context = JSON.parse(File.read(File.join(folder, 'context.json')))
submit = ->(changed) { client.initialize_task(namespace: 'fulfillment', name: 'process_order', context: changed) }

task = submit.call(context)
client.wait_for_task(task.task_id, timeout: 30)
status = client.task_status(task.task_id, steps: true, results: :all)
results = status.steps.to_h { |step| [step.name, step.result] }
puts [task.task_id, status.state, results['validate_order'][:order_total],
      results['process_payment'][:gateway_fee], results['ship_order'][:shipping_cost]].join(' ')

refused = [
  { 'payment_info' => context['payment_info'].merge('amount' => 10_000.01) },
  { 'payment_info' => context['payment_info'].merge('amount' => 0.001) },
  { 'order_items' => context['order_items'] * 26 }
]
refused.each do |change|
  submit.call(context.merge(change))
  puts 'accepted'
rescue TaskerCore::Errors::ValidationError => e
  puts [e.field, e.error_code].join(' ')
end
