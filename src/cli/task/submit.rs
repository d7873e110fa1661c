//! `tasker task submit`

use std::time::Duration;

use clap::Args;
use serde::Serialize;
use uuid::Uuid;

use super::{wait, watch};
use crate::cli::input::{TemplateReference, read_json};
use crate::cli::output::note;
use crate::cli::time::{parse_duration, parse_when};
use crate::cli::{Exit, Failure, Global};
use crate::protocol::{InitializeTask, JsonText, TaskInitialized, TaskRequest, TaskSummary};

#[derive(Debug, Args)]
pub(in crate::cli) struct Arguments {
    /// The template: NAMESPACE/NAME for its highest version, NAMESPACE/NAME@VERSION for exactly that one
    template: TemplateReference,
    /// The task's context, a JSON object: JSON, a file, or - for standard input [default: {}]
    #[arg(long, value_name = "FILE|-|JSON")]
    context: Option<String>,
    /// Idempotency key: a second submission with the same key returns the first task
    #[arg(long, value_name = "KEY")]
    key: Option<String>,
    /// Higher goes first
    #[arg(long, default_value_t = 0, allow_negative_numbers = true)]
    priority: i32,
    /// A label; may be repeated
    #[arg(long = "tag", value_name = "TAG")]
    tags: Vec<String>,
    /// A skippable step to skip; may be repeated
    #[arg(long = "bypass", value_name = "STEP")]
    bypass_steps: Vec<String>,
    /// Not before this time: 2026-01-31T08:00:00Z, or +30s from now
    #[arg(long = "run-at", value_name = "TIME", value_parser = parse_when)]
    run_at_ms: Option<i64>,
    /// Who asks
    #[arg(long)]
    initiator: Option<String>,
    /// Which system asks
    #[arg(long, value_name = "NAME")]
    source_system: Option<String>,
    /// Why
    #[arg(long)]
    reason: Option<String>,
    /// Your own id for the business process, handed to every step
    #[arg(long, value_name = "ID")]
    correlation_id: Option<String>,
    /// Options of the task, a JSON object: JSON, a file, or - for standard input
    #[arg(long, value_name = "FILE|-|JSON")]
    options: Option<String>,
    /// W3C Trace Context, handed to every step
    #[arg(long, value_name = "TEXT")]
    traceparent: Option<String>,
    /// What came with it
    #[arg(long, value_name = "TEXT", requires = "traceparent")]
    tracestate: Option<String>,
    /// Wait until the task has ended; the exit code tells how
    #[arg(long)]
    wait: bool,
    /// With --wait: at most this long [default: for ever]
    #[arg(long = "for", value_name = "DURATION", value_parser = parse_duration, requires = "wait")]
    limit: Option<Duration>,
    /// Follow the task live until it has ended; the exit code tells how
    #[arg(long, conflicts_with = "wait")]
    watch: bool,
}

/// The reply, and the task as it ended.
#[derive(Serialize)]
struct Submitted<'a> {
    #[serde(flatten)]
    reply: &'a TaskInitialized,
    #[serde(skip_serializing_if = "Option::is_none")]
    task: Option<&'a TaskSummary>,
}

impl Arguments {
    pub(super) fn run(self, global: &Global) -> Result<Exit, Failure> {
        let (waits, watches, limit) = (self.wait, self.watch, self.limit);
        let command = InitializeTask { correlation_id: Uuid::nil(), tasks: vec![self.request()?] };
        let mut client = global.connect()?;
        let reply = client.request(command)?.tasks.into_iter().next();
        let reply = reply.ok_or_else(|| Failure::new(Exit::Unreachable, "the broker's reply names no task"))?;
        let task_id = match (&reply.error, reply.task_id) {
            (Some(refusal), _) => return Err(Failure::refused(refusal)),
            (None, Some(task_id)) => task_id,
            (None, None) => return Err(Failure::new(Exit::Unreachable, "the broker's reply names no task")),
        };
        if reply.duplicate {
            note("this key was used before; the task is the one submitted then");
        }
        if global.output.is_for_programs() && (waits || watches) {
            // One document for the whole command: it comes when the task has ended.
            note(&format!("task {task_id}"));
        } else {
            global.output.print(&Submitted { reply: &reply, task: None }, || format!("{task_id}\n"))?;
        }
        if watches {
            return watch::follow(global, &mut client, task_id);
        }
        if !waits {
            return Ok(Exit::Done);
        }
        let waited = client.wait_for_task(task_id, limit)?;
        global.output.print(&Submitted { reply: &reply, task: Some(&waited.task) }, || {
            note(&format!("{}: {}", waited.task.state, super::report::count(&waited.task.counts)));
            String::new()
        })?;
        Ok(wait::end(&waited))
    }

    fn request(self) -> Result<TaskRequest, Failure> {
        Ok(TaskRequest {
            namespace: self.template.namespace,
            name: self.template.name,
            version: self.template.version,
            context: object("--context", self.context.as_deref())?.unwrap_or_default(),
            idempotency_key: self.key,
            priority: self.priority,
            initiator: self.initiator,
            source_system: self.source_system,
            reason: self.reason,
            tags: self.tags,
            bypass_steps: self.bypass_steps,
            run_at_ms: self.run_at_ms,
            correlation_id: self.correlation_id,
            options: object("--options", self.options.as_deref())?,
            traceparent: self.traceparent,
            tracestate: self.tracestate,
        })
    }
}

fn object(option: &str, argument: Option<&str>) -> Result<Option<JsonText>, Failure> {
    let Some(argument) = argument else { return Ok(None) };
    let json = read_json(argument)?;
    match json.is_object() {
        true => Ok(Some(json)),
        false => Err(Failure::usage(format!("{option} must be a JSON object"))),
    }
}
