//! Templates of the shapes that workflows have.

use std::sync::Arc;

use bytes::Bytes;
use tasker_engine::{Backoff, StepTemplate, Template, TemplateKey, TemplateSource};

/// Who waits for whom: the parents of each step.
pub type Parents = Vec<Vec<u32>>;

/// Each step waits for the one before it.
pub fn chain(steps: u32) -> Parents {
    (0..steps).map(|step| step.checked_sub(1).into_iter().collect()).collect()
}

/// One step, two that wait for it, one that waits for both.
pub fn diamond() -> Parents {
    vec![vec![], vec![0], vec![0], vec![1, 2]]
}

/// One step, many that wait for it, and one that waits for all of those.
pub fn fan(steps: u32) -> Parents {
    let last = steps - 1;
    (0..steps)
        .map(|step| match step {
            0 => vec![],
            step if step == last => (1..last).collect(),
            _ => vec![0],
        })
        .collect()
}

/// Steps that wait for nothing.
pub fn wide(steps: u32) -> Parents {
    vec![Vec::new(); steps as usize]
}

/// Each step waits for up to three of the hundred before it.
pub fn random(steps: u32) -> Parents {
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let mut draw = |below: u32| {
        // Knuth's MMIX generator; its high bits are the good ones.
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as u32 % below
    };
    (0..steps).map(|step| (0..3).filter(|_| step > 0).map(|_| step - 1 - draw(step.min(100))).collect()).collect()
}

/// A template of a shape. Its steps are named as in a workflow that people write.
pub fn template(name: &str, parents: &Parents) -> TemplateSource {
    let names: Vec<Arc<str>> = (0..parents.len()).map(|step| format!("reserve_stock_{step}").into()).collect();
    let steps = parents.iter().zip(&names).map(|(parents, name)| {
        let step = StepTemplate {
            name: name.clone(),
            handler_class: "Orders::ReserveStockHandler".into(),
            retryable: true,
            retry_limit: 3,
            backoff: Backoff::default(),
            skippable: false,
            timeout_ms: 30_000,
            inputs: Bytes::from_static(br#"{"region":"eu-west","strict":true}"#),
            custom_events: Box::default(),
            dependent_system: None,
        };
        (step, parents.iter().map(|&parent| names[parent as usize].clone()).collect())
    });
    let key = TemplateKey { namespace: "bench".into(), name: name.into(), version: "1.0.0".into() };
    let template = Arc::new(Template::new(key, steps.collect()).expect("a shape is a valid template"));
    TemplateSource {
        template,
        yaml: "".into(),
        digest: [0; 32],
        environment: None,
        description: None,
        task_handler_class: None,
        handler_config: None,
    }
}
