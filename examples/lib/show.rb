# frozen_string_literal: true

# Runs the five example workflows against a broker, shows every step's result, and compares with what must come out.
# Called by `examples/run`: show.rb BROKER_ENDPOINT TASKER_BINARY

require 'json'
require 'tasker_core'
require_relative '../order_fulfillment/handlers'

EXAMPLES = File.expand_path('..', __dir__)

# Folder, template, and the exact results by step (a Hash compares only the fields that it names).
WORKFLOWS = [
  ['order_fulfillment', 'fulfillment/process_order',
   { 'validate_order' => { 'order_total' => 209.97, 'customer_validated' => true },
     'reserve_inventory' => { 'items_reserved' => 2, 'reservation_status' => 'confirmed' },
     'process_payment' => { 'amount_charged' => 209.97, 'gateway_fee' => 6.09 },
     'ship_order' => { 'shipping_cost' => 16.25, 'shipping_status' => 'label_created' } }],
  ['linear_workflow', 'linear_workflow/mathematical_sequence',
   { 'linear_step_1' => 36, 'linear_step_2' => 1296, 'linear_step_3' => 1_679_616,
     'linear_step_4' => 2_821_109_907_456 }],
  ['diamond_workflow', 'diamond_workflow/parallel_computation',
   { 'diamond_start' => 16, 'diamond_branch_b' => 256, 'diamond_branch_c' => 256, 'diamond_end' => 4_294_967_296 }],
  ['tree_workflow', 'tree_workflow/hierarchical_computation',
   { 'tree_root' => 4, 'tree_branch_left' => 16, 'tree_branch_right' => 16, 'tree_leaf_d' => 256, 'tree_leaf_e' => 256,
     'tree_leaf_f' => 256, 'tree_leaf_g' => 256, 'tree_final_convergence' => 2**64 }],
  ['mixed_dag_workflow', 'mixed_dag_workflow/complex_dag_computation',
   { 'dag_init' => 4, 'dag_process_left' => 16, 'dag_process_right' => 16, 'dag_validate' => 65_536,
     'dag_transform' => 256, 'dag_analyze' => 256, 'dag_finalize' => 2**64 }],
  ['mixed_dag_workflow', 'mixed_dag_workflow/complex_dag_computation', { 'dag_finalize' => 2**128 },
   'context-large.json']
].freeze

# One run of one workflow.
class Showing
  def initialize(client, tasker, folder, template, expected, context = 'context.json')
    @client = client
    @tasker = tasker
    @template = template
    @expected = expected
    @context = JSON.parse(File.read(File.join(EXAMPLES, folder, context)))
  end

  # Shows it; returns what is not as it must be.
  def run
    namespace, name = @template.split('/')
    task = @client.initialize_task(namespace: namespace, name: name, context: @context)
    puts "\n\e[1m#{task.template}\e[0m  #{task.task_id}"
    system(@tasker, 'task', 'watch', task.task_id, out: File::NULL)
    status = @client.task_status(task.task_id, steps: true, results: :all)
    status.steps.each { |step| show(step) }
    puts "  #{status.state} in #{status.task.finished_at_ms - status.task.created_at_ms} ms"
    faults(status)
  end

  private

  def show(step)
    line = format('  %-22<name>s %-9<state>s %7.2<ms>f ms  %-16<worker>s %<result>s',
                  name: step.name, state: step.state, ms: step.duration_us / 1000.0, worker: step.worker,
                  result: JSON.generate(step.result))
    puts line
  end

  def faults(status)
    results = status.results
    wrong = @expected.reject { |step, expected| same?(expected, results[step]) }.keys
    wrong.map { |step| "#{@template} #{step}: #{results[step].inspect} instead of #{@expected[step].inspect}" }
  end

  def same?(expected, found)
    return expected == found unless expected.is_a?(Hash)

    expected.all? { |field, value| found[field] == value }
  end
end

# A worker that loads this folder gets the definitions above only.
if $PROGRAM_NAME == __FILE__
  broker, tasker = ARGV
  templates = Dir[File.join(EXAMPLES, '*/template.yaml')]
  system(tasker, 'template', 'register', *templates, out: :err) or abort('failed to register the templates')
  client = TaskerCore::Client.new(broker: broker)
  faults = WORKFLOWS.flat_map { |workflow| Showing.new(client, tasker, *workflow).run }
  workers = client.list_workers
  client.close
  abort(faults.join("\n")) if faults.any?
  puts "\nAll results are exact. Workers: #{workers.map { |worker| "#{worker.name} (pid #{worker.pid})" }.join(', ')}"
end
