//! What the store gives back after a restart.

use bytes::Bytes;
use tasker_engine::*;
use uuid::Uuid;

use crate::shapes::{self, Parents};

/// Unfinished tasks of one template, each with its first step complete.
pub fn begun(parents: &Parents, tasks: u32) -> Snapshot {
    let source = shapes::template("order", parents);
    let key = source.template.key.clone();
    let pending = StepSnapshot { retry_limit: 3, ..StepSnapshot::default() };
    let result = Bytes::from_static(br#"{"reserved":true,"warehouse":"w-3"}"#);
    let settled = SettledSnapshot { kind: SettledKind::Complete, checksum: checksum(&result), result };
    let mut steps = vec![pending; parents.len()];
    steps[0] = StepSnapshot { attempts: 1, settled: Some(settled), ..steps[0].clone() };
    let task = |number: u32| TaskSnapshot {
        id: TaskId(Uuid::from_u64_pair(0x0197_0000_0000_7000 + (u64::from(number) << 16), 0x8000_0000_0000_0000)),
        template: key.clone(),
        context: Bytes::from_static(br#"{"order_id":42,"customer":"c-17"}"#),
        priority: 0,
        idempotency_key: None,
        run_in_ms: None,
        run_at: None,
        created_at: Wall(1_770_000_000_000),
        final_state: None,
        labels: TaskLabels::default(),
        steps: steps.clone(),
    };
    Snapshot { templates: vec![source], tasks: (0..tasks).map(task).collect(), ..Snapshot::default() }
}

/// Recovers an engine from a snapshot.
pub fn recover(snapshot: Snapshot) -> Engine {
    let now = Now { mono: Mono(1_000), wall: Wall(1_770_000_100_000) };
    Engine::recover(Config::default(), [7, 11], now, snapshot, &mut Effects::default())
}
