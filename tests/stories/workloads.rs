//! The five example workflows over two Ruby worker processes, with their exact results: compared as text, digit by digit,
//! because that is what a user gets.

use std::collections::HashSet;
use std::process::{Command, Output};

use serde_json::Value;
use tasker_core::protocol::{StepSummary, TaskRequest};

use crate::invariants;
use crate::support::{RubyWorker, Serves, Stage, gem, read, repository, request};

const FOLDERS: [&str; 5] =
    ["linear_workflow", "diamond_workflow", "tree_workflow", "mixed_dag_workflow", "order_fulfillment"];

fn stage() -> (Stage, Vec<RubyWorker>) {
    let stage = Stage::open();
    let paths = FOLDERS.map(|folder| repository(&format!("examples/{folder}")));
    let workers: Vec<_> = ["one", "two"]
        .iter()
        .map(|name| RubyWorker::start(&stage.work, name, 5, &paths, &Serves::Files(&paths)))
        .collect();
    workers.iter().for_each(|worker| worker.registered());
    (stage, workers)
}

fn leave(stage: &Stage, workers: Vec<RubyWorker>) {
    workers.into_iter().for_each(|worker| assert!(worker.stop().success()));
    invariants::hold(&stage.database);
}

fn context(folder: &str, file: &str) -> String {
    read(&format!("examples/{folder}/{file}"))
}

fn result<'a>(steps: &'a [StepSummary], step: &str) -> &'a str {
    let step = steps.iter().find(|candidate| candidate.name == step).expect("the workflow has it");
    step.result.as_ref().expect("it has a result").as_str()
}

/// Compares the results of all steps.
fn assert_results(steps: &[StepSummary], expected: &[(&str, &str)]) {
    let results: Vec<_> = steps.iter().map(|step| (step.name.as_str(), result(steps, &step.name))).collect();
    assert_eq!(results, expected);
}

/// An entry of a step's result, as it is written there.
fn entry(steps: &[StepSummary], step: &str, key: &str) -> String {
    let result: Value = serde_json::from_str(result(steps, step)).expect("a result is JSON");
    result[key].to_string()
}

#[test]
fn computations_are_exact_to_the_last_digit() {
    let (mut stage, workers) = stage();
    let linear = "linear_workflow/mathematical_sequence";
    let (task, steps) = stage.perform(request(linear, context("linear_workflow", "context.json")));
    assert_eq!(task.state, "complete");
    assert_eq!((task.completion_percentage, task.execution_status.as_str()), (100.0, "all_complete"));
    let expected = [
        ("linear_step_1", "36"),
        ("linear_step_2", "1296"),
        ("linear_step_3", "1679616"),
        ("linear_step_4", "2821109907456"),
    ];
    assert_results(&steps, &expected);
    let (_, steps) = stage.perform(request(linear, "{\"even_number\": 8}"));
    assert_eq!(result(&steps, "linear_step_4"), "281474976710656");

    let diamond = "diamond_workflow/parallel_computation";
    let (_, steps) = stage.perform(request(diamond, context("diamond_workflow", "context.json")));
    let expected = [
        ("diamond_start", "16"),
        ("diamond_branch_b", "256"),
        ("diamond_branch_c", "256"),
        ("diamond_end", "4294967296"),
    ];
    assert_results(&steps, &expected);
    for (number, end) in [("8", "281474976710656"), ("10", "10000000000000000")] {
        let (_, steps) = stage.perform(request(diamond, format!("{{\"even_number\": {number}}}")));
        assert_eq!(result(&steps, "diamond_end"), end);
    }

    let tree = "tree_workflow/hierarchical_computation@1.0.0";
    let (_, steps) = stage.perform(request(tree, context("tree_workflow", "context.json")));
    let expected = [
        ("tree_root", "4"),
        ("tree_branch_left", "16"),
        ("tree_branch_right", "16"),
        ("tree_leaf_d", "256"),
        ("tree_leaf_e", "256"),
        ("tree_leaf_f", "256"),
        ("tree_leaf_g", "256"),
        // 2^64, one more than an unsigned 64-bit integer holds.
        ("tree_final_convergence", "18446744073709551616"),
    ];
    assert_results(&steps, &expected);

    let mixed = "mixed_dag_workflow/complex_dag_computation";
    let (task, steps) = stage.perform(request(mixed, context("mixed_dag_workflow", "context.json")));
    let expected = [
        ("dag_init", "4"),
        ("dag_process_left", "16"),
        ("dag_process_right", "16"),
        ("dag_validate", "65536"),
        ("dag_transform", "256"),
        ("dag_analyze", "256"),
        ("dag_finalize", "18446744073709551616"),
    ];
    assert_results(&steps, &expected);
    let (_, steps) = stage.perform(request(mixed, context("mixed_dag_workflow", "context-large.json")));
    // 2^128.
    assert_eq!(result(&steps, "dag_finalize"), "340282366920938463463374607431768211456");
    // The database holds the same text.
    let stored = stage.database.text(&format!(
        "SELECT result::text FROM tasker.step_outcomes WHERE task_id = '{}' AND step_number = 6",
        task.task_id
    ));
    assert_eq!(stored, "18446744073709551616");

    let (task, steps) = stage.perform(request(linear, context("linear_workflow", "context-odd.json")));
    assert_eq!((task.state.as_str(), task.execution_status.as_str()), ("error", "blocked_by_failures"));
    assert_eq!((steps[0].state.as_str(), steps[0].attempts), ("error", 1));
    assert_eq!(steps[0].error_class.as_deref(), Some("TaskerCore::Errors::PermanentError"));
    assert_eq!(steps[1].state, "pending");
    let refused = stage.submit_all(vec![request(linear, context("linear_workflow", "context-invalid.json"))]);
    let refusal = refused[0].error.as_ref().expect("the schema wants an integer");
    assert_eq!((refusal.code.as_str(), refusal.position.as_deref()), ("invalid_context", Some("/even_number")));
    leave(&stage, workers);
}

#[test]
fn both_worker_processes_take_part() {
    let (mut stage, workers) = stage();
    let mixed = "mixed_dag_workflow/complex_dag_computation";
    let requests = (0..20).map(|_| request(mixed, "{\"even_number\": 2}")).collect();
    let tasks: Vec<_> = stage.submit_all(requests).iter().map(|task| task.task_id.expect("accepted")).collect();
    for task in tasks {
        assert_eq!(stage.ended(task).state, "complete");
    }
    let took_part = stage.database.texts(
        "SELECT registration.worker FROM tasker.step_outcomes AS outcome
         JOIN tasker.worker_registrations AS registration USING (registration_id) GROUP BY 1 ORDER BY 1",
    );
    assert_eq!(took_part, ["one", "two"]);
    leave(&stage, workers);
}

#[test]
fn an_order_is_fulfilled_to_the_cent() {
    let (mut stage, workers) = stage();
    let order = |file: &str| request("fulfillment/process_order", context("order_fulfillment", file));
    let (task, steps) = stage.perform(order("context.json"));
    assert_eq!(task.state, "complete");
    assert_eq!(entry(&steps, "validate_order", "order_total"), "209.97");
    assert_eq!(entry(&steps, "validate_order", "customer_validated"), "true");
    assert_eq!(entry(&steps, "reserve_inventory", "items_reserved"), "2");
    assert_eq!(entry(&steps, "reserve_inventory", "reservation_status"), "\"confirmed\"");
    assert_eq!(entry(&steps, "process_payment", "amount_charged"), "209.97");
    assert_eq!(entry(&steps, "process_payment", "gateway_fee"), "6.09");
    assert_eq!(entry(&steps, "ship_order", "shipping_cost"), "16.25");
    assert_eq!(entry(&steps, "ship_order", "shipping_status"), "\"label_created\"");

    let (_, steps) = stage.perform(order("context-standard.json"));
    assert_eq!(entry(&steps, "validate_order", "order_total"), "109.97");
    assert_eq!(entry(&steps, "process_payment", "gateway_fee"), "3.19");
    assert_eq!(entry(&steps, "ship_order", "shipping_cost"), "10.24");

    for (file, step, code) in [
        ("context-unknown-product.json", "validate_order", "PRODUCT_NOT_FOUND"),
        ("context-amount-mismatch.json", "process_payment", "PAYMENT_AMOUNT_MISMATCH"),
        ("context-declined.json", "process_payment", "PAYMENT_DECLINED"),
    ] {
        let (task, steps) = stage.perform(order(file));
        assert_eq!(task.state, "error", "{file}");
        let failed: Vec<_> = steps.iter().filter(|step| step.state == "error").collect();
        assert_eq!(failed.len(), 1, "{file}");
        assert_eq!((failed[0].name.as_str(), failed[0].error_code.as_deref()), (step, Some(code)), "{file}");
        assert_eq!(failed[0].attempts, 1, "{file}: a permanent error is not tried again");
    }

    let (task, steps) = stage.perform(order("context-retry.json"));
    assert_eq!(task.state, "complete");
    assert_eq!((steps[1].name.as_str(), steps[1].attempts), ("reserve_inventory", 2));
    out_of_stock(&mut stage, order("context-out-of-stock.json"));
    leave(&stage, workers);
}

/// A shortage is worth another try in a minute; the test does not wait for it.
fn out_of_stock(stage: &mut Stage, request: TaskRequest) {
    let id = stage.submit(request);
    let step = stage.reaches(id, "reserve_inventory", "waiting_for_retry");
    assert_eq!((step.attempts, step.retry_limit), (1, 3));
    assert!((50_000..=61_000).contains(&step.retry_in_ms.expect("it waits")), "{step:?}");
    assert_eq!(step.error_class.as_deref(), Some("TaskerCore::Errors::RetryableError"));
    stage.cancel(id);
    assert_eq!(stage.ended(id).state, "cancelled");
}

/// Runs a script with the Ruby client.
fn ruby(stage: &Stage, script: &str, arguments: &[&str]) -> Output {
    let path = repository(&format!("tests/stories/ruby/{script}"));
    let mut command = Command::new("ruby");
    command.arg("-I").arg(gem().join("lib")).arg(path).arg(&stage.work).args(arguments);
    let output = command.output().expect("ruby is installed");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output
}

#[test]
fn the_ruby_client_lets_the_task_handler_see_a_request_first() {
    let (mut stage, workers) = stage();
    let folder = repository("examples/order_fulfillment");
    let output = ruby(&stage, "orders.rb", &[folder.to_str().expect("UTF-8")]);
    let lines: Vec<String> = String::from_utf8(output.stdout).expect("UTF-8").lines().map(str::to_owned).collect();
    let [accepted, too_expensive, too_cheap, too_many] = &lines[..] else { panic!("{lines:?}") };
    let words: Vec<&str> = accepted.split(' ').collect();
    assert_eq!(words[1..], ["complete", "209.97", "6.09", "16.25"]);
    assert_eq!(too_expensive, "payment_info.amount MAX_VALUE_EXCEEDED");
    assert_eq!(too_cheap, "payment_info.amount MIN_VALUE_NOT_MET");
    assert_eq!(too_many, "order_items MAX_ITEMS_EXCEEDED");
    // A premium customer is preferred, by the handler in the client's process; refused orders never became tasks.
    let context = stage.database.text("SELECT context::text FROM tasker.tasks");
    let context: Value = serde_json::from_str(&context).expect("JSON");
    assert_eq!(context["processing_priority"], "high");
    assert_eq!(context["expedited_shipping"], true);
    assert_eq!(context["payment_info"]["amount"].to_string(), "209.97");
    assert_eq!(stage.status(words[0].parse().expect("an id")).task.state, "complete");
    leave(&stage, workers);
    let ran: HashSet<String> = stage.database.texts("SELECT name FROM tasker.steps").into_iter().collect();
    assert_eq!(ran.len(), 4);
}
