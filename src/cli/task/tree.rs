//! `tasker task tree`: what depends on what, and how far it is.

mod drawing;
mod graph;

use std::io::{self, IsTerminal};

use clap::Args;
use serde::Serialize;
use uuid::Uuid;

use self::drawing::Style;
use self::graph::Graph;
use super::report::{JsonStep, describe_task};
use crate::cli::{Exit, Failure, Global};
use crate::protocol::{TaskStatus, TaskStatusReport, TaskSummary};

#[derive(Debug, Args)]
pub(in crate::cli) struct Arguments {
    /// The task
    task: Uuid,
    /// Levels to show; what is below is counted
    #[arg(long, value_name = "N", default_value_t = 32, value_parser = clap::value_parser!(u16).range(1..=1000))]
    depth: u16,
    /// Show every step; otherwise equal ones beside each other are counted
    #[arg(long)]
    all: bool,
    /// Draw with ASCII alone
    #[arg(long)]
    ascii: bool,
}

/// The graph for programs.
#[derive(Serialize)]
struct Document<'a> {
    task: &'a TaskSummary,
    nodes: Vec<JsonStep>,
    edges: Vec<Edge<'a>>,
}

#[derive(Serialize)]
struct Edge<'a> {
    from: &'a str,
    to: &'a str,
}

impl Arguments {
    pub(super) fn run(self, global: &Global) -> Result<Exit, Failure> {
        let (task_id, include_results) = (self.task, Vec::new());
        let command = TaskStatus { correlation_id: Uuid::nil(), task_id, include_steps: true, include_results };
        let report = global.connect()?.request(command)?;
        let style = Style {
            depth: usize::from(self.depth),
            collapses: !self.all,
            is_ascii: self.ascii,
            has_color: has_color(),
        };
        let nodes = || report.steps.iter().map(JsonStep::new);
        let document = Document { task: &report.task, nodes: nodes().collect(), edges: edges(&report) };
        global.output.print_list(&document, nodes(), || {
            let graph = Graph::new(&report.steps);
            format!("{}\n{}", describe_task(&report.task), drawing::draw(&graph, style))
        })?;
        Ok(Exit::Done)
    }
}

fn edges(report: &TaskStatusReport) -> Vec<Edge<'_>> {
    let of_step = report.steps.iter().map(|step| (step, step.parents.iter()));
    of_step.flat_map(|(step, parents)| parents.map(|parent| Edge { from: parent, to: &step.name })).collect()
}

/// Only where somebody looks, and has not asked for none (<https://no-color.org>).
fn has_color() -> bool {
    let is_unwanted = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let is_dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
    io::stdout().is_terminal() && !is_unwanted && !is_dumb
}
