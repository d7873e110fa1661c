//! The graph as lines. A step with several parents is drawn below the first of them that is drawn, and named below the others.
//! A chain goes straight down, so that its length costs no width; equal steps beside each other are counted.

use std::collections::HashMap;

use super::graph::Graph;
use crate::cli::output::one_line;
use crate::cli::task::report::error;
use crate::cli::time::format_us;
use crate::protocol::StepSummary;

/// Equal steps beside each other, or one after the other, that are drawn before the rest is counted.
const EQUAL_SHOWN: usize = 4;

/// Longest name of a step or worker in a line, in characters.
const NAME_CHARS_MAX: usize = 80;

/// How to draw.
#[derive(Clone, Copy, Debug)]
pub(super) struct Style {
    /// Levels.
    pub depth: usize,
    /// Whether equal steps are counted.
    pub collapses: bool,
    pub is_ascii: bool,
    pub has_color: bool,
}

/// What lines are made of.
struct Signs {
    fork: &'static str,
    last: &'static str,
    bar: &'static str,
    down: &'static str,
    more: &'static str,
    see: &'static str,
}

const UNICODE: Signs =
    Signs { fork: "├─ ", last: "└─ ", bar: "│  ", down: "↓ ", more: "… ", see: "↑ " };
const ASCII: Signs = Signs { fork: "|- ", last: "`- ", bar: "|  ", down: "v ", more: "... ", see: "^ " };

/// What is still to be drawn.
enum Job {
    /// A step, with what stands before its own lines and before those below it.
    Step { number: usize, before: String, below: String, depth: usize },
    /// Words.
    Line(String),
}

/// The whole graph.
pub(super) fn draw(graph: &Graph<'_>, style: Style) -> String {
    let signs = if style.is_ascii { &ASCII } else { &UNICODE };
    let mut drawing = Drawing { graph, style, signs, text: String::new(), drawn: vec![false; graph.steps.len()] };
    let mut jobs = drawing.siblings(&graph.roots, "", 1, true);
    // A stack of our own: a task may be ten thousand levels deep.
    while let Some(job) = jobs.pop() {
        match job {
            Job::Line(line) => drawing.line(&line),
            Job::Step { number, before, below, depth } => jobs.extend(drawing.step(number, &before, &below, depth)),
        }
    }
    drawing.text
}

struct Drawing<'a> {
    graph: &'a Graph<'a>,
    style: Style,
    signs: &'static Signs,
    text: String,
    drawn: Vec<bool>,
}

impl Drawing<'_> {
    /// Draws a step, and those that follow it one by one; returns what is below the last of them, in reverse.
    fn step(&mut self, number: usize, before: &str, below: &str, depth: usize) -> Vec<Job> {
        if std::mem::replace(&mut self.drawn[number], true) {
            self.line(&format!("{before}{}{}", self.signs.see, self.name(number)));
            return Vec::new();
        }
        self.line(&format!("{before}{}", self.words(number)));
        let mut last = number;
        let (mut shown, mut hidden) = (1, 0);
        while let Some(next) = self.only_child(last) {
            self.drawn[next] = true;
            let is_equal = self.graph.steps[next].state == self.graph.steps[last].state
                && self.graph.steps[next].error_class.is_none();
            if !is_equal {
                self.hidden_in_chain(below, hidden, last);
                (shown, hidden) = (0, 0);
            }
            if self.style.collapses && shown >= EQUAL_SHOWN {
                hidden += 1;
            } else {
                shown += 1;
                self.line(&format!("{below}{}{}", self.signs.down, self.words(next)));
            }
            last = next;
        }
        self.hidden_in_chain(below, hidden, last);
        let children = &self.graph.children[last];
        if depth >= self.style.depth && !children.is_empty() {
            let count = self.graph.sizes[last];
            let what =
                if count == 0 { "what is drawn elsewhere".to_owned() } else { format!("{} more", number_of(count)) };
            self.line(&format!("{below}{}{}{what} below (--depth)", self.signs.last, self.signs.more));
            return Vec::new();
        }
        self.siblings(children, below, depth + 1, false)
    }

    fn hidden_in_chain(&mut self, below: &str, hidden: usize, of: usize) {
        if hidden > 0 {
            let state = &self.graph.steps[of].state;
            let line = format!("{below}{}{}{} more {state}", self.signs.down, self.signs.more, number_of(hidden));
            self.line(&line);
        }
    }

    /// The step that alone follows this one, and this one alone.
    fn only_child(&self, number: usize) -> Option<usize> {
        match self.graph.children[number].as_slice() {
            &[child] if self.graph.steps[child].parents.len() == 1 && !self.drawn[child] => Some(child),
            _ => None,
        }
    }

    /// Steps beside each other, the first one last: what is drawn next is taken from the end.
    fn siblings(&self, numbers: &[usize], before: &str, depth: usize, are_roots: bool) -> Vec<Job> {
        let mut of_kind: HashMap<usize, usize> = HashMap::new();
        let mut shown: Vec<usize> = Vec::new();
        let mut hidden: Vec<usize> = Vec::new();
        for &number in numbers {
            let seen = of_kind.entry(self.graph.looks[number]).or_default();
            *seen += 1;
            // One more than the rest would take as a line is not worth hiding.
            let is_shown = !self.style.collapses || *seen <= EQUAL_SHOWN;
            if is_shown { shown.push(number) } else { hidden.push(number) }
        }
        let lines = self.counted(&hidden);
        let count = shown.len() + lines.len();
        let mut jobs = Vec::with_capacity(count);
        for (at, number) in shown.into_iter().enumerate() {
            let is_last = at + 1 == count;
            let (sign, bar) = match (are_roots, is_last) {
                (true, _) => ("", ""),
                (false, true) => (self.signs.last, "   "),
                (false, false) => (self.signs.fork, self.signs.bar),
            };
            jobs.push(Job::Step { number, before: format!("{before}{sign}"), below: format!("{before}{bar}"), depth });
        }
        let rest = lines.len();
        for (at, line) in lines.into_iter().enumerate() {
            let sign = match (are_roots, at + 1 == rest) {
                (true, _) => "",
                (false, true) => self.signs.last,
                (false, false) => self.signs.fork,
            };
            jobs.push(Job::Line(format!("{before}{sign}{}{line}", self.signs.more)));
        }
        jobs.reverse();
        jobs
    }

    /// A line for each kind of steps that are not shown, in the order of their first.
    fn counted(&self, hidden: &[usize]) -> Vec<String> {
        let mut kinds: Vec<(usize, usize, usize)> = Vec::new();
        let mut places: HashMap<usize, usize> = HashMap::new();
        for &number in hidden {
            let place = *places.entry(self.graph.looks[number]).or_insert_with(|| {
                kinds.push((number, 0, 0));
                kinds.len() - 1
            });
            kinds[place].1 += 1;
            kinds[place].2 += self.graph.sizes[number];
        }
        let line = |(first, count, below): (usize, usize, usize)| {
            let state = &self.graph.steps[first].state;
            let below = if below == 0 { String::new() } else { format!(", with {} below them", number_of(below)) };
            format!("{} more {state}{below}", number_of(count))
        };
        kinds.into_iter().map(line).collect()
    }

    fn line(&mut self, line: &str) {
        self.text.push_str(line.trim_end());
        self.text.push('\n');
    }

    fn name(&self, number: usize) -> String {
        one_line(&self.graph.steps[number].name, NAME_CHARS_MAX)
    }

    /// `✓ reserve  complete  attempt 2/3  1.5 ms  worker a  also after b`.
    fn words(&self, number: usize) -> String {
        let step = &self.graph.steps[number];
        let sign = sign(step, self.style.is_ascii);
        let state = match step.retry_in_ms {
            Some(delay_ms) => format!("{} (in {})", step.state, format_us(delay_ms.saturating_mul(1_000))),
            None if step.ready => format!("{} (ready)", step.state),
            None => step.state.clone(),
        };
        let mut words = format!("{} {}  {}", self.paint(step, sign), self.name(number), self.paint(step, &state));
        if step.attempts > 1 || step.error_class.is_some() {
            words.push_str(&format!("  attempt {}/{}", step.attempts, step.retry_limit));
        }
        if let Some(duration_us) = step.duration_us {
            let duration = format_us(duration_us);
            words.push_str(&format!("  {}", if self.style.is_ascii { duration.replace('µ', "u") } else { duration }));
        }
        if let Some(worker) = &step.worker {
            words.push_str(&format!("  worker {}", one_line(worker, NAME_CHARS_MAX)));
        }
        if let Some(error) = error(step) {
            words.push_str(&format!("  {error}"));
        }
        if step.parents.len() > 1 {
            words.push_str(&format!("  (after {} steps)", step.parents.len()));
        }
        words
    }

    fn paint(&self, step: &StepSummary, text: &str) -> String {
        let color = match step.state.as_str() {
            "complete" | "resolved_manually" => 32,
            "in_progress" => 36,
            "waiting_for_retry" => 33,
            "error" => 31,
            _ => 90,
        };
        if self.style.has_color { format!("\u{1b}[{color}m{text}\u{1b}[0m") } else { text.to_owned() }
    }
}

fn sign(step: &StepSummary, is_ascii: bool) -> &'static str {
    let (unicode, ascii) = match step.state.as_str() {
        "complete" => ("✓", "+"),
        "resolved_manually" => ("✓", "+"),
        "in_progress" => ("▶", ">"),
        "waiting_for_retry" => ("↻", "~"),
        "error" => ("✗", "x"),
        "cancelled" => ("-", "-"),
        _ => ("·", "."),
    };
    if is_ascii { ascii } else { unicode }
}

/// `4,996`.
fn number_of(count: usize) -> String {
    let digits = count.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const STYLE: Style = Style { depth: 32, collapses: true, is_ascii: false, has_color: false };

    fn step(name: &str, state: &str, parents: &[&str]) -> StepSummary {
        StepSummary {
            name: name.to_owned(),
            state: state.to_owned(),
            parents: parents.iter().map(|parent| (*parent).to_owned()).collect(),
            attempts: u32::from(state != "pending"),
            retry_limit: 3,
            ..StepSummary::default()
        }
    }

    fn drawn(steps: &[StepSummary], style: Style) -> String {
        draw(&Graph::new(steps), style)
    }

    fn order() -> Vec<StepSummary> {
        let charge = StepSummary {
            attempts: 2,
            error_class: Some("Declined".to_owned()),
            error_message: Some("no\nmoney".to_owned()),
            worker: Some("a-1".to_owned()),
            duration_us: Some(1_500),
            ..step("charge", "error", &["validate"])
        };
        vec![
            step("validate", "complete", &[]),
            step("reserve", "in_progress", &["validate"]),
            charge,
            step("ship", "pending", &["reserve", "charge"]),
            step("mail", "pending", &["ship"]),
            step("audit", "complete", &[]),
        ]
    }

    #[test]
    fn a_step_with_several_parents_is_drawn_once_and_named_again() {
        let expected = "\
✓ validate  complete
├─ ▶ reserve  in_progress
│  └─ · ship  pending  (after 2 steps)
│     ↓ · mail  pending
└─ ✗ charge  error  attempt 2/3  1.5 ms  worker a-1  Declined: no money
   └─ ↑ ship
✓ audit  complete
";
        assert_eq!(drawn(&order(), STYLE), expected);
    }

    #[test]
    fn ascii_and_colors_are_as_asked_for() {
        let ascii = drawn(&order(), Style { is_ascii: true, ..STYLE });
        assert!(ascii.is_ascii() && ascii.contains("|- > reserve") && ascii.contains("`- ^ ship"), "{ascii}");
        let color = drawn(&order()[..1], Style { has_color: true, ..STYLE });
        assert_eq!(color, "\u{1b}[32m✓\u{1b}[0m validate  \u{1b}[32mcomplete\u{1b}[0m\n");
    }

    #[test]
    fn deeper_levels_are_counted() {
        let expected = "\
✓ validate  complete
└─ … 4 more below (--depth)
✓ audit  complete
";
        assert_eq!(drawn(&order(), Style { depth: 1, ..STYLE }), expected);
    }

    #[test]
    fn ten_thousand_equal_steps_beside_each_other_are_counted() {
        let mut steps = vec![step("split", "complete", &[])];
        let names: Vec<String> = (0..9_998).map(|number| format!("part_{number}")).collect();
        steps.extend(
            names
                .iter()
                .enumerate()
                .map(|(number, name)| step(name, if number < 5_000 { "complete" } else { "in_progress" }, &["split"])),
        );
        let parents: Vec<&str> = names.iter().map(String::as_str).collect();
        steps.push(step("join", "pending", &parents));
        let text = drawn(&steps, STYLE);
        assert!(
            text.contains("├─ … 4,996 more complete, with") || text.contains("├─ … 4,996 more complete\n"),
            "{text}"
        );
        assert!(text.contains("└─ … 4,994 more in_progress"), "{text}");
        assert!(text.lines().count() < 30, "{text}");
        let all = drawn(&steps, Style { collapses: false, ..STYLE });
        assert!(all.contains("part_9997") && all.lines().count() > 10_000);
    }

    #[test]
    fn a_chain_of_ten_thousand_goes_straight_down() {
        let names: Vec<String> = (0..10_000).map(|number| format!("s{number}")).collect();
        let steps: Vec<StepSummary> = (0..names.len())
            .map(|number| {
                let parents: Vec<&str> =
                    number.checked_sub(1).map(|before| names[before].as_str()).into_iter().collect();
                step(&names[number], if number < 6_000 { "complete" } else { "pending" }, &parents)
            })
            .collect();
        let text = drawn(&steps, STYLE);
        assert!(text.contains("\n↓ … 5,996 more complete\n↓ · s6000  pending\n"), "{text}");
        assert!(text.ends_with("\n↓ … 3,996 more pending\n"), "{text}");
        let all = drawn(&steps, Style { collapses: false, ..STYLE });
        assert_eq!(all.lines().count(), 10_000);
        assert!(all.lines().all(|line| line.len() < 40));
    }

    #[test]
    fn a_ladder_ends_at_the_depth() {
        let names: Vec<String> = (0..5_000).flat_map(|number| [format!("a{number}"), format!("b{number}")]).collect();
        let steps: Vec<StepSummary> = (0..names.len())
            .map(|number| {
                let above = (number / 2).checked_sub(1).map(|level| names[level * 2].as_str());
                step(&names[number], "pending", &above.into_iter().collect::<Vec<_>>())
            })
            .collect();
        let text = drawn(&steps, STYLE);
        assert!(text.lines().count() < 200 && text.contains("more below (--depth)"), "{text}");
    }
}
