//! Template definitions: what every key does, and what each mistake is answered with.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use proptest::prelude::*;
use tasker_core::template::{DEFINITION_BYTES_MAX, Definition, PROBLEMS_MAX, Problem, parse};
use tasker_engine::{Backoff, BackoffKind, ContextCheck, ContextError, StepTemplate};

const EVERY_KEY: &str = include_str!("templates/every_key.yaml");

fn every_key(environment: Option<&str>) -> Definition {
    parse("every_key.yaml", EVERY_KEY, environment).unwrap_or_else(|problems| panic!("{}", lines(&problems)))
}

fn step<'d>(definition: &'d Definition, name: &str) -> &'d StepTemplate {
    let number = definition.template.step_number(name).expect("a step");
    &definition.template.steps[number as usize]
}

fn inputs<'d>(definition: &'d Definition, name: &str) -> &'d str {
    std::str::from_utf8(&step(definition, name).inputs).expect("UTF-8")
}

fn parents(definition: &Definition, name: &str) -> Vec<String> {
    let template = &definition.template;
    let numbers = template.dag.parents(template.step_number(name).expect("a step"));
    numbers.iter().map(|&number| template.steps[number as usize].name.to_string()).collect()
}

fn lines(problems: &[Problem]) -> String {
    problems.iter().map(|problem| format!("{problem}\n")).collect()
}

/// A definition of one step with more keys before `step_templates`.
fn small(more: &str) -> String {
    format!("name: n\nnamespace_name: ns\nversion: 1.0.0\n{more}\nstep_templates:\n  - {{name: a, handler_class: A}}\n")
}

fn rules(more: &str) -> std::sync::Arc<dyn ContextCheck> {
    let definition = parse("small", &small(more), None).unwrap_or_else(|problems| panic!("{}", lines(&problems)));
    definition.template.context_check.clone().expect("rules")
}

fn admitted(rules: &dyn ContextCheck, context: &str) -> Option<String> {
    let merged = rules.admit(context).unwrap_or_else(|error| panic!("{context}: {error}"));
    merged.map(|bytes| String::from_utf8(bytes.to_vec()).expect("UTF-8"))
}

#[test]
fn every_key_is_honoured() {
    let definition = every_key(None);
    let template = &definition.template;
    assert_eq!(template.key.to_string(), "fulfillment/process_order@1.2.0-rc.1");
    assert_eq!(template.version, semver::Version::parse("1.2.0-rc.1").expect("a version"));
    assert_eq!(definition.task_handler_class.as_deref(), Some("Fulfillment::OrderHandler"));
    assert_eq!(definition.module_namespace.as_deref(), Some("Fulfillment"));
    assert_eq!(definition.description.as_deref(), Some("Takes an order from its validation to its shipping"));
    assert_eq!(definition.default_dependent_system.as_deref(), Some("warehouse"));
    assert_eq!(definition.handler_config.as_deref(), Some("{\"items_max\":50}"));
    assert_eq!(definition.custom_events, ["order_seen"]);
    assert_eq!(definition.step_descriptions[0].as_deref(), Some("Looks at every line"));
    assert_eq!(definition.step_descriptions[1], None);
    assert_eq!(&*definition.yaml, EVERY_KEY);
    let other = parse("other", &EVERY_KEY.replace("EUR", "USD"), None).expect("a definition");
    assert_ne!(definition.digest, other.digest);
    assert_eq!(definition.digest, every_key(Some("production")).digest);

    let validate = step(&definition, "validate_order");
    assert_eq!(&*validate.handler_class, "Fulfillment::ValidateOrder");
    assert_eq!((validate.retryable, validate.retry_limit), (false, 1));
    assert_eq!((validate.timeout_ms, validate.skippable, validate.backoff), (300_000, false, Backoff::default()));
    assert_eq!(validate.dependent_system.as_deref(), Some("warehouse"));
    assert_eq!(validate.custom_events.iter().map(|event| &**event).collect::<Vec<_>>(), ["order_seen"]);
    assert_eq!(inputs(&definition, "validate_order"), r#"{"strict_validation":true,"validation_timeout":10}"#);

    let reserve = step(&definition, "reserve_inventory");
    assert_eq!((reserve.retryable, reserve.retry_limit), (true, 3));
    assert_eq!(reserve.backoff, Backoff { kind: BackoffKind::Linear, ..Backoff::default() });
    assert_eq!(reserve.dependent_system.as_deref(), Some("inventory"));
    assert_eq!(
        inputs(&definition, "reserve_inventory"),
        r#"{"allow_backorder":false,"tolerance":109.97,"serial":340282366920938463463374607431768211456,"#.to_owned()
            + r#""tiny":1e-400,"nested":{"keep":1,"change":2}}"#
    );

    let payment = step(&definition, "process_payment");
    assert_eq!(payment.backoff, Backoff { kind: BackoffKind::Fixed, base_ms: 250, cap_ms: 20_000 });
    assert_eq!((payment.retry_limit, payment.timeout_ms), (2, 45_500));
    let events: Vec<&str> = payment.custom_events.iter().map(|event| &**event).collect();
    assert_eq!(events, ["payment_taken", "order_seen"]);
    assert_eq!(parents(&definition, "process_payment"), ["validate_order", "reserve_inventory"]);

    let ship = step(&definition, "ship_order");
    assert_eq!((ship.skippable, ship.retry_limit, ship.timeout_ms), (true, 5, 300_000));
    assert_eq!(inputs(&definition, "ship_order"), "{}");
}

#[test]
fn an_environment_is_laid_over_by_step_name() {
    for environment in [None, Some("test"), Some("staging")] {
        assert_eq!(parents(&every_key(environment), "ship_order"), ["process_payment"], "{environment:?}");
    }
    let definition = every_key(Some("production"));
    let ship = step(&definition, "ship_order");
    assert_eq!((&*ship.handler_class, ship.skippable, ship.retry_limit), ("Fulfillment::ShipOrder", false, 5));
    assert_eq!(parents(&definition, "ship_order"), ["validate_order", "process_payment"]);
    let payment = step(&definition, "process_payment");
    assert_eq!(payment.backoff, Backoff { kind: BackoffKind::Fixed, base_ms: 2_000, cap_ms: 20_000 });
    assert_eq!(parents(&definition, "process_payment"), ["validate_order", "reserve_inventory"]);
    let reserve = step(&definition, "reserve_inventory");
    assert_eq!((reserve.retry_limit, reserve.timeout_ms), (9, 86_400_000));
    assert_eq!(
        inputs(&definition, "reserve_inventory"),
        r#"{"allow_backorder":false,"tolerance":109.97,"serial":18446744073709551616,"#.to_owned()
            + r#""tiny":1e-400,"nested":{"keep":1,"change":3,"add":4}}"#
    );
    let check = definition.template.context_check.as_deref().expect("rules");
    let context = r#"{"customer_info":{"id":1},"order_items":[{}]}"#;
    assert_eq!(
        admitted(check, context).as_deref(),
        Some(
            r#"{"customer_info":{"id":1},"order_items":[{}],"currency":"EUR","#.to_owned()
                + r#""shipping_info":{"method":"standard","insured":true}}"#
        )
        .as_deref()
    );
    let options = check.options(None).expect("options").expect("defaults");
    assert_eq!(&options[..], br#"{"notify":false,"limits":{"amount":10000.00}}"#);
}

#[test]
fn defaults_go_under_the_request_and_leave_its_bytes_alone() {
    let check = rules("default_context: {a: 1, deep: {x: 1, y: {z: 1}}, list: [1]}\ndefault_options: {o: 1}");
    for (request, merged) in [
        ("{}", r#"{"a":1,"deep":{"x":1,"y":{"z":1}},"list":[1]}"#),
        (
            r#" { "b" : [109.97, 340282366920938463463374607431768211456, 1e400, 1E5, -0.0] , "a": null } "#,
            concat!(
                r#"{"b":[109.97, 340282366920938463463374607431768211456, 1e400, 1E5, -0.0],"#,
                r#""a":null,"deep":{"x":1,"y":{"z":1}},"list":[1]}"#
            ),
        ),
        (
            r#"{"deep":{"y":{"q": 2.50}, "x":"\u00e9"},"list":[]}"#,
            r#"{"deep":{"y":{"q":2.50,"z":1},"x":"\u00e9"},"list":[],"a":1}"#,
        ),
        (r#"{"deep":7,"\u0061":2}"#, r#"{"deep":7,"\u0061":2,"list":[1]}"#),
    ] {
        assert_eq!(admitted(&*check, request).as_deref(), Some(merged), "{request}");
    }
    let complete = r#"{"a":2,"deep":{"x":0,"y":{"z":0}},"list":null}"#;
    assert_eq!(admitted(&*check, complete), None);
    assert_eq!(check.options(Some(r#"{"o":2}"#)).expect("options"), None);
    assert_eq!(&check.options(Some(r#"{"p":2}"#)).expect("options").expect("merged")[..], br#"{"p":2,"o":1}"#);
    for request in ["[]", "1", "", "{", "{} x", "{\"a\":}"] {
        assert_eq!(check.admit(request).expect_err(request).pointer, "");
        assert_eq!(check.options(Some(request)).expect_err(request).pointer, "");
    }
}

#[test]
fn a_definition_without_rules_takes_any_context() {
    let definition = parse("small", &small("default_context: {}"), None).expect("a definition");
    assert!(definition.template.context_check.is_none());
}

#[test]
fn a_context_is_checked_against_the_schema_with_defaults_in_it() {
    let check = rules("schema: {required: [a], properties: {a: {type: integer}}}\ndefault_context: {a: 1}");
    assert_eq!(admitted(&*check, "{}").as_deref(), Some(r#"{"a":1}"#));
    assert_eq!(admitted(&*check, r#"{"a":18446744073709551616}"#), None);
    let error = check.admit(r#"{"a":"secret"}"#).expect_err("not an integer");
    assert_eq!(error, ContextError { pointer: "/a".into(), message: "value is not of type \"integer\"".into() });
}

#[test]
fn context_errors_name_the_place_and_not_the_value() {
    let definition = every_key(None);
    let check = definition.template.context_check.as_deref().expect("rules");
    for (context, pointer, message) in [
        (r#"{"order_items":[{}]}"#, "", "\"customer_info\" is a required property"),
        (
            r#"{"customer_info":{"id":0},"order_items":[{}]}"#,
            "/customer_info/id",
            "value is less than the minimum of 1",
        ),
        (
            r#"{"customer_info":{"id":1,"email":"no"},"order_items":[{}]}"#,
            "/customer_info/email",
            "value is not a \"email\"",
        ),
        (
            r#"{"customer_info":{"id":1},"order_items":[{"price":1},{"price":0},{"price":-1},{"price":0},{"price":0}]}"#,
            "/order_items/1/price",
            "value is less than or equal to the minimum of 0; \
             /order_items/2/price: value is less than or equal to the minimum of 0; \
             /order_items/3/price: value is less than or equal to the minimum of 0; and more",
        ),
    ] {
        let error = check.admit(context).expect_err(context);
        assert_eq!((error.pointer.as_str(), error.message.as_str()), (pointer, message), "{context}");
    }
}

#[test]
fn hostile_schemas_and_contexts_are_survived() {
    let itself = rules("schema: {$ref: '#'}");
    assert_eq!(admitted(&*itself, "{}"), None);
    let ring = rules(
        "schema: {allOf: [$ref: '#/$defs/a'], $defs: {a: {anyOf: [$ref: '#/$defs/b']}, b: {not: {$ref: '#/$defs/a'}}}}",
    );
    let _ = ring.admit("{}");

    let tree = rules(
        "schema: {$ref: '#/$defs/node', $defs: {node: {type: object, properties: {next: {$ref: '#/$defs/node'}}}}}",
    );
    let deep = |depth: usize| format!("{}{{}}{}", "{\"next\":".repeat(depth), "}".repeat(depth));
    assert_eq!(admitted(&*tree, &deep(120)), None);
    assert!(tree.admit(&deep(100_000)).expect_err("too deep").message.contains("recursion"));

    let number = rules("schema: {properties: {a: {type: integer, multipleOf: 3, maximum: 10}}}");
    let started = Instant::now();
    for value in ["1e999999999", "-1e-999999999", &"9".repeat(100_000)] {
        let _ = number.admit(&format!("{{\"a\":{value}}}"));
    }
    let pattern = rules("schema: {properties: {a: {pattern: '^(?=(a+)+$)b'}}}");
    assert!(pattern.admit(&format!("{{\"a\":\"{}!\"}}", "a".repeat(5_000))).is_err());
    assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
}

/// Each file under `refused` ends with the problems that it must give, one a line: `# line:column: key: message`.
#[test]
fn every_mistake_is_refused_at_its_place() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/templates/refused");
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(&folder).expect("the folder").map(|entry| entry.expect("an entry").path()).collect();
    files.sort();
    assert!(files.len() > 20, "{} files", files.len());
    let mut differences = String::new();
    for file in files {
        let yaml = std::fs::read_to_string(&file).expect("a fixture");
        let (_, expected) = yaml.split_once("\n# Problems\n").expect("a list of problems");
        let found = match parse("", &yaml, None) {
            Ok(_) => "accepted\n".to_owned(),
            Err(problems) => {
                problems.iter().map(|problem| format!("#{}\n", problem.to_string().replacen(':', " ", 1))).collect()
            }
        };
        if found != expected {
            differences += &format!("{}\nexpected:\n{expected}found:\n{found}\n", file.display());
        }
    }
    assert!(differences.is_empty(), "{differences}");
}

#[test]
fn problems_are_bounded_and_in_order() {
    let unknown: String = (0..5_000).map(|number| format!("unknown_{number}: 1\n")).collect();
    let problems = parse("many", &small(&unknown), None).expect_err("unknown keys");
    assert_eq!(problems.len(), PROBLEMS_MAX);
    assert!(problems.is_sorted_by_key(|problem| (problem.line, problem.column)));
    let problem = &problems[0];
    assert!(problem.to_string().starts_with("many:4:1: unknown_0: unknown key; known here: name, "), "{problem}");
}

#[test]
fn a_definition_that_is_too_large_is_refused_unread() {
    let problems = parse("large", &" ".repeat(DEFINITION_BYTES_MAX + 1), None).expect_err("too large");
    assert_eq!(lines(&problems), "large:1:1: 4194305 bytes are more than the 4194304 allowed\n");
}

#[test]
fn ten_thousand_steps_are_read() {
    let steps: String = (0..10_000)
        .map(|number: u32| {
            let parents: Vec<String> =
                (1..4).filter_map(|back| number.checked_sub(back)).map(|n| format!("step_{n}")).collect();
            format!(
                "  - name: step_{number}\n    handler_class: Handler\n    depends_on_steps: [{}]\n",
                parents.join(", ")
            )
        })
        .collect();
    let yaml = format!("name: n\nnamespace_name: ns\nversion: 1.0.0\nstep_templates:\n{steps}");
    let definition = parse("large", &yaml, None).expect("a definition");
    assert_eq!(definition.template.dag.parents(9_999), [9_996, 9_997, 9_998]);
    let ring = yaml.replacen("depends_on_steps: []", "depends_on_steps: [step_9999]", 1);
    let problems = parse("ring", &ring, None).expect_err("a cycle");
    assert_eq!((problems.len(), problems[0].line, problems[0].column), (1, 7, 24));
    assert!(problems[0].message.starts_with("steps depend on each other: step_0 -> step_9999 -> "), "{}", problems[0]);
}

/// Text that makes naive readers quadratic or deep ends in bounded time.
#[test]
fn hostile_text_is_answered_quickly() {
    let started = Instant::now();
    for piece in [
        "[", "{", "- ", "? ", "a: ", "&a ", "*a ", "!a ", "a:\n", "- a\n", "'", "\"\\", "|\n ", "%TAG ", "---\n",
        "{a: ", "[a, ", "? [", "a", "#", "\t", "\r", ": ",
    ] {
        let text = piece.repeat(200_000 / piece.len());
        let problems = parse("hostile", &text, None).expect_err("no definition");
        assert!(!problems.is_empty() && problems.len() <= PROBLEMS_MAX);
        assert!(started.elapsed() < Duration::from_secs(60), "{piece:?} took {:?}", started.elapsed());
    }
}

const PIECES: &[&str] = &[
    "", "  ", "- ", "? ", ": ", "<<: *a", "&a", "*a", "!!str", "---", "...", "|", ">", "[", "{", "}", "\"\\x",
    "\u{feff}",
];

/// Pieces of definitions, put together at random.
fn fragments() -> impl Strategy<Value = String> {
    let lines: Vec<&'static str> = EVERY_KEY.lines().collect();
    let line = prop_oneof![
        4 => prop::sample::select(lines),
        1 => prop::sample::select(PIECES.to_vec()),
    ];
    prop::collection::vec(line, 0..30).prop_map(|lines| lines.join("\n"))
}

proptest! {
    #[test]
    fn no_text_makes_the_reader_panic(
        text in prop_oneof![any::<String>(), "[-a: \\[\\]{}&*!|>'\"%#?,\\n\\t0.~]{0,80}", fragments()],
    ) {
        match parse("any", &text, Some("production")) {
            Ok(definition) => prop_assert!(!definition.template.steps.is_empty()),
            Err(problems) => prop_assert!(!problems.is_empty()),
        }
    }

    #[test]
    fn a_damaged_definition_is_never_read_wrongly(
        at in 0..EVERY_KEY.len(),
        with in "[ -~\\n]{0,3}",
        gone in 0usize..4,
    ) {
        let end = (at + gone).min(EVERY_KEY.len());
        let damaged = format!("{}{with}{}", &EVERY_KEY[..at], &EVERY_KEY[end..]);
        match parse("damaged", &damaged, None) {
            Ok(definition) => prop_assert_eq!(definition.template.steps.len(), definition.step_descriptions.len()),
            Err(problems) => {
                let count = damaged.lines().count() + 1;
                for problem in &problems {
                    prop_assert!((1..=count).contains(&problem.line) && problem.column >= 1, "{}", problem);
                }
            }
        }
    }

    #[test]
    fn no_context_makes_the_check_panic(context in prop_oneof![any::<String>(), "[{}\\[\\]\":,0-9a.e-]{0,60}"]) {
        let definition = every_key(None);
        let check = definition.template.context_check.as_deref().expect("rules");
        let _ = check.admit(&context);
        let _ = check.options(Some(&context));
    }
}
