//! Whether idle cores were asked to wait awake during a run (`broker.keep_awake_ms`): what is measured beside the run has to have
//! the same.

use crate::awake::WakeLatency;

/// Looks now and then.
pub(super) struct Wakefulness {
    /// None where this process may not look.
    latency: Option<WakeLatency>,
    looks: u32,
    awake: u32,
}

impl Wakefulness {
    pub(super) fn watch() -> Wakefulness {
        Wakefulness { latency: WakeLatency::open().ok(), looks: 0, awake: 0 }
    }

    pub(super) fn look(&mut self) {
        let Some(latency) = &self.latency else { return };
        match latency.is_awake() {
            Ok(is_awake) => {
                self.looks += 1;
                self.awake += u32::from(is_awake);
            }
            Err(_) => self.latency = None,
        }
    }

    /// The share of the looks at which that was asked; nothing when nobody could look.
    pub(super) fn share(&self) -> Option<f64> {
        let known = self.latency.is_some() && self.looks > 0;
        known.then(|| f64::from(self.awake) / f64::from(self.looks))
    }
}

/// Keeps cores awake until it is dropped, if they were for most of a run.
pub(super) fn as_in_a_run(share: Option<f64>) -> Option<WakeLatency> {
    let mut latency = share.filter(|share| *share > 0.5).and_then(|_| WakeLatency::open().ok())?;
    latency.keep_awake().ok()?;
    Some(latency)
}
