# frozen_string_literal: true

# Enqueues a task as an application with OpenTelemetry does: BROKER NAME CONTEXT. Prints its id.

require 'json'

broker, name, context = ARGV
client = TaskerCore::Client.new(broker: broker)
puts client.initialize_task(namespace: 'stories', name: name, context: JSON.parse(context)).task_id
