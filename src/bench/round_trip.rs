//! What the least message costs on this machine: there and back between two threads over loopback, as a worker's message
//! to the broker and back.

use std::time::{Duration, Instant};

use super::distribution::{Latency, Recorder};

/// Round trips before those that count.
const WARM_UP: usize = 200;

/// Round trips that count.
const ROUNDS: usize = 2_000;

/// The echo waits no longer for anybody.
const PATIENCE_MS: i32 = 5_000;

/// Sends a short message of two frames from a DEALER to a ROUTER and back, one at a time.
pub(super) fn measure() -> Result<Latency, zmq::Error> {
    let context = zmq::Context::new();
    let router = context.socket(zmq::ROUTER)?;
    router.set_rcvtimeo(PATIENCE_MS)?;
    router.bind("tcp://127.0.0.1:0")?;
    let endpoint = router.get_last_endpoint()?.unwrap_or_default();
    let echo = std::thread::spawn(move || -> Result<(), zmq::Error> {
        for _ in 0..WARM_UP + ROUNDS {
            let frames = router.recv_multipart(0)?;
            router.send_multipart(frames, 0)?;
        }
        Ok(())
    });
    let dealer = context.socket(zmq::DEALER)?;
    dealer.set_rcvtimeo(PATIENCE_MS)?;
    dealer.connect(&endpoint)?;
    let mut recorder = Recorder::default();
    for round in 0..WARM_UP + ROUNDS {
        let sent = Instant::now();
        dealer.send_multipart([&[0_u8; 4][..], &[0_u8; 200][..]], 0)?;
        dealer.recv_multipart(0)?;
        if round >= WARM_UP {
            recorder.add(sent.elapsed().max(Duration::from_micros(1)));
        }
    }
    // It has ended: everything came back.
    echo.join().unwrap_or(Ok(()))?;
    Ok(recorder.latency())
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_round_is_measured() {
        let latency = super::measure().expect("loopback works");
        assert_eq!(latency.count, super::ROUNDS as u64);
        assert!(latency.p50_ms > 0.0 && latency.p50_ms <= latency.max_ms);
    }
}
