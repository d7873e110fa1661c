//! Keeps the cores of this machine awake while work goes on.
//!
//! A core that has nothing to do sleeps, and takes time to wake: a few microseconds on bare metal, 10 to 50 in a virtual
//! machine, where the hypervisor has to bring it back. A lone step wakes one some ten times. Linux takes requests for the
//! longest time that waking may take (PM QoS, <https://docs.kernel.org/power/pm_qos_interface.html>): under a request of
//! 0 µs an idle core waits awake. Whoever needs a core still gets it at once; what it costs is power, and on a host that is
//! shared the time of its processor.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::time::Duration;

use tokio::time::Instant;
use tracing::{info, warn};

/// Where the kernel takes requests. Only root may open it, unless somebody else was given leave (OPERATIONS.md).
pub const DEVICE: &str = "/dev/cpu_dma_latency";

/// A core may take as long to wake as it likes: `PM_QOS_CPU_LATENCY_DEFAULT_VALUE` of `include/linux/pm_qos.h`.
const ANY_US: i32 = 2_000_000_000;

/// The kernel's device cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{} cannot be opened: {source}", .device.display())]
pub struct Error {
    device: PathBuf,
    source: io::Error,
}

/// A request to the kernel, about all cores of the machine. It ends when this is dropped.
#[derive(Debug)]
pub struct WakeLatency {
    device: File,
}

impl WakeLatency {
    /// At first nothing is asked for.
    pub fn open() -> Result<WakeLatency, Error> {
        WakeLatency::of(Path::new(DEVICE))
    }

    fn of(device: &Path) -> Result<WakeLatency, Error> {
        let opened = OpenOptions::new().read(true).write(true).open(device);
        let device = opened.map_err(|source| Error { device: device.to_owned(), source })?;
        Ok(WakeLatency { device })
    }

    /// Idle cores wait awake.
    pub fn keep_awake(&mut self) -> io::Result<()> {
        self.request(0)
    }

    /// Idle cores may sleep, unless somebody else has asked that they do not.
    pub fn let_sleep(&mut self) -> io::Result<()> {
        self.request(ANY_US)
    }

    /// Whether anybody on this machine has asked that idle cores wait awake.
    pub fn is_awake(&self) -> io::Result<bool> {
        let mut in_force_us = [0; size_of::<i32>()];
        self.device.read_exact_at(&mut in_force_us, 0)?;
        Ok(i32::from_ne_bytes(in_force_us) == 0)
    }

    /// In the kernel's form: one number of four bytes, in microseconds.
    fn request(&mut self, us: i32) -> io::Result<()> {
        self.device.write_all(&us.to_ne_bytes())
    }
}

/// Keeps cores awake for a while after each sign of work.
#[derive(Debug)]
pub(crate) struct Awake {
    /// None when cores may always sleep.
    latency: Option<WakeLatency>,
    hold: Duration,
    /// Until when they are kept awake, unless they may sleep already.
    until: Option<Instant>,
}

impl Awake {
    /// For so long after each sign of work; zero is never, and needs no leave.
    pub(crate) fn open(hold: Duration) -> Result<Awake, Error> {
        let latency = if hold.is_zero() { None } else { Some(WakeLatency::open()?) };
        if latency.is_some() {
            info!(hold_ms = hold.as_millis(), "idle cores are kept awake while work goes on");
            if !has_idle_driver() {
                warn!(
                    "this machine has no cpuidle driver (in KVM guests, haltpoll): to keep cores awake changes nothing"
                );
            }
        }
        Ok(Awake { latency, hold, until: None })
    }

    /// There is work.
    pub(crate) fn rouse(&mut self) {
        if self.until.is_none() {
            self.ask(WakeLatency::keep_awake);
        }
        self.until = self.latency.is_some().then(|| Instant::now() + self.hold);
    }

    /// Waits for what comes next, and lets cores sleep when their time is over meanwhile.
    pub(crate) async fn wait<T>(&mut self, next: impl Future<Output = T>) -> T {
        let Some(until) = self.until else { return next.await };
        let mut next = pin!(next);
        if let Ok(came) = tokio::time::timeout_at(until, &mut next).await {
            return came;
        }
        self.until = None;
        self.ask(WakeLatency::let_sleep);
        next.await
    }

    /// Work goes on without a device that takes no request; when it is closed, the last request ends.
    fn ask(&mut self, ask: impl FnOnce(&mut WakeLatency) -> io::Result<()>) {
        let asked = self.latency.as_mut().map_or(Ok(()), ask);
        if let Err(error) = asked {
            warn!(%error, "cores are not kept awake any more: {DEVICE} takes no request");
            self.latency = None;
        }
    }
}

/// Without one the kernel lets cores sleep as the processor does by itself, whatever is requested.
fn has_idle_driver() -> bool {
    let driver = std::fs::read_to_string("/sys/devices/system/cpu/cpuidle/current_driver").unwrap_or_default();
    !matches!(driver.trim(), "" | "none")
}

#[cfg(test)]
mod tests {
    use tempfile::NamedTempFile;
    use tokio::sync::oneshot;

    use super::*;

    /// Instead of the device a file, which keeps all that is asked for.
    fn with_file(hold: Duration) -> (Awake, NamedTempFile) {
        let file = NamedTempFile::new().expect("there is a temporary folder");
        let latency = WakeLatency::of(file.path()).expect("it is there");
        (Awake { latency: Some(latency), hold, until: None }, file)
    }

    fn asked(file: &NamedTempFile) -> Vec<i32> {
        let bytes = std::fs::read(file.path()).expect("it is there");
        bytes.chunks(4).map(|chunk| i32::from_ne_bytes(chunk.try_into().expect("each has four bytes"))).collect()
    }

    #[tokio::test]
    async fn cores_stay_awake_while_work_comes_soon() {
        let (mut awake, file) = with_file(Duration::from_secs(3_600));
        for _ in 0..5 {
            awake.rouse();
            assert_eq!(awake.wait(async { "work" }).await, "work");
        }
        assert_eq!(asked(&file), [0], "asked once");
    }

    #[tokio::test]
    async fn cores_may_sleep_when_nothing_comes() {
        let (mut awake, file) = with_file(Duration::from_millis(1));
        for round in 0..2 {
            awake.rouse();
            let so_far = [0, ANY_US].repeat(round);
            assert_eq!(asked(&file), [&so_far[..], &[0]].concat());
            let (comes, work) = oneshot::channel();
            let (came, ()) = tokio::join!(awake.wait(work), async {
                while asked(&file).len() < 2 * (round + 1) {
                    tokio::task::yield_now().await;
                }
                comes.send("work").expect("it is waited for");
            });
            assert_eq!(came, Ok("work"), "what is waited for is not lost");
            assert_eq!(asked(&file), [0, ANY_US].repeat(round + 1));
        }
        awake.wait(async {}).await;
        assert_eq!(asked(&file), [0, ANY_US].repeat(2), "they sleep already");
    }

    #[tokio::test]
    async fn what_is_no_work_does_not_keep_cores_awake() {
        let (mut awake, file) = with_file(Duration::from_millis(1));
        awake.rouse();
        let began = Instant::now();
        while asked(&file) == [0] {
            assert!(began.elapsed() < Duration::from_secs(60), "each wait keeps them awake anew");
            // Something comes soon, each time.
            awake.wait(tokio::task::yield_now()).await;
        }
        assert_eq!(asked(&file), [0, ANY_US]);
    }

    #[tokio::test]
    async fn a_device_that_takes_nothing_is_let_go() {
        let (mut awake, file) = with_file(Duration::from_secs(3_600));
        let read_only = File::open(file.path()).expect("it is there");
        awake.latency = Some(WakeLatency { device: read_only });
        awake.rouse();
        assert!(awake.latency.is_none() && awake.until.is_none());
        assert_eq!(awake.wait(async { "work" }).await, "work");
    }

    #[test]
    fn a_device_that_is_not_there_is_named() {
        let error = WakeLatency::of(Path::new("/nowhere/latency")).expect_err("it is not there");
        assert!(error.to_string().starts_with("/nowhere/latency cannot be opened: "), "{error}");
    }

    #[test]
    fn whoever_never_keeps_cores_awake_needs_no_device() {
        let mut awake = Awake::open(Duration::ZERO).expect("nothing is opened");
        awake.rouse();
        assert_eq!(awake.until, None);
    }
}
