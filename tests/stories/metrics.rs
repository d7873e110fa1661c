//! What is scraped is what the database holds: while work runs never more, and to the last row when it is over. And the text
//! is what collectors read, with every name that the shipped rules and the dashboard ask for.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::process::{Command, Output, Stdio};

use tasker_core::ops::metrics::{Extent, Format, scrape};
use tasker_core::protocol::*;
use tasker_core::server;
use uuid::Uuid;

use crate::invariants;
use crate::peers::{self, WorkerPeer};
use crate::support::{Stage, read, repository, request, task};

/// Tasks of the load.
const TASKS: usize = 150;

/// Steps that come back, time out, are reported twice, late and otherwise.
const SCRIPTED: &str = "
namespace_name: scripted
name: three
version: 1.0.0
step_templates:
  - {name: a, handler_class: H, default_retry_limit: 3}
  - {name: b, handler_class: H, default_retry_limit: 3}
  - name: c
    handler_class: H
    default_retry_limit: 20
    timeout_seconds: 0.3
    retry_backoff: {kind: exponential, base_seconds: 0.01, cap_seconds: 0.1}
";

/// A sample, and the query that it has to agree with.
const COUNTED: &[(&str, &str)] = &[
    ("tasks_created_total", "SELECT count(*) FROM tasker.tasks"),
    ("tasks_ended_total{state=complete}", "{ends} WHERE final_state = 'complete'"),
    ("tasks_ended_total{state=error}", "{ends} WHERE final_state = 'error'"),
    ("tasks_ended_total{state=cancelled}", "{ends} WHERE final_state = 'cancelled'"),
    ("tasks_ended_total{state=resolved_manually}", "{ends} WHERE final_state = 'resolved_manually'"),
    ("tasks_reopened_total", "SELECT count(*) FROM tasker.task_reopenings"),
    ("task_duration_seconds_count", "{ends} WHERE final_state IS NOT NULL"),
    ("steps_dispatched_total", "SELECT coalesce(sum(cardinality(task_ids)), 0)::bigint FROM tasker.batches"),
    ("step_queue_time_seconds_count", "SELECT coalesce(sum(cardinality(task_ids)), 0)::bigint FROM tasker.batches"),
    ("steps_ended_total{outcome=complete}", "SELECT count(*) FROM tasker.step_outcomes WHERE kind = 'complete'"),
    ("steps_ended_total{outcome=bypassed}", "SELECT count(*) FROM tasker.step_outcomes WHERE kind = 'bypassed'"),
    (
        "steps_ended_total{outcome=resolved_manually}",
        "SELECT count(*) FROM tasker.step_outcomes WHERE kind = 'resolved_manually'",
    ),
    ("steps_ended_total{outcome=failed}", "SELECT count(*) FROM tasker.step_attempts_failed WHERE cause = 'failed'"),
    (
        "steps_ended_total{outcome=timed_out}",
        "SELECT count(*) FROM tasker.step_attempts_failed WHERE cause = 'timed_out'",
    ),
    (
        "steps_ended_total{outcome=worker_lost}",
        "SELECT count(*) FROM tasker.step_attempts_failed WHERE cause = 'worker_lost'",
    ),
    ("steps_ended_total{outcome=returned}", "SELECT count(*) FROM tasker.step_returns"),
    ("steps_in_error_total", "SELECT count(*) FROM tasker.step_attempts_failed WHERE final"),
    (
        "step_run_time_seconds_count",
        "SELECT (SELECT count(*) FROM tasker.step_outcomes WHERE kind = 'complete')
              + (SELECT count(*) FROM tasker.step_attempts_failed WHERE cause = 'failed')",
    ),
    ("results_noted_total{disposition=duplicate}", "{ledger} WHERE disposition = 'duplicate'"),
    ("results_noted_total{disposition=late}", "{ledger} WHERE disposition = 'late'"),
    ("results_noted_total{disposition=unknown}", "{ledger} WHERE disposition = 'unknown'"),
    ("results_noted_total{disposition=contradicting}", "{ledger} WHERE disposition = 'contradicting'"),
    ("results_noted_total{disposition=refused}", "{ledger} WHERE disposition = 'refused'"),
    ("operator_actions_total{operation=cancel}", "{acts} WHERE operation = 'cancel'"),
    ("operator_actions_total{operation=retry}", "{acts} WHERE operation = 'retry'"),
    ("operator_actions_total{operation=resolve}", "{acts} WHERE operation = 'resolve'"),
    ("operator_actions_total{operation=pause}", "SELECT count(*) FROM tasker.fleet_actions WHERE operation = 'pause'"),
    (
        "operator_actions_total{operation=resume}",
        "SELECT count(*) FROM tasker.fleet_actions WHERE operation = 'resume'",
    ),
    ("batches_dispatched_total", "SELECT count(*) FROM tasker.batches"),
    ("batches_closed_total{state=completed}", "{closings} WHERE state = 'completed'"),
    ("batches_closed_total{state=failed}", "{closings} WHERE state = 'failed'"),
    ("batches_closed_total{state=timeout}", "{closings} WHERE state = 'timeout'"),
    ("batches_closed_total{state=cancelled}", "{closings} WHERE state = 'cancelled'"),
    ("batches_differing_total", "{closings} WHERE differences IS NOT NULL"),
    ("worker_registrations_total", "{workers}"),
    ("worker_registrations_ended_total{reason=superseded}", "{workers} WHERE end_reason = 'superseded'"),
    ("worker_registrations_ended_total{reason=drained}", "{workers} WHERE end_reason = 'drained'"),
    ("worker_registrations_ended_total{reason=unregistered}", "{workers} WHERE end_reason = 'unregistered'"),
    ("worker_registrations_ended_total{reason=lost}", "{workers} WHERE end_reason = 'lost'"),
    ("worker_registrations_ended_total{reason=reconnected}", "{workers} WHERE end_reason = 'reconnected'"),
    ("commit_rows_count", "SELECT count(*) FROM tasker.group_log"),
    ("commit_rows_sum", "SELECT sum(row_count)::bigint FROM tasker.group_log"),
    ("commit_duration_seconds_count", "SELECT count(*) FROM tasker.group_log"),
];

/// What is there at a moment.
const LIVE: &[(&str, &str)] = &[
    ("tasks{state=pending}", "SELECT count(*) FROM tasker.task_status WHERE state = 'pending'"),
    ("tasks{state=in_progress}", "SELECT count(*) FROM tasker.task_status WHERE state = 'in_progress'"),
    ("steps{state=ready}", "SELECT coalesce(sum(ready), 0)::bigint FROM {live}"),
    ("steps{state=in_progress}", "SELECT coalesce(sum(in_progress), 0)::bigint FROM {live}"),
    ("steps{state=waiting_for_retry}", "SELECT coalesce(sum(waiting_for_retry), 0)::bigint FROM {live}"),
    ("unfinished_steps", "SELECT coalesce(sum(pending + in_progress + waiting_for_retry), 0)::bigint FROM {live}"),
    ("open_batches", "SELECT count(*) FROM tasker.batch_status WHERE closed_at IS NULL"),
];

fn sql(query: &str) -> String {
    let ends = "SELECT count(*) FROM (SELECT final_state FROM tasker.tasks
                UNION ALL SELECT final_state FROM tasker.task_reopenings) AS ends";
    let query = query.replace("{ends}", ends).replace("{ledger}", "SELECT count(*) FROM tasker.received_results");
    let query = query.replace("{acts}", "SELECT count(*) FROM tasker.operator_actions");
    let query = query.replace("{closings}", "SELECT count(*) FROM tasker.batch_closings");
    let query = query.replace("{live}", "tasker.task_status WHERE finished_at IS NULL");
    query.replace("{workers}", "SELECT count(*) FROM tasker.worker_registrations")
}

/// Samples of a text, by name and labels without quotes.
struct Samples(Vec<(String, BTreeMap<String, String>, f64)>);

impl Samples {
    fn of(text: &str) -> Samples {
        let samples = text.lines().filter(|line| !line.starts_with('#')).map(|line| {
            let (series, value) = line.rsplit_once(' ').expect("a sample has a value");
            let (name, labels) = series.trim_end_matches('}').split_once('{').unwrap_or((series, ""));
            let labels = labels.split_terminator(',').map(|label| {
                let (key, value) = label.split_once('=').expect("a label has a value");
                (key.to_owned(), value.trim_matches('"').to_owned())
            });
            (name.to_owned(), labels.collect(), value.parse().expect("a number"))
        });
        Samples(samples.collect())
    }

    /// The sum of all series of a name, or of those with a label: `name{label=value}`.
    fn sum(&self, wanted: &str) -> i64 {
        let (name, label) = wanted.trim_end_matches('}').split_once('{').unwrap_or((wanted, ""));
        let has = |labels: &BTreeMap<String, String>| {
            label.split_once('=').is_none_or(|(key, value)| labels.get(key).is_some_and(|found| found == value))
        };
        let name = format!("tasker_{name}");
        let found: Vec<f64> =
            self.0.iter().filter(|sample| sample.0 == name && has(&sample.1)).map(|sample| sample.2).collect();
        assert!(!found.is_empty(), "no sample {wanted}");
        // Counts of a test.
        found.iter().sum::<f64>() as i64
    }

    fn names(&self) -> BTreeSet<&str> {
        self.0.iter().map(|sample| sample.0.as_str()).collect()
    }
}

fn text(stage: &Stage, extent: Extent, format: Format) -> String {
    let observer = stage.observer();
    let text = scrape(server::Stage::Ready, Some(&observer), extent, format);
    stage.database.run(text).expect("it can be written")
}

fn samples(stage: &Stage) -> Samples {
    Samples::of(&text(stage, Extent::Bounded, Format::OpenMetrics))
}

/// Compares each sample with its query.
fn agree(stage: &Stage, samples: &Samples, pairs: &[(&str, &str)]) {
    let scraped: Vec<(&str, i64)> = pairs.iter().map(|(sample, _)| (*sample, samples.sum(sample))).collect();
    let stored: Vec<(&str, i64)> =
        pairs.iter().map(|(sample, query)| (*sample, stage.database.number(&sql(query)))).collect();
    assert_eq!(scraped, stored, "scraped, and in the database");
}

/// A worker that returns, repeats, contradicts, overruns and gives way to another process of its name.
fn play_scripted_worker(stage: &mut Stage) {
    stage.register_text(SCRIPTED);
    let work = stage.work.clone();
    let mut worker = stage.database.run(WorkerPeer::connect(&work, "scripted"));
    let introduction = worker.introduction(&["scripted/three"], 3);
    stage.database.run(worker.register(introduction));
    let id = stage.submit(request("scripted/three", "{}"));
    let batch = stage.database.run(worker.receive_batch());
    let outcome = |name: &str, made: peers::Made| {
        let step = batch.steps.iter().find(|step| step.name == name).expect("all three are in the batch");
        peers::outcome(&batch, step, |_, _| made.clone())
    };
    stage.until("c has overrun its time", |stage| {
        let overrun = "SELECT count(*) FROM tasker.step_attempts_failed WHERE cause = 'timed_out'";
        (stage.database.number(overrun) > 0).then_some(())
    });
    let unknown = StepOutcome { task_id: Uuid::now_v7(), ..outcome("a", Ok("0".to_owned())) };
    let results = vec![
        outcome("a", Ok("1".to_owned())),
        outcome("a", Ok("1".to_owned())),
        outcome("a", Ok("2".to_owned())),
        outcome("c", Ok("3".to_owned())),
        unknown,
    ];
    let report = ReportPartialResult { correlation_id: Uuid::new_v4(), results };
    stage.database.run(worker.client.request(report));
    // What is left of the batch is lost with its process; another one finishes.
    let mut second = stage.database.run(WorkerPeer::connect(&work, "scripted"));
    let introduction = second.introduction(&["scripted/three"], 3);
    stage.database.run(second.register(introduction));
    let mut returned = false;
    while stage.step(id, "b").state != "complete" || stage.step(id, "c").state != "complete" {
        let batch = stage.database.run(second.receive_batch());
        if returned {
            stage.database.run(second.report(&batch, |_, _| Ok("4".to_owned())));
            stage.database.run(second.complete(&batch, CompletionStatus::Complete));
        } else {
            returned = true;
            stage.database.run(second.give_back(&batch, "not now"));
            stage.database.run(second.complete(&batch, CompletionStatus::Returned));
        }
    }
    assert_eq!(stage.ended(id).state, "complete");
}

/// What an operator does to tasks that failed, and to one that waits.
fn play_operator(stage: &mut Stage) {
    let (actor, reason) = ("ada".to_owned(), "a test".to_owned());
    let failed = stage.submit(task("backoff", "{}"));
    assert_eq!(stage.ended(failed).state, "error");
    let (correlation_id, steps) = (Uuid::nil(), Vec::new());
    stage.command(RetryTask { correlation_id, task_id: failed, steps, actor: actor.clone(), reason: reason.clone() });
    assert_eq!(stage.ended(failed).state, "error");
    for step in ["fails_always", "runs_once"] {
        let (actor, reason, step) = (actor.clone(), reason.clone(), step.to_owned());
        let result = Some(JsonText::new("1"));
        stage.command(ResolveStep { correlation_id: Uuid::nil(), task_id: failed, step, result, actor, reason });
    }
    assert_eq!(stage.ended(failed).state, "resolved_manually");
    let unserved = stage.submit(task("single", "{}"));
    stage.cancel(unserved);
    let bypassed = TaskRequest { bypass_steps: vec!["b".to_owned()], ..task("skippable", "{}") };
    let (summary, _) = stage.perform(bypassed);
    assert_eq!(summary.state, "complete");
}

#[test]
fn the_sums_are_those_of_the_database_while_work_runs_and_after_it() {
    let mut stage = Stage::open();
    for template in ["diamond", "backoff", "skippable", "single"] {
        stage.register(template);
    }
    let worker = stage.worker("one", 20, &["diamond", "backoff", "skippable"]);
    let load: Vec<TaskRequest> = (0..TASKS).map(|_| task("diamond", "{}")).collect();
    let accepted = stage.submit_all(load);
    let complete = "SELECT count(*) FROM tasker.tasks WHERE final_state = 'complete'";
    let mut before = Samples::of(&text(&stage, Extent::Bounded, Format::Prometheus));
    stage.until("the load has run", |stage| {
        let now = samples(stage);
        for (sample, query) in COUNTED {
            let (earlier, scraped) = (before.sum(sample), now.sum(sample));
            let stored = stage.database.number(&sql(query));
            assert!((earlier..=stored).contains(&scraped), "{sample}: {earlier}, then {scraped}; stored {stored}");
        }
        before = Samples(now.0);
        (stage.database.number(complete) == TASKS as i64).then_some(())
    });
    assert_eq!(accepted.len(), TASKS);
    play_operator(&mut stage);
    play_scripted_worker(&mut stage);
    stage.database.execute("SELECT tasker.submit_task('stories', 'diamond', '{}')");
    stage.until("the inbox is empty", |stage| (stage.database.number(complete) == TASKS as i64 + 3).then_some(()));
    assert!(worker.stop().success());
    // What nobody serves waits.
    stage.submit_all((0..7).map(|_| task("diamond", "{}")).collect());

    let at_last = samples(&stage);
    agree(&stage, &at_last, COUNTED);
    agree(&stage, &at_last, LIVE);
    assert_eq!(at_last.sum("inbox_rows_total{outcome=taken}"), 1);
    assert_eq!((at_last.sum("steps{state=ready}"), at_last.sum("templates_without_worker")), (7, 1));
    for something in ["operator_actions_total", "results_noted_total", "worker_registrations_ended_total"] {
        assert!(at_last.sum(something) > 0, "{something}: the test has not done what it is about");
    }
    for outcome in ["complete", "bypassed", "resolved_manually", "failed", "timed_out", "worker_lost", "returned"] {
        let sample = format!("steps_ended_total{{outcome={outcome}}}");
        assert!(at_last.sum(&sample) > 0, "{sample}: the test has not done what it is about");
    }
    // By template and by namespace it is the same.
    let detailed = Samples::of(&text(&stage, Extent::Detailed, Format::OpenMetrics));
    for what in ["tasks_created_total", "tasks_ended_total", "steps_dispatched_total", "steps_ended_total"] {
        assert_eq!(detailed.sum(&format!("template_{what}")), at_last.sum(what), "{what}");
    }
    invariants::hold_but(&stage.database, "every task has ended");
}

#[test]
fn what_a_former_broker_counted_is_not_counted_again_and_what_it_left_is_there() {
    let mut stage = Stage::open();
    stage.register("single");
    stage.submit_all((0..5).map(|_| task("single", "{}")).collect());
    assert_eq!(samples(&stage).sum("tasks_created_total"), 5);
    stage.stop();
    stage.start();
    let found = samples(&stage);
    assert_eq!((found.sum("tasks_created_total"), found.sum("lease_epoch")), (0, 2));
    agree(&stage, &found, LIVE);
    assert!((1..=15).contains(&found.sum("lease_remaining_seconds")), "a lease has ten seconds");
}

/// Runs a program on a text.
fn fed(program: &str, arguments: &[&str], text: &str) -> Output {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap_or_else(|error| panic!("{program}: {error}"));
    child.stdin.take().expect("it is piped").write_all(text.as_bytes()).expect("it reads");
    child.wait_with_output().expect("it ends")
}

fn succeeds(what: &str, output: &Output) -> String {
    let (told, complaints) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && complaints.is_empty(), "{what}: {told}\n{complaints}");
    told.into_owned()
}

/// A program that `tests/run` provides.
fn tool(variable: &str) -> String {
    std::env::var(variable).unwrap_or_else(|_| panic!("{variable} is not set; tests/run sets it"))
}

/// Reads by the strict parser and says the names of the samples.
const PARSE: &str = "
import sys
from prometheus_client.openmetrics.parser import text_string_to_metric_families
for family in text_string_to_metric_families(sys.stdin.read()):
    for sample in family.samples:
        print(sample.name)
";

#[test]
fn the_text_is_what_collectors_read_and_has_all_that_rules_and_dashboard_ask_for() {
    let mut stage = Stage::open();
    stage.register("diamond");
    let worker = stage.worker("one", 5, &["diamond"]);
    assert_eq!(stage.perform(task("diamond", "{}")).0.state, "complete");
    let (python, promtool) = (tool("TASKER_TEST_PYTHON"), tool("TASKER_TEST_PROMTOOL"));
    let mut names = BTreeSet::new();
    for extent in [Extent::Bounded, Extent::Detailed] {
        let open_metrics = text(&stage, extent, Format::OpenMetrics);
        assert!(open_metrics.ends_with("# EOF\n"));
        let parsed = succeeds("strict parser", &fed(&python, &["-c", PARSE], &open_metrics));
        let of_parser: BTreeSet<&str> = parsed.lines().collect();
        let read = Samples::of(&open_metrics);
        assert_eq!(of_parser, read.names());
        names.extend(read.names().into_iter().map(str::to_owned));
        let plain = text(&stage, extent, Format::Prometheus);
        assert!(!plain.contains("# EOF"));
        succeeds("promtool check metrics", &fed(&promtool, &["check", "metrics"], &plain));
        let in_plain: BTreeSet<String> = Samples::of(&plain).names().into_iter().map(str::to_owned).collect();
        assert!(in_plain.is_superset(&read.names().into_iter().map(str::to_owned).collect()), "the same in both");
    }
    for file in ["config/monitoring/alerts.yml", "config/monitoring/dashboard.json"] {
        let asked = read(file);
        let words = asked.split(|next: char| !next.is_alphanumeric() && next != '_');
        let asked: BTreeSet<&str> = words.filter(|word| word.starts_with("tasker_")).collect();
        assert!(asked.len() > 10, "{file}");
        let unknown: Vec<&&str> = asked.iter().filter(|name| !names.contains(**name)).collect();
        assert!(unknown.is_empty(), "{file} asks for {unknown:?}, which nothing tells");
    }
    assert!(worker.stop().success());
}

/// Every `expr` within, as Grafana would ask it.
fn expressions(of: &serde_json::Value, found: &mut Vec<String>) {
    match of {
        serde_json::Value::Object(fields) => {
            if let Some(expression) = fields.get("expr").and_then(serde_json::Value::as_str) {
                found.push(expression.replace("$__rate_interval", "5m"));
            }
            fields.values().for_each(|value| expressions(value, found));
        }
        serde_json::Value::Array(values) => values.iter().for_each(|value| expressions(value, found)),
        _ => {}
    }
}

#[test]
fn the_dashboard_asks_what_can_be_answered() {
    let promtool = tool("TASKER_TEST_PROMTOOL");
    let dashboard = serde_json::from_str(&read("config/monitoring/dashboard.json")).expect("it is JSON");
    let mut found = Vec::new();
    expressions(&dashboard, &mut found);
    assert!(found.len() > 40, "{found:?}");
    let rule = |expr| serde_json::json!({"record": "asked", "expr": expr});
    let rules: Vec<serde_json::Value> = found.into_iter().map(rule).collect();
    let folder = tempfile::tempdir().expect("there is a temporary folder");
    let file = folder.path().join("rules.json");
    let rules = serde_json::json!({"groups": [{"name": "dashboard", "rules": rules}]});
    std::fs::write(&file, rules.to_string()).expect("the folder is ours");
    let output = Command::new(promtool).args(["check", "rules", "--lint=none"]).arg(file).output();
    succeeds("promtool check rules", &output.expect("promtool is there"));
}

#[test]
fn the_rules_fire_when_they_should() {
    let promtool = tool("TASKER_TEST_PROMTOOL");
    for arguments in
        ["check rules alerts.yml", "test rules alerts_test.yml", "check config --syntax-only prometheus.yml"]
    {
        let mut command = Command::new(&promtool);
        command.args(arguments.split(' ')).current_dir(repository("config/monitoring"));
        succeeds(arguments, &command.output().expect("promtool is there"));
    }
}
