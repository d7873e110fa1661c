//! What a worker reports of a batch, put together with its closing report: lost, doubled, late, contradicting. A scripted
//! worker over a second implementation of the transport says it, and the rows in Postgres tell what came of it.

use tasker_core::protocol::*;
use uuid::Uuid;

use crate::invariants;
use crate::peers::{self, WorkerPeer};
use crate::support::{Stage, request};

use CompletionStatus::{Complete, Error, Returned};
use Disposition::{Accepted, Contradicting, Duplicate, Late, Unknown};

/// Three steps at once, so that they are one batch; each may be tried twice.
const TEMPLATE: &str = "
namespace_name: reconciliation
name: three
version: 1.0.0
step_templates:
  - {name: a, handler_class: H, default_retry_limit: 2}
  - {name: b, handler_class: H, default_retry_limit: 2}
  - {name: c, handler_class: H, default_retry_limit: 2}
";
const KEY: &str = "reconciliation/three";

/// A worker that holds one batch with the three steps of one task.
struct Scene {
    worker: WorkerPeer,
    batch: ExecuteBatch,
    task: Uuid,
    stage: Stage,
}

impl Scene {
    fn open() -> Scene {
        let mut stage = Stage::open();
        stage.register_text(TEMPLATE);
        let work = stage.work.clone();
        let mut worker = stage.database.run(WorkerPeer::connect(&work, "scripted"));
        let introduction = worker.introduction(&[KEY], 3);
        stage.database.run(worker.register(introduction));
        let task = stage.submit(request(KEY, "{}"));
        let batch = stage.database.run(worker.receive_batch());
        assert_eq!(batch.steps.len(), 3, "all three steps are one batch");
        Scene { worker, batch, task, stage }
    }

    fn outcome(&self, step: &str, made: peers::Made) -> StepOutcome {
        let step = self.batch.steps.iter().find(|candidate| candidate.name == step).expect("a step of the batch");
        peers::outcome(&self.batch, step, |_, _| made.clone())
    }

    /// A step's outcome with this result.
    fn done(&self, step: &str, result: &str) -> StepOutcome {
        self.outcome(step, Ok(result.to_owned()))
    }

    fn failed(&self, step: &str, retry_after: Option<&str>) -> StepOutcome {
        let mut failure = peers::failure("E", "as asked", retry_after.is_some());
        failure.retry_after = retry_after.map(str::to_owned);
        self.outcome(step, Err(Box::new(failure)))
    }

    fn ask(&mut self, command: impl Into<Message>) -> Message {
        self.stage.database.run(self.worker.client.request(command))
    }

    /// Reports outcomes in one message; the disposition of each, and whether the batch was closed with that.
    fn report(&mut self, results: Vec<StepOutcome>) -> (Vec<Disposition>, bool) {
        let named: Vec<String> = results.iter().map(|outcome| outcome.step.clone()).collect();
        match self.ask(ReportPartialResult { correlation_id: Uuid::new_v4(), results }) {
            Message::ResultsAccepted(accepted) => {
                let answered: Vec<String> = accepted.results.iter().map(|entry| entry.step.clone()).collect();
                assert_eq!(answered, named, "one entry an outcome, in the order of the report");
                let closed = accepted.closed_batches.contains(&self.batch.batch_id);
                (accepted.results.iter().map(|entry| entry.disposition).collect(), closed)
            }
            other => panic!("reported: {other:?}"),
        }
    }

    /// What the worker says of the batch at its end: a line for each of these steps.
    fn completion(&self, lines: &[(&str, CompletionStatus)]) -> ReportBatchCompletion {
        let line = |&(step, status): &(&str, CompletionStatus)| CompletedStep {
            task_id: self.task,
            step: step.to_owned(),
            attempt: 1,
            status,
        };
        let (correlation_id, batch_id) = (Uuid::new_v4(), self.batch.batch_id);
        ReportBatchCompletion { correlation_id, batch_id, steps: lines.iter().map(line).collect() }
    }

    /// Sends a completion that closes the batch.
    fn closes(&mut self, completion: ReportBatchCompletion) {
        match self.ask(completion.clone()) {
            Message::ResultsAccepted(accepted) => {
                assert_eq!((accepted.results, accepted.closed_batches), (Vec::new(), vec![completion.batch_id]));
            }
            other => panic!("not closed: {other:?}"),
        }
    }

    /// Sends a completion that names results which the broker does not have; those.
    fn misses(&mut self, completion: ReportBatchCompletion) -> Vec<String> {
        match self.ask(completion) {
            Message::ResultsMissing(missing) => {
                assert_eq!(missing.batch_id, self.batch.batch_id);
                assert!(missing.steps.iter().all(|at| at.batch_id == missing.batch_id && at.attempt == 1));
                missing.steps.into_iter().map(|at| at.step).collect()
            }
            other => panic!("nothing is missed: {other:?}"),
        }
    }

    /// `step attempt result` of each accepted success.
    fn outcomes(&self) -> Vec<String> {
        self.stage.database.texts(
            "SELECT concat_ws(' ', step.name, outcome.attempt, outcome.result) FROM tasker.step_outcomes AS outcome
             JOIN tasker.steps AS step USING (task_id, step_number) ORDER BY step_number",
        )
    }

    /// `step attempt disposition status payload` of everything that was not simply accepted, in order.
    fn ledger(&self) -> Vec<String> {
        self.stage.database.texts(
            "SELECT concat_ws(' ', step, attempt, disposition, status, payload) FROM tasker.received_results
             ORDER BY received_at, seq, disposition",
        )
    }

    /// State of the batch's closing with the differences, `step/attempt: completion, recorded`.
    fn closing(&self) -> String {
        self.stage.database.text(&format!(
            "SELECT concat_ws('; ', state, (
                 SELECT string_agg(concat(entry->>'step', '/', entry->>'attempt', ': ', entry->>'completion', ', ',
                                          entry->>'recorded'), '; ' ORDER BY entry->>'step', entry->>'attempt')
                 FROM json_array_elements(differences) AS entry))
             FROM tasker.batch_closings WHERE batch_id = '{}'",
            self.batch.batch_id
        ))
    }

    fn is_open(&self) -> bool {
        let sql = format!("SELECT count(*) FROM tasker.batch_closings WHERE batch_id = '{}'", self.batch.batch_id);
        self.stage.database.number(&sql) == 0
    }

    /// Attempts that failed or came back: `step attempt`.
    fn rows(&self, table: &str) -> Vec<String> {
        self.stage.database.texts(&format!(
            "SELECT concat_ws(' ', step.name, attempt) FROM tasker.{table}
             JOIN tasker.steps AS step USING (task_id, step_number) ORDER BY step_number, attempt"
        ))
    }

    /// Looks whether the task is complete with these three results, each of attempt 1.
    fn is_complete_with(&mut self, results: [&str; 3]) {
        assert_eq!(self.stage.ended(self.task).state, "complete");
        let expected: Vec<String> =
            ["a", "b", "c"].iter().zip(results).map(|(step, result)| format!("{step} 1 {result}")).collect();
        assert_eq!(self.outcomes(), expected);
        assert_eq!((self.rows("step_attempts_failed"), self.rows("step_returns")), (Vec::new(), Vec::new()));
    }
}

#[test]
fn lost_results_are_asked_for_and_the_batch_closes_with_the_last_of_them() {
    let mut scene = Scene::open();
    assert_eq!(scene.report(vec![scene.done("a", "1")]), (vec![Accepted], false));
    let all = scene.completion(&[("a", Complete), ("b", Complete), ("c", Complete)]);
    assert_eq!(scene.misses(all), ["b", "c"]);
    assert!(scene.is_open());
    assert_eq!(scene.report(vec![scene.done("c", "3")]), (vec![Accepted], false));
    assert_eq!(scene.report(vec![scene.done("b", "2")]), (vec![Accepted], true));
    scene.is_complete_with(["1", "2", "3"]);
    assert_eq!((scene.closing().as_str(), scene.ledger()), ("completed", Vec::new()));
    invariants::hold(&scene.stage.database);
}

#[test]
fn doubled_results_are_recorded_once_and_told_apart() {
    let mut scene = Scene::open();
    let (a, b) = (scene.done("a", "1"), scene.done("b", "2"));
    // In one message, the same message again, and among others.
    assert_eq!(scene.report(vec![a.clone(), a.clone()]), (vec![Accepted, Duplicate], false));
    let twice = ReportPartialResult { correlation_id: Uuid::new_v4(), results: vec![b.clone()] };
    for expected in [Accepted, Duplicate] {
        match scene.ask(twice.clone()) {
            Message::ResultsAccepted(accepted) => assert_eq!(accepted.results[0].disposition, expected),
            other => panic!("reported: {other:?}"),
        }
    }
    assert_eq!(scene.report(vec![b, scene.done("c", "3"), a]), (vec![Duplicate, Accepted, Duplicate], false));
    scene.closes(scene.completion(&[("a", Complete), ("b", Complete), ("c", Complete)]));
    scene.is_complete_with(["1", "2", "3"]);
    let mut ledger = scene.ledger();
    ledger.sort();
    let (a, b) = ("a 1 duplicate complete 1", "b 1 duplicate complete 2");
    assert_eq!(ledger, [a, a, b, b]);
    invariants::hold(&scene.stage.database);
}

#[test]
fn all_results_may_come_after_the_completion() {
    let mut scene = Scene::open();
    let all = [("a", Complete), ("b", Complete), ("c", Complete)];
    assert_eq!(scene.misses(scene.completion(&all)), ["a", "b", "c"]);
    // A completion that comes again, while its results are on the way, is no other.
    assert_eq!(scene.misses(scene.completion(&all)), ["a", "b", "c"]);
    let results = vec![scene.done("a", "1"), scene.done("b", "2"), scene.done("c", "3")];
    assert_eq!(scene.report(results.clone()), (vec![Accepted, Accepted, Accepted], true));
    scene.is_complete_with(["1", "2", "3"]);
    assert_eq!((scene.closing().as_str(), scene.ledger()), ("completed", Vec::new()));
    // Once more, when batch and task are closed: the store knows what was accepted.
    assert_eq!(scene.report(results), (vec![Duplicate, Duplicate, Duplicate], false));
    assert_eq!(scene.report(vec![scene.done("b", "7")]), (vec![Contradicting], false));
    assert_eq!(scene.ledger().last().map(String::as_str), Some("b 1 contradicting complete 7"));
    scene.is_complete_with(["1", "2", "3"]);
    invariants::hold(&scene.stage.database);
}

#[test]
fn the_first_result_of_an_attempt_stands_whatever_follows() {
    let mut scene = Scene::open();
    assert_eq!(scene.report(vec![scene.done("a", "1")]), (vec![Accepted], false));
    assert_eq!(scene.report(vec![scene.done("a", "2")]), (vec![Contradicting], false));
    assert_eq!(scene.report(vec![scene.failed("a", Some("0"))]), (vec![Contradicting], false));
    let rest = vec![scene.done("b", "2"), scene.done("c", "3")];
    assert_eq!(scene.report(rest), (vec![Accepted, Accepted], false));
    scene.closes(scene.completion(&[("a", Complete), ("b", Complete), ("c", Complete)]));
    scene.is_complete_with(["1", "2", "3"]);
    assert_eq!(scene.ledger(), ["a 1 contradicting complete 2", "a 1 contradicting error as asked"]);
    invariants::hold(&scene.stage.database);
}

#[test]
fn a_completion_that_contradicts_the_results_is_recorded_and_changes_nothing() {
    let mut scene = Scene::open();
    let results = vec![scene.done("a", "1"), scene.done("b", "2"), scene.done("c", "3")];
    assert_eq!(scene.report(results), (vec![Accepted, Accepted, Accepted], false));
    scene.closes(scene.completion(&[("a", Error), ("b", Returned), ("c", Complete)]));
    scene.is_complete_with(["1", "2", "3"]);
    assert_eq!(scene.closing(), "completed; a/1: error, complete; b/1: returned, complete");
    assert_eq!(scene.ledger(), Vec::<String>::new());
    invariants::hold_but(&scene.stage.database, invariants::CLOSINGS_AGREE);
}

#[test]
fn results_that_contradict_an_earlier_completion_are_recorded_and_count() {
    let mut scene = Scene::open();
    let early = scene.completion(&[("a", Error), ("b", Complete), ("c", Complete)]);
    assert_eq!(scene.misses(early), ["a", "b", "c"]);
    let results = vec![scene.done("a", "1"), scene.done("b", "2"), scene.done("c", "3")];
    assert_eq!(scene.report(results), (vec![Accepted, Accepted, Accepted], true));
    scene.is_complete_with(["1", "2", "3"]);
    assert_eq!(scene.closing(), "completed; a/1: error, complete");
    invariants::hold_but(&scene.stage.database, invariants::CLOSINGS_AGREE);
}

#[test]
fn a_completion_that_leaves_steps_out_is_recorded_and_does_not_close_over_missing_results() {
    let mut scene = Scene::open();
    let results = vec![scene.done("a", "1"), scene.done("b", "2")];
    assert_eq!(scene.report(results), (vec![Accepted, Accepted], false));
    assert_eq!(scene.misses(scene.completion(&[("a", Complete)])), ["c"]);
    assert!(scene.is_open());
    assert_eq!(scene.report(vec![scene.done("c", "3")]), (vec![Accepted], true));
    scene.is_complete_with(["1", "2", "3"]);
    assert_eq!(scene.closing(), "completed; b/1: absent, complete; c/1: absent, complete");
    invariants::hold_but(&scene.stage.database, invariants::CLOSINGS_AGREE);
}

#[test]
fn a_completion_that_names_what_is_not_in_the_batch_is_recorded() {
    let mut scene = Scene::open();
    let results = vec![scene.done("a", "1"), scene.done("b", "2"), scene.done("c", "3")];
    assert_eq!(scene.report(results), (vec![Accepted, Accepted, Accepted], false));
    let mut completion =
        scene.completion(&[("a", Complete), ("b", Complete), ("c", Complete), ("x", Complete), ("a", Returned)]);
    // The last line is another attempt, which nobody has made.
    completion.steps[4].attempt = 7;
    scene.closes(completion);
    scene.is_complete_with(["1", "2", "3"]);
    assert_eq!(scene.closing(), "completed; a/7: returned, not_in_batch; x/1: complete, not_in_batch");
    // Results for them change nothing either.
    let mut strange = vec![scene.done("a", "9"), scene.done("a", "9"), scene.done("a", "9")];
    strange[0].step = "x".to_owned();
    strange[1].attempt = 7;
    strange[2].task_id = Uuid::now_v7();
    assert_eq!(scene.report(strange), (vec![Unknown, Unknown, Unknown], false));
    scene.is_complete_with(["1", "2", "3"]);
    invariants::hold_but(&scene.stage.database, invariants::CLOSINGS_AGREE);
}

#[test]
fn a_completion_that_comes_twice_or_for_a_batch_that_never_was_closes_nothing_more() {
    let mut scene = Scene::open();
    let results = vec![scene.done("a", "1"), scene.done("b", "2"), scene.done("c", "3")];
    assert_eq!(scene.report(results), (vec![Accepted, Accepted, Accepted], false));
    let completion = scene.completion(&[("a", Complete), ("b", Complete), ("c", Complete)]);
    scene.closes(completion.clone());
    // The second one disagrees: the first stands.
    let mut again = completion;
    again.steps[0].status = Error;
    scene.closes(again.clone());
    again.batch_id = Uuid::now_v7();
    scene.closes(again);
    scene.is_complete_with(["1", "2", "3"]);
    assert_eq!(scene.closing(), "completed");
    assert_eq!(scene.stage.database.number("SELECT count(*) FROM tasker.batch_closings"), 1);
    invariants::hold(&scene.stage.database);
}

#[test]
fn a_completion_that_was_lost_is_sent_again_after_a_reconnect() {
    let mut scene = Scene::open();
    let results = vec![scene.done("a", "1"), scene.done("b", "2"), scene.done("c", "3")];
    assert_eq!(scene.report(results.clone()), (vec![Accepted, Accepted, Accepted], false));
    scene.is_complete_with(["1", "2", "3"]);
    assert!(scene.is_open(), "a batch is open until its worker has closed its side");
    // The acknowledgement was lost as well: the results come with the registration.
    let mut introduction = scene.worker.introduction(&[KEY], 3);
    introduction.open_batches = vec![scene.batch.batch_id];
    introduction.unacknowledged = results;
    let registered = scene.stage.database.run(scene.worker.register(introduction));
    assert_eq!(registered.closed_batches, Vec::<Uuid>::new());
    scene.closes(scene.completion(&[("a", Complete), ("b", Complete), ("c", Complete)]));
    scene.is_complete_with(["1", "2", "3"]);
    assert_eq!(scene.closing(), "completed");
    let mut ledger = scene.ledger();
    ledger.sort();
    assert_eq!(ledger, ["a 1 duplicate complete 1", "b 1 duplicate complete 2", "c 1 duplicate complete 3"]);
    invariants::hold(&scene.stage.database);
}

#[test]
fn results_and_completion_that_were_lost_with_a_broker_count_for_the_next_one() {
    let mut scene = Scene::open();
    assert_eq!(scene.report(vec![scene.done("a", "1")]), (vec![Accepted], false));
    scene.stage.stop();
    scene.stage.start();
    let work = scene.stage.work.clone();
    scene.worker.client = scene.stage.database.run(peers::Client::connect(&work));
    let mut introduction = scene.worker.introduction(&[KEY], 3);
    introduction.open_batches = vec![scene.batch.batch_id];
    introduction.unacknowledged = vec![scene.done("a", "1"), scene.done("b", "2")];
    scene.stage.database.run(scene.worker.register(introduction));
    let all = scene.completion(&[("a", Complete), ("b", Complete), ("c", Complete)]);
    assert_eq!(scene.misses(all), ["c"]);
    assert_eq!(scene.report(vec![scene.done("c", "3")]), (vec![Accepted], true));
    scene.is_complete_with(["1", "2", "3"]);
    assert_eq!((scene.closing().as_str(), scene.ledger()), ("completed", vec!["a 1 duplicate complete 1".to_owned()]));
    invariants::hold(&scene.stage.database);
}

#[test]
fn a_completion_that_names_an_open_step_as_returned_gives_it_back_without_using_an_attempt() {
    let mut scene = Scene::open();
    let results = vec![scene.done("a", "1"), scene.done("b", "2")];
    assert_eq!(scene.report(results), (vec![Accepted, Accepted], false));
    scene.closes(scene.completion(&[("a", Complete), ("b", Complete), ("c", Returned)]));
    assert_eq!((scene.closing().as_str(), scene.rows("step_returns")), ("completed", vec!["c 1".to_owned()]));
    let first = std::mem::replace(&mut scene.batch, scene.stage.database.run(scene.worker.receive_batch()));
    let names: Vec<(&str, u32)> = scene.batch.steps.iter().map(|step| (step.name.as_str(), step.attempt)).collect();
    assert_eq!(names, [("c", 1)]);
    // What the first batch still says of it is late; only the second one counts.
    let late = peers::outcome(&first, first.steps.last().expect("three steps"), |_, _| Ok("9".to_owned()));
    assert_eq!(late.step, "c");
    assert_eq!(scene.report(vec![late]), (vec![Late], false));
    assert_eq!(scene.report(vec![scene.done("c", "3")]), (vec![Accepted], false));
    scene.closes(scene.completion(&[("c", Complete)]));
    assert_eq!(scene.stage.ended(scene.task).state, "complete");
    assert_eq!(scene.outcomes(), ["a 1 1", "b 1 2", "c 1 3"]);
    assert_eq!(scene.ledger(), ["c 1 late complete 9"]);
    invariants::hold(&scene.stage.database);
}

#[test]
fn a_failed_attempt_stays_failed_when_its_success_is_claimed_later() {
    let mut scene = Scene::open();
    let results = vec![scene.failed("a", Some("0")), scene.done("b", "2"), scene.done("c", "3")];
    assert_eq!(scene.report(results), (vec![Accepted, Accepted, Accepted], false));
    let first = std::mem::replace(&mut scene.batch, scene.stage.database.run(scene.worker.receive_batch()));
    assert_eq!((scene.batch.steps[0].name.as_str(), scene.batch.steps[0].attempt), ("a", 2));
    let step = first.steps.iter().find(|step| step.name == "a").expect("a step of the batch");
    let claimed = peers::outcome(&first, step, |_, _| Ok("9".to_owned()));
    assert_eq!(scene.report(vec![claimed.clone()]), (vec![Contradicting], false));
    let second = std::mem::replace(&mut scene.batch, first);
    scene.closes(scene.completion(&[("a", Error), ("b", Complete), ("c", Complete)]));
    assert_eq!(scene.closing(), "completed");
    scene.batch = second;
    // With its batch closed, the attempt is simply over.
    assert_eq!(scene.report(vec![claimed]), (vec![Late], false));
    assert_eq!(scene.report(vec![scene.done("a", "1")]), (vec![Accepted], false));
    let mut completion = scene.completion(&[("a", Complete)]);
    completion.steps[0].attempt = 2;
    scene.closes(completion);
    assert_eq!(scene.stage.ended(scene.task).state, "complete");
    assert_eq!(scene.outcomes(), ["a 2 1", "b 1 2", "c 1 3"]);
    assert_eq!(scene.rows("step_attempts_failed"), ["a 1"]);
    assert_eq!(scene.ledger(), ["a 1 contradicting complete 9", "a 1 late complete 9"]);
    invariants::hold(&scene.stage.database);
}
