//! Versions of a template side by side: a task runs in exactly the one that it was created with.

use tasker_core::protocol::*;
use uuid::Uuid;

use crate::invariants;
use crate::support::{HANDLERS, RubyWorker, Serves, Stage, repository, task};

fn definition(version: &str, answer: u32) -> String {
    format!(
        "namespace_name: stories\nname: versioned\nversion: {version}\nstep_templates:\n  \
         - name: only\n    handler_class: Stories::Echo\n    handler_config: {{answer: {answer}}}\n  \
         - name: last\n    handler_class: Stories::Echo\n    depends_on_step: only\n"
    )
}

/// A worker that serves what it is told by name; the broker has the definitions.
fn worker(stage: &Stage, name: &str, template: &str) -> RubyWorker {
    RubyWorker::start(&stage.work, name, 5, &[repository(HANDLERS)], &Serves::Stored(&[template]))
}

#[test]
fn two_versions_never_mix() {
    let mut stage = Stage::open();
    stage.register_text(&definition("1.0.0", 10));
    stage.register_text(&definition("1.1.0", 11));
    let workers = [worker(&stage, "old", "stories/versioned@1.0.0"), worker(&stage, "new", "stories/versioned@1.1.0")];
    let requests = (0..40).map(|number| task(["versioned@1.0.0", "versioned@1.1.0"][number % 2], "{}")).collect();
    let tasks = stage.submit_all(requests);
    for (number, task) in tasks.iter().enumerate() {
        let (version, answer) = [("1.0.0", 10), ("1.1.0", 11)][number % 2];
        assert_eq!(task.template.as_deref(), Some(&*format!("stories/versioned@{version}")));
        let id = task.task_id.expect("accepted");
        let summary = stage.ended(id);
        assert_eq!((summary.state.as_str(), summary.version.as_str()), ("complete", version));
        let result = stage.step(id, "only").result.expect("a result");
        let expected =
            format!("{{\"version\":\"{version}\",\"step\":\"only\",\"attempt\":1,\"inputs\":{{\"answer\":{answer}}}");
        assert!(result.as_str().starts_with(&expected), "{result:?}");
    }
    workers.into_iter().for_each(|worker| assert!(worker.stop().success()));
    let served = stage.database.texts(
        "SELECT DISTINCT concat_ws(' ', registration.worker, template.version)
         FROM tasker.step_outcomes AS outcome
         JOIN tasker.tasks AS task USING (task_id)
         JOIN tasker.task_templates AS template USING (template_id)
         JOIN tasker.worker_registrations AS registration USING (registration_id) ORDER BY 1",
    );
    assert_eq!(served, ["new 1.1.0", "old 1.0.0"]);
    invariants::hold(&stage.database);
}

#[test]
fn no_version_means_the_highest_by_semantic_order() {
    let mut stage = Stage::open();
    // As text, 1.9.0 would be the highest; a pre-release is lower than its release.
    for (version, answer) in [("1.10.0", 1), ("1.9.0", 2), ("1.10.0-rc.1", 3), ("1.2.0", 4)] {
        assert!(stage.register_text(&definition(version, answer)).created);
    }
    let worker = worker(&stage, "all", "stories/versioned");
    let (summary, _) = stage.perform(task("versioned", "{}"));
    assert_eq!((summary.state.as_str(), summary.version.as_str()), ("complete", "1.10.0"));
    // Also for a broker that has read them from the database.
    stage.stop();
    stage.start();
    let (summary, _) = stage.perform(task("versioned", "{}"));
    assert_eq!(summary.version, "1.10.0");

    // The same definition again changes nothing; another one under the same version is refused.
    assert!(!stage.register_text(&definition("1.9.0", 2)).created);
    let yaml = definition("1.9.0", 5);
    let refusal = stage.refusal(RegisterTemplate { correlation_id: Uuid::nil(), yaml, source: None });
    assert_eq!(refusal.code.as_str(), "template_conflict");
    assert!(worker.stop().success());
    invariants::hold(&stage.database);
}

#[test]
fn a_version_stays_as_it_was_compiled_when_the_broker_changes_its_environment() {
    let mut stage = Stage::with(|config| "staging".clone_into(&mut config.broker.environment));
    let overrides = "environments:\n  staging:\n    step_overrides:\n      only: {handler_config: {answer: 7}}\n";
    stage.register_text(&format!("{}{overrides}", definition("1.0.0", 1)));
    stage.stop();
    stage.start_with(|config| "production".clone_into(&mut config.broker.environment));
    let worker = worker(&stage, "one", "stories/versioned");
    let id = stage.submit(task("versioned", "{}"));
    assert_eq!(stage.ended(id).state, "complete");
    let result = stage.step(id, "only").result.expect("a result");
    assert!(result.as_str().contains("\"inputs\":{\"answer\":7}"), "{result:?}");
    assert!(worker.stop().success());
}
