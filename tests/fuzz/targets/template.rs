//! Any text as a definition: compiled to what can be stored and sent, or refused with places that exist. Time and memory
//! are bounded by the fuzzer's own limits.

#![no_main]

use libfuzzer_sys::fuzz_target;
use tasker_fuzz::protocol::JsonText;
use tasker_fuzz::template::{PROBLEMS_MAX, Problem, parse};

/// An environment that the seeds have a section for.
const ENVIRONMENT: &str = "production";

fuzz_target!(|bytes: &[u8]| {
    let Ok(yaml) = std::str::from_utf8(bytes) else { return };
    for environment in [None, Some(ENVIRONMENT)] {
        match parse("f.yaml", yaml, environment) {
            Ok(definition) => {
                let template = &definition.template;
                assert!(!template.steps.is_empty());
                for step in &template.steps {
                    check(std::str::from_utf8(&step.inputs).expect("made from text"));
                }
                definition.handler_config.as_deref().into_iter().for_each(check);
                if let Some(rules) = &template.context_check {
                    // The answer is the template's business; a context that was changed is one that can be stored.
                    let made = [rules.admit("{}"), rules.options(Some("{\"a\": {\"b\": 1e999}}"))];
                    for merged in made.into_iter().flatten().flatten() {
                        check(std::str::from_utf8(&merged).expect("made from text"));
                    }
                }
                let again = parse("f.yaml", yaml, environment).expect("as before");
                assert_eq!(again.digest, definition.digest);
            }
            Err(problems) => check_problems(&problems, yaml),
        }
    }
});

fn check(json: &str) {
    JsonText::new(json).check().unwrap_or_else(|error| panic!("{json} cannot be stored: {error}"));
}

fn check_problems(problems: &[Problem], yaml: &str) {
    assert!((1..=PROBLEMS_MAX).contains(&problems.len()), "{} problems", problems.len());
    // The parser counts every line break that YAML knows.
    let lines = 1 + yaml.bytes().filter(|byte| matches!(byte, b'\n' | b'\r')).count();
    for problem in problems {
        assert!((1..=lines + 1).contains(&problem.line), "line {} of {lines}: {problem}", problem.line);
        assert!(problem.column >= 1 && !problem.message.is_empty(), "{problem}");
        assert!(!problem.to_string().contains('\0'), "{problem:?} cannot be stored");
    }
}
