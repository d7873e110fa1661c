//! A broker without sockets and disk: the engine, a clock that is moved by hand, and the in-memory store. Each commit is
//! a group as the server makes it; after each, what the engine says of every live task must be what the store holds.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use tasker_engine::*;
use uuid::Uuid;

use crate::count;
use crate::store::Store;

/// Midday of a day in 2026, so that wall and monotonic clock cannot be taken for each other.
const START_WALL_MS: i64 = 1_770_000_000_000;

pub struct World {
    pub config: Config,
    pub engine: Engine,
    pub store: Store,
    pub now: Now,
    effects: Effects,
    /// The events of the group in the making.
    gathered: Vec<Event>,
    /// Questions to the store that are not answered yet; see `answer_reads`.
    pub reads: Vec<Read>,
    recoveries: u64,
    correlations: u64,
    /// Of all groups so far.
    pub marks: Vec<Mark>,
    pub spans: Vec<Span>,
    /// Compares every live task with the store after each commit; costs time in the square of the steps.
    pub compare: bool,
}

/// What one commit let out.
#[derive(Debug, Default)]
pub struct Released {
    pub saves: Vec<Save>,
    pub deliveries: Vec<Deliver>,
}

impl World {
    pub fn new(config: Config) -> World {
        let now = Now { mono: Mono(1_000), wall: Wall(START_WALL_MS) };
        let config = Config { spans: true, ..config };
        World {
            engine: Engine::new(config.clone(), [7, 11]),
            store: Store::new(config.clone()),
            config,
            now,
            effects: Effects::default(),
            gathered: Vec::new(),
            reads: Vec::new(),
            recoveries: 0,
            correlations: 0,
            marks: Vec::new(),
            spans: Vec::new(),
            compare: true,
        }
    }

    pub fn origin(&mut self, peer: PeerId) -> Origin {
        self.correlations += 1;
        Origin { peer, correlation: Uuid::from_u128(self.correlations.into()) }
    }

    pub fn pass(&mut self, ms: u64) {
        self.now.mono = self.now.mono + ms;
        self.now.wall.0 += i64::try_from(ms).expect("a short time");
    }

    /// The broker stands still: time passes, and nobody is heard.
    pub fn stall(&mut self, ms: u64) {
        self.pass(ms);
        self.engine.excuse(self.now, ms);
    }

    /// Takes an event into the group in the making.
    pub fn handle(&mut self, event: Event) {
        let (saves, saves_nothing) = (self.effects.saves.len(), matches!(event, Event::StepProgressed { .. }));
        self.gathered.push(event.clone());
        self.engine.handle(self.now, event, &mut self.effects);
        assert!(!saves_nothing || self.effects.saves.len() == saves, "how far a step is, is not saved");
    }

    /// Commits the group in the making. Questions to the store wait in `reads`.
    pub fn commit(&mut self) -> Released {
        self.engine.pass_deadlines(self.now, &mut self.effects);
        self.engine.plan(self.now, &mut self.effects);
        let effects = std::mem::take(&mut self.effects);
        self.gathered.clear();
        count::marks_tell_of_the_rows(&effects.marks, &effects.saves);
        if self.config.spans {
            count::spans_tell_of_the_rows(&effects.spans, &effects.saves);
        } else {
            assert!(effects.spans.is_empty(), "nobody asked for {:?}", effects.spans);
        }
        self.store.commit(self.now, effects.saves.clone());
        let mut deliveries = Vec::new();
        for delivery in effects.deliveries {
            match delivery {
                Deliver::Read(read) => self.reads.push(read),
                Deliver::Worker { message: WorkerMessage::Execute(ref dispatch), .. } => {
                    assert_once(dispatch);
                    deliveries.push(delivery);
                }
                Deliver::Reply { .. } | Deliver::Worker { .. } | Deliver::Publish(_) | Deliver::InboxLater { .. } => {
                    deliveries.push(delivery);
                }
            }
        }
        if self.compare {
            self.engine_agrees_with_store();
        }
        self.marks.extend(effects.marks);
        self.spans.extend(effects.spans);
        Released { saves: effects.saves, deliveries }
    }

    /// Lets the store answer; what it answers to clients itself is returned.
    pub fn answer_reads(&mut self) -> Vec<Read> {
        let mut direct = Vec::new();
        for read in std::mem::take(&mut self.reads) {
            match read {
                Read::IdempotencyKeys { submission, keys } => {
                    let found = keys.into_iter().map(|key| {
                        let id = *self.store.keys.get(&key)?;
                        Some((id, self.store.tasks[&id].new.template.key.clone()))
                    });
                    let found = found.collect();
                    self.handle(Event::KeysLookedUp { submission, found });
                }
                Read::Task { to, operation, asked } => {
                    let task = self.store.task_snapshot(self.now, operation.task).map(Box::new);
                    self.handle(Event::TaskLoaded { origin: to, operation, asked, task });
                }
                Read::EndedTasks { reports } => {
                    let tasks = reports.tasks().into_iter();
                    let tasks = tasks.filter_map(|task| self.store.task_snapshot(self.now, task)).collect();
                    self.handle(Event::EndedTasksLoaded { reports, tasks });
                }
                Read::Status { .. } | Read::Explanation { .. } | Read::Waited { .. } | Read::Tried { .. } => {
                    direct.push(read);
                }
            }
        }
        direct
    }

    /// The database refuses the group in the making: another engine takes over and handles its events one by one.
    pub fn refuse(&mut self) -> Vec<Released> {
        let events = std::mem::take(&mut self.gathered);
        let undecided: BTreeSet<Origin> = events.iter().filter_map(Event::origin).collect();
        self.effects = Effects::default();
        self.recoveries += 1;
        let (snapshot, seed) = (self.store.snapshot(self.now), [7 + self.recoveries, 11]);
        // No two engines decide in one millisecond; ids would not be in order of time.
        self.now.wall.0 += 1;
        let mut engine = Engine::recover(self.config.clone(), seed, self.now, snapshot, &mut self.effects);
        engine.succeed(self.now, &self.engine, &undecided, &mut self.effects);
        self.engine = engine;
        let one_by_one = events.into_iter().map(|event| {
            self.handle(event);
            self.commit()
        });
        one_by_one.collect()
    }

    /// Loses the process and the group in the making, and starts again from the store.
    pub fn crash(&mut self) {
        self.effects = Effects::default();
        self.gathered.clear();
        self.reads.clear();
        self.recoveries += 1;
        // Another process has another monotonic clock.
        let stored_now = self.now;
        // No process starts in the millisecond in which another ended; ids would not be in order of time.
        self.now.wall.0 += 1;
        let shift = 1_000_000 * self.recoveries;
        let snapshot = self.store.snapshot(stored_now);
        self.store.shift_clock(shift);
        self.now.mono = self.now.mono + shift;
        let seed = [7 + self.recoveries, 11];
        self.engine = Engine::recover(self.config.clone(), seed, self.now, snapshot, &mut self.effects);
    }

    /// What the engine reports of a live task.
    pub fn report(&mut self, task: TaskId) -> Option<TaskReport> {
        let query = StatusQuery { task, include_steps: true, include_results: Vec::new() };
        let origin = Origin { peer: PeerId(0), correlation: Uuid::nil() };
        let mut out = Effects::default();
        self.engine.handle(self.now, Event::StatusAsked { origin, query }, &mut out);
        assert!(out.saves.is_empty(), "a question changes nothing");
        match out.deliveries.pop() {
            Some(Deliver::Reply { reply: Reply::Status(report), .. }) => Some(*report),
            Some(Deliver::Read(Read::Status { .. })) => None,
            other => panic!("status gave {other:?}"),
        }
    }

    fn engine_agrees_with_store(&mut self) {
        let live: Vec<TaskId> = self.store.live.iter().copied().collect();
        let (mut unfinished, mut reports) = (0, Vec::new());
        for &id in &live {
            let report = self.report(id).unwrap_or_else(|| panic!("{id:?} is unfinished in the store only"));
            let stored = &self.store.tasks[&id];
            for (line, step) in report.steps.iter().zip(&stored.steps) {
                let engine = (line.state, line.attempts, line.retry_limit);
                assert_eq!(engine, (step.state(self.now.mono), step.attempts, step.limit), "{} of {id:?}", line.name);
                unfinished += u64::from(!line.state.is_final());
            }
            reports.push(report);
        }
        count::figures_are_those_of_the_tasks(&self.engine.figures(self.now), &reports);
        let health = self.engine.health();
        assert_eq!(health.tasks, live.len() as u64, "tasks that are live in the engine and the store");
        assert_eq!(health.steps_unfinished, unfinished, "unfinished steps");
        self.tallies_agree(&health);
        let (snapshot, mut out) = (self.store.snapshot(self.now), Effects::default());
        let recovered = Engine::recover(self.config.clone(), [1, 1], self.now, snapshot, &mut out);
        assert_eq!(self.engine.held_bytes(), recovered.held_bytes(), "payload in memory, and after a restart");
        assert_eq!(self.engine.oldest_open_batch(), self.store.open.first().copied());
    }
}

/// A message to a worker has each task, and each result of one, once.
fn assert_once(dispatch: &Dispatch) {
    let mut tasks = BTreeSet::new();
    for task in &dispatch.tasks {
        assert!(tasks.insert(task.id), "{:?} is in the message twice", task.id);
        let mut parents = BTreeSet::new();
        for (parent, _) in &task.results {
            assert!(parents.insert(parent), "the result of step {parent} is in the message twice");
        }
    }
}

impl World {
    /// What is counted for each namespace, as it changes, is what a walk over all tasks finds.
    fn tallies_agree(&mut self, health: &HealthCounts) {
        let mut found: BTreeMap<Arc<str>, [u64; 4]> = BTreeMap::new();
        for id in self.store.live.clone() {
            let report = self.report(id).expect("live in both");
            let counts = report.counts;
            let waiting = counts.pending - counts.ready + counts.waiting_for_retry;
            let sums = found.entry(report.template.namespace).or_default();
            for (sum, more) in sums.iter_mut().zip([1, counts.ready, counts.in_progress, waiting]) {
                *sum += u64::from(more);
            }
        }
        let reports = self.namespaces();
        for report in &reports {
            let counted = [report.tasks, report.steps_ready, report.steps_in_progress, report.steps_waiting];
            assert_eq!(
                counted,
                found.get(&report.name).copied().unwrap_or_default(),
                "what is counted of {}",
                report.name
            );
            assert_eq!(report.pause, self.store.pauses.get(&report.name).cloned(), "the pause of {}", report.name);
        }
        assert_eq!(reports.iter().map(|report| report.tasks).sum::<u64>(), health.tasks);
    }

    /// What the engine says of the namespaces.
    pub fn namespaces(&mut self) -> Vec<NamespaceReport> {
        let mut out = Effects::default();
        let origin = Origin { peer: PeerId(0), correlation: Uuid::nil() };
        self.engine.handle(self.now, Event::NamespacesAsked { origin }, &mut out);
        assert!(out.saves.is_empty(), "a question changes nothing");
        match out.deliveries.pop() {
            Some(Deliver::Reply { reply: Reply::Namespaces(reports), .. }) => reports,
            other => panic!("a question for namespaces gave {other:?}"),
        }
    }
}

/// A template from lines such as `a[limit=1] b(a) c(a) d(b,c)`, in namespace `shop` unless the name says `other/name`.
pub fn template(name: &str, steps: &str) -> TemplateSource {
    let (name, version) = name.split_once('@').unwrap_or((name, "1.0.0"));
    let (namespace, name) = name.split_once('/').unwrap_or(("shop", name));
    let key = TemplateKey { namespace: namespace.into(), name: name.into(), version: version.into() };
    let definitions = steps.split_whitespace().map(step).collect();
    let template = Template::new(key, definitions).expect("a valid template");
    let mut digest = [0; 32];
    digest[..8].copy_from_slice(&checksum(steps.as_bytes()).to_le_bytes());
    TemplateSource {
        template: Arc::new(template),
        yaml: steps.into(),
        digest,
        description: None,
        task_handler_class: None,
        handler_config: None,
        environment: None,
    }
}

fn step(text: &str) -> (StepTemplate, Vec<Arc<str>>) {
    let (head, parents) = text.trim_end_matches(')').split_once('(').unwrap_or((text, ""));
    let (name, options) = head.trim_end_matches(']').split_once('[').unwrap_or((head, ""));
    let mut step = StepTemplate {
        name: name.into(),
        handler_class: "Handler".into(),
        retryable: true,
        retry_limit: 3,
        // Too short for jitter, so that texts can name the delay.
        backoff: Backoff { kind: BackoffKind::Exponential, base_ms: 2, cap_ms: 9 },
        skippable: false,
        timeout_ms: 600_000,
        inputs: Bytes::from_static(b"{}"),
        custom_events: Box::new(["noted".into()]),
        dependent_system: None,
    };
    for option in options.split(',').filter(|option| !option.is_empty()) {
        match option.split_once('=').unwrap_or((option, "")) {
            ("limit", limit) => step.retry_limit = limit.parse().expect("a number"),
            ("timeout", ms) => step.timeout_ms = ms.parse().expect("a number"),
            ("base", ms) => {
                step.backoff = Backoff { base_ms: ms.parse().expect("a number"), ..Backoff::default() };
            }
            ("once", "") => (step.retryable, step.retry_limit) = (false, 1),
            ("skippable", "") => step.skippable = true,
            other => panic!("no step option {other:?}"),
        }
    }
    (step, parents.split(',').filter(|parent| !parent.is_empty()).map(Arc::from).collect())
}
