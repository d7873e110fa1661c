//! What writing costs: log and processor time of the server, processor time of the writing thread.

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;

use crate::bench::processes;
use crate::store;

/// Sums since some moment in the past; only differences mean anything.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cost {
    pub wal_bytes: f64,
    /// `None` when the processes of the server are not to be seen.
    pub postgres_us: Option<f64>,
    pub client_us: f64,
}

impl Cost {
    pub fn since(self, before: Cost) -> Cost {
        Cost {
            wal_bytes: self.wal_bytes - before.wal_bytes,
            postgres_us: self.postgres_us.zip(before.postgres_us).map(|(after, before)| after - before),
            client_us: self.client_us - before.client_us,
        }
    }
}

/// Reads the sums.
pub(super) struct Meter {
    measure: store::Measure,
    /// The server's first process, when it runs on this machine.
    postmaster: Option<u32>,
}

impl Meter {
    pub async fn new(url: &str) -> Result<Meter, store::Error> {
        let measure = store::Measure::connect(url)?;
        let postmaster = measure.local_pid().await?.and_then(processes::postmaster);
        Ok(Meter { measure, postmaster })
    }

    pub async fn read(&mut self) -> Result<Cost, store::Error> {
        let wal_bytes = self.measure.wal_bytes().await?;
        let postgres = self.postmaster.and_then(processes::of_family);
        Ok(Cost { wal_bytes, postgres_us: postgres.map(|usage| usage.cpu_us as f64), client_us: thread_us() })
    }
}

fn thread_us() -> f64 {
    let Ok(usage) = getrusage(UsageWho::RUSAGE_THREAD) else { return 0.0 };
    [usage.user_time(), usage.system_time()].iter().map(|time| time.num_microseconds() as f64).sum()
}
