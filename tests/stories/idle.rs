//! A broker that has nothing to do costs next to nothing.

use std::time::{Duration, Instant};

use tasker_core::protocol::*;
use uuid::Uuid;

use crate::support::{BrokerProcess, Database, connect, worker_at};

/// Long enough for a few heartbeats of the workers, which come every five seconds.
const SPAN: Duration = Duration::from_secs(12);

/// All threads of the broker together: a look at the inbox and one at the deadlines each second, and two heartbeats each
/// five seconds, make about ten. Looking at the connections twenty times a second would be twenty more.
const SWITCHES_PER_SECOND_MAX: f64 = 20.0;

#[test]
fn a_broker_at_rest_wakes_a_few_times_a_second() {
    let database = Database::create();
    let mut broker = BrokerProcess::start(&database);
    let workers = ["worker-1", "worker-2"].map(|name| worker_at(broker.work(), name, 5, &["chain"]));
    workers.iter().for_each(|worker| worker.registered());
    let mut client = connect(broker.work());
    let health = HealthCheck { correlation_id: Uuid::nil(), level: HealthLevel::Full };
    client.request(health).expect("it answers");

    let (began, before) = (Instant::now(), broker.context_switches());
    // Nobody is waited for: it is the length of time that is measured.
    std::thread::sleep(SPAN);
    #[allow(clippy::cast_precision_loss, reason = "a few hundred")]
    let switches = (broker.context_switches() - before) as f64;
    let rate = switches / began.elapsed().as_secs_f64();
    println!("{rate:.1} context switches a second");
    assert!(rate > 0.0, "it is not being measured");
    assert!(rate < SWITCHES_PER_SECOND_MAX, "{rate:.1} context switches a second");
    for worker in workers {
        assert!(worker.stop().success());
    }
    broker.stop();
}
