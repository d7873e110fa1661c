//! What is taken, what it says when it is written again, and what is refused, where.

use proptest::prelude::*;
use uuid::Uuid;

use super::*;

/// The canonical text.
fn canonical(text: &str) -> String {
    Filter::parse(text).unwrap_or_else(|error| panic!("{text}: {error}")).to_string()
}

#[test]
fn a_filter_has_one_canonical_text() {
    for (text, expected) in [
        ("", ""),
        ("  \t\n", ""),
        ("since:60m tag:vip state:error", "state:error tag:vip since:1h"),
        ("state:error -tag:test state:cancelled -tag:slow", "state:error,cancelled -tag:test,slow"),
        ("state:error,error state:error", "state:error"),
        ("tag:\"a b\",c\\,d", "tag:\"a b\",\"c,d\""),
        ("tag:\"say \\\"no\\\" \\\\ \\n\"", "tag:\"say \\\"no\\\" \\\\ \\\\n\""),
        ("until:2026-11-25T10:00", "until:2026-11-25T10:00:00.000Z"),
        ("since:2026-11-25", "since:2026-11-25T00:00:00.000Z"),
        ("since:2026-11-25T10:00:30.5+01:00", "since:2026-11-25T09:00:30.500Z"),
        ("since:2w", "since:14d"),
        ("since:90m", "since:90m"),
        ("priority:>5,3..4,7 -priority:<=0", "priority:>=6,3..4,7 -priority:<=0"),
        ("id:0197F3A2", "id:0197f3a2"),
        ("id:0197f3a26", "id:0197f3a2-6"),
        ("0197f3a2-6b1c-7d2e-8f30-415263748596", "id:0197f3a2-6b1c-7d2e-8f30-415263748596"),
        ("-0197f3a26b1c7d2e8f30415263748596", "-id:0197f3a2-6b1c-7d2e-8f30-415263748596"),
        ("\"0197f3a26b1c7d2e8f30415263748596\"", "\"0197f3a26b1c7d2e8f30415263748596\""),
        ("ctx.order.id:18446744073709551616", "ctx.order.id:18446744073709551616"),
        ("ctx.\"order id\".\"a.b\":x ctx.note:\"\"", "ctx.\"order id\".\"a.b\":x ctx.note:\"\""),
        ("ctx.a:1 ctx.b:2 ctx.a:3 -ctx.a:4", "ctx.a:1,3 -ctx.a:4 ctx.b:2"),
        (
            "step:charge step.state:waiting_for_retry worker:w error:Net::Timeout",
            "step:charge step.state:waiting_for_retry worker:w error:Net::Timeout",
        ),
        ("card \"was declined\" -test", "card \"was declined\" -test"),
        ("\"a:b\" \"-x\" a,b", "\"a:b\" \"-x\" \"a,b\""),
        ("key:a:b correlation:x initiator:\u{e9}", "key:a:b initiator:\u{e9} correlation:x"),
    ] {
        let found = canonical(text);
        assert_eq!(found, expected, "{text}");
        assert_eq!(canonical(&found), found);
        assert_eq!(Filter::parse(&found), Filter::parse(text));
    }
}

#[test]
fn what_is_no_filter_is_refused_with_its_place() {
    let nul = "tag:a\0";
    let many = "a ".repeat(VALUES_MAX) + "b";
    let long = "a".repeat(FILTER_BYTES_MAX + 1);
    let deep = format!("ctx.{}:1", vec!["a"; PATH_PARTS_MAX + 1].join("."));
    for (text, message) in [
        ("state:error nmae:x", "`nmae` is no key; did you mean `name`?, at character 13 of the filter"),
        ("Stat:x", "`Stat` is no key; did you mean `state`?, at character 1 of the filter"),
        ("http://x", "`http` is no key; put text with a colon in quotes, at character 1 of the filter"),
        ("ctx:1", "`ctx` is no key; did you mean `ctx.`?, at character 1 of the filter"),
        (":x", "`` is no key; put text with a colon in quotes, at character 1 of the filter"),
        (
            "tag:\u{e9} state:done",
            "`done` is no value of `state`, which is one of pending, in_progress, complete, error, cancelled, resolved_manually, at character 13 of the filter",
        ),
        ("tag:", "`tag` lacks its value, at character 5 of the filter"),
        ("tag:a,", "`tag` lacks its value, at character 7 of the filter"),
        ("tag: a", "`tag` lacks its value, at character 5 of the filter"),
        ("-", "a text is missing, at character 2 of the filter"),
        ("\"\"", "a text is missing, at character 1 of the filter"),
        ("ctx..a:1", "`ctx` lacks its value, at character 5 of the filter"),
        ("a \"b", "the quote has no end, at character 3 of the filter"),
        ("tag:\"a\"b", "a blank is missing after the quote, at character 8 of the filter"),
        ("\"a\"b", "a blank is missing after the quote, at character 4 of the filter"),
        ("a\"b\"", "a blank is missing after the quote, at character 2 of the filter"),
        (
            "since:yesterday",
            "`since` takes a time such as 2026-01-31, 2026-01-31T08:00 or 2026-01-31T08:00:00Z, or 30m, 1h, 7d, not `yesterday`, at character 7 of the filter",
        ),
        ("since:1h since:2h", "`since` is there twice, at character 16 of the filter"),
        ("-since:1h", "`since` cannot be negated; use `until`, at character 1 of the filter"),
        ("id:xyz", "`id` takes a task id or its beginning, not `xyz`, at character 4 of the filter"),
        (
            "priority:>2147483647",
            "`priority` takes a number, `>5`, `<=5` or `1..9`, not `>2147483647`, at character 10 of the filter",
        ),
        (
            "priority:9..1",
            "`priority` takes a number, `>5`, `<=5` or `1..9`, not `9..1`, at character 10 of the filter",
        ),
        (nul, "NUL is in no value, at character 6 of the filter"),
        (&many, "the filter has more than 50 values, at character 101 of the filter"),
        (&long, "the filter has more than 2000 bytes, at character 1 of the filter"),
        (&deep, "the path has more than 16 parts, at character 5 of the filter"),
    ] {
        let error = Filter::parse(text).expect_err(text);
        assert_eq!(error.to_string(), message, "{text}");
    }
    let text = format!("state:{}", "x".repeat(1_000));
    assert!(Filter::parse(&text).expect_err("no state").to_string().len() < 250);
}

#[test]
fn states_are_those_that_are_left() {
    let states = |text: &str| {
        let names: Vec<_> = Filter::parse(text).expect(text).states().into_iter().map(TaskState::name).collect();
        names.join(" ")
    };
    assert_eq!(states("-state:complete -state:cancelled"), "pending in_progress error resolved_manually");
    assert_eq!(states("state:error,pending -state:error"), "pending");
    assert_eq!(states("tag:a").split(' ').count(), 6);
}

#[test]
fn the_beginning_of_an_id_is_a_range() {
    let range = |text: &str| IdPrefix::parse(text).map(|prefix| (prefix.range(), prefix.id()));
    let id = |text: &str| Uuid::parse_str(text).expect(text);
    let whole = id("0197f3a2-6b1c-7d2e-8f30-415263748596");
    assert_eq!(range("0197f3a2-6b1c-7d2e-8f30-415263748596"), Some(((whole, whole), Some(whole))));
    let (low, high) = (id("f0000000-0000-0000-0000-000000000000"), id("ffffffff-ffff-ffff-ffff-ffffffffffff"));
    assert_eq!(range("f"), Some(((low, high), None)));
    for text in ["", "-", "-0", "g", "0197f3a2-6b1c-7d2e-8f30-4152637485960"] {
        assert_eq!(range(text), None, "{text}");
    }
}

/// Any text that a value may have: what quotes and escapes are made of comes more often.
fn value() -> impl Strategy<Value = String> {
    prop_oneof!["[a-c\"\\\\,:. \\-]{0,6}", "[^\0]{0,8}", Just("0197f3a26b1c7d2e8f30415263748596".to_owned())]
}

fn values<T: std::fmt::Debug + Clone + PartialEq>(
    value: impl Strategy<Value = T> + Clone,
) -> impl Strategy<Value = Values<T>> {
    let some = prop::collection::vec((any::<bool>(), value), 0..3);
    some.prop_map(|all| {
        let mut values = Values::default();
        all.into_iter().for_each(|(negated, value)| values.add(negated, value));
        values
    })
}

fn moment() -> impl Strategy<Value = Option<Moment>> {
    let at = (0..253_402_300_800_000_i64).prop_map(Moment::At);
    prop::option::of(prop_oneof![at, (0..3_000_000_000_u64).prop_map(Moment::Ago)])
}

prop_compose! {
    fn filter()(
        state in values(prop::sample::select(TaskState::ALL.to_vec())),
        step_state in values(prop::sample::select(StepState::ALL.to_vec())),
        texts in prop::collection::vec(values(value().boxed()), 11),
        id in values("[0-9a-f]{1,32}".prop_map(|text| IdPrefix::parse(&text).expect("hexadecimal")).boxed()),
        priority in values((any::<i32>(), any::<i32>()).prop_map(|(a, b)| PriorityRange { from: a.min(b), to: a.max(b) })),
        since in moment(),
        until in moment(),
        path in prop::collection::vec(value(), 1..3),
    ) -> Filter {
        let mut texts = texts.into_iter();
        let mut next = || texts.next().expect("eleven");
        let mut filter = Filter {
            state, step_state, id, priority, since, until,
            namespace: next(), name: next(), version: next(), tag: next(), key: next(), initiator: next(),
            correlation: next(), step: next(), worker: next(), error: next(),
            ..Filter::default()
        };
        let values = next();
        filter.text = Values {
            any: values.any.iter().filter(|text| !text.is_empty()).cloned().collect(),
            none: values.none.iter().filter(|text| !text.is_empty()).cloned().collect(),
        };
        if !values.is_empty() {
            *filter.context_at(path) = values;
        }
        filter
    }
}

proptest! {
    #[test]
    fn the_canonical_text_parses_to_the_same_filter(filter in filter()) {
        let text = filter.to_string();
        prop_assert_eq!(Filter::parse(&text), Ok(filter), "{}", text);
    }

    #[test]
    fn any_text_is_a_filter_or_refused_at_a_place_within(text in "[a-z.:,\"\\\\ \\-é0-9]{0,40}|.{0,40}") {
        match Filter::parse(&text) {
            Ok(filter) => prop_assert_eq!(Filter::parse(&filter.to_string()), Ok(filter)),
            Err(error) => {
                prop_assert!((1..=text.chars().count() + 1).contains(&error.position), "{}", error);
                prop_assert!(error.to_string().len() < 600);
            }
        }
    }
}
