//! Tasks of thousands of steps: all of them are in the picture, and it comes soon.

use std::fmt::Write;

use serde_json::{Value, json};

use crate::browser::Browser;
use crate::scene::{register, submit};
use crate::sound::demand;
use crate::support::{BrokerProcess, Database};
use crate::visitor::Visitor;

/// The environment variable with how often each page is loaded; with it, times are printed.
const RUNS: &str = "TASKER_TASK_PAGE_RUNS";

/// Most bytes of a page, whatever the task; twice what the largest one here has.
const BYTES_MAX: u64 = 600_000;

/// Notes in each page when there is something to see, and when the picture is drawn: in the frame after the one in which the graph
/// and the rest of the page are there.
const STOPWATCH: &str = "const note = (what, time) => document.documentElement.setAttribute(`data-${what}`, time);
    new PerformanceObserver((list) => list.getEntriesByName('first-contentful-paint')
        .forEach((paint) => note('painted', paint.startTime))).observe({ type: 'paint', buffered: true });
    addEventListener('DOMContentLoaded', () => requestAnimationFrame(() => requestAnimationFrame(() => {
        if (document.getElementById('graph')) note('drawn', performance.now());
    })));";

/// Milliseconds since the request for the page: its last byte, first contentful paint, the picture, which is not before that.
const TIMES: &str = "const { painted, drawn } = document.documentElement.dataset;
    const last = performance.getEntriesByType('navigation')[0].responseEnd;
    return [last, Number(painted), Math.max(painted, drawn)];";

/// Numbers of steps in the picture: those with boxes or cells of their own, and those of groups.
const DRAWN: &str = r"const groups = [...document.querySelectorAll('.node.group > title')].map((title) => title.textContent);
    const rest = [...document.querySelectorAll('.open .more')].map((more) => more.textContent);
    const sum = (texts, number) => texts.reduce((sum, text) => sum + Number(number.exec(text)[1]), 0);
    return document.querySelectorAll('.node[data-step]').length + sum(groups, /, (\d+) steps/) + sum(rest, /(\d+) more/);";

/// A shape of a graph: its name, how many steps it has, and the parents of each.
type Shape = (&'static str, u32, fn(u32) -> Vec<u32>);

const SHAPES: [Shape; 4] = [
    ("fan_2000", 2_000, |step| match step {
        0 => Vec::new(),
        1_999 => (1..1_999).collect(),
        _ => vec![0],
    }),
    ("random_2000", 2_000, |step| {
        (1..=5_u32).filter_map(|back| step.checked_sub(back * back * 61 + step % 11)).collect()
    }),
    ("random_10000", 10_000, |step| (1..=5_u32).filter_map(|back| step.checked_sub(back * 193 + step % 7)).collect()),
    // 50,000 dependencies.
    ("layers_10000", 10_000, |step| match step {
        0..200 => Vec::new(),
        _ => {
            let parents = if step < 1_200 { 6 } else { 5 };
            (0..parents).map(|at| step / 200 * 200 - 200 + (step * 7 + at * 41) % 200).collect()
        }
    }),
];

fn template((name, steps, parents): Shape) -> (String, usize) {
    let mut yaml = format!("namespace_name: large\nname: {name}\nversion: 1.0.0\nstep_templates:\n");
    let mut edges = 0;
    for step in 0..steps {
        let parents: Vec<String> = parents(step).into_iter().map(|parent| format!("step_{parent}")).collect();
        edges += parents.len();
        let (handler, parents) = (step % 7 % 4, json!(parents));
        writeln!(yaml, "  - {{name: step_{step}, handler_class: \"Work{handler}\", depends_on_steps: {parents}}}")
            .expect("a String");
    }
    (yaml, edges)
}

#[test]
fn large_tasks_are_drawn_whole_and_every_step_can_be_reached() {
    let database = Database::create();
    let broker = BrokerProcess::start(&database);
    let visitor = Visitor::of(&broker);
    let browser = Browser::open(broker.http());
    browser.devtools("Page.addScriptToEvaluateOnNewDocument", json!({ "source": STOPWATCH }));
    let runs: Option<usize> = std::env::var(RUNS).ok().map(|runs| runs.parse().expect("a number of runs"));
    if runs.is_some() {
        println!(
            "{:<14} {:>7} {:>13} {:>10} {:>9} {:>9}",
            "task", "edges", "page bytes", "last byte", "paint", "picture"
        );
    }
    for shape @ (name, steps, _) in SHAPES {
        let (yaml, edges) = template(shape);
        register(&visitor, yaml);
        let page = format!("/tasks/{}", submit(&visitor, &format!("large/{name}"), &json!({})));
        let times = (0..runs.unwrap_or(1)).map(|_| load(&browser, &page)).collect();
        assert_eq!(browser.run(DRAWN), steps, "{name}: steps in the picture");
        let bytes = browser.run("return performance.getEntriesByType('navigation')[0].decodedBodySize");
        let bytes = bytes.as_u64().expect("a number");
        assert!(bytes < BYTES_MAX, "{name}: {bytes} bytes");
        reach(&browser, &page, steps);
        if runs.is_some() {
            let [last, paint, picture] = medians(times);
            println!("{name:<14} {edges:>7} {bytes:>13} {last:>7.0} ms {paint:>6.0} ms {picture:>6.0} ms");
        }
    }
}

/// Loads the page; its times.
fn load(browser: &Browser, page: &str) -> [f64; 3] {
    browser.visit(page);
    browser.until("the picture is drawn", "document.documentElement.matches('[data-painted][data-drawn]')");
    let told: Value = browser.run(TIMES);
    std::array::from_fn(|at| told[at].as_f64().expect("a time"))
}

fn medians(times: Vec<[f64; 3]>) -> [f64; 3] {
    std::array::from_fn(|at| {
        let mut sorted: Vec<f64> = times.iter().map(|times| times[at]).collect();
        sorted.sort_by(f64::total_cmp);
        sorted[sorted.len() / 2]
    })
}

/// Opens a group, finds a step by its name, and walks to the last page of the table.
fn reach(browser: &Browser, page: &str, steps: u32) {
    let name = format!("step_{}", steps - 7);
    browser.visit(&format!("{page}?find={name}"));
    assert!(browser.count("#graph .hit") >= 1, "{name} is not marked in the picture");
    assert_eq!(browser.text("#step-rows tbody td.name"), name);
    browser.follow("#step-rows tbody td.name a");
    assert_eq!(browser.text("#step h2"), name);
    browser.visit(page);
    browser.follow("#graph .node.group");
    assert!(browser.count("#graph .open .cell") >= 1, "a group shows its steps");
    assert_eq!(browser.run(DRAWN), steps, "steps in the picture with an open group");
    browser.visit(&format!("{page}?page={}", steps / 200 - 1));
    assert_eq!(browser.count("#step-rows tbody tr"), 200);
    assert_eq!(browser.text("#step-rows tbody tr:last-child td.name"), format!("step_{}", steps - 1));
    demand(browser, "a large task");
}
