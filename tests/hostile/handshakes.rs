//! Peers that never become peers: noise, silence, slowness, lies about lengths, and too many of them.

use std::thread;
use std::time::Duration;

use nix::sys::resource::{Resource, getrlimit, setrlimit};

use crate::siege::{MIB, NOISE, PEER_BYTES_MAX, Siege};
use crate::zmtp::{Closed, Wire, announce, greeting, ready};

/// Bytes without sense, the same in each run (xorshift).
fn noise(seed: u64) -> impl FnMut() -> Vec<u8> {
    let mut state = seed;
    move || {
        let mut next = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_le_bytes()
        };
        (0..512).flat_map(|_| next()).collect()
    }
}

#[test]
fn random_bytes_end_the_connection() {
    let mut siege = Siege::begin();
    let (memory, before) = (siege.memory(), siege.health());
    for (seed, start) in
        (1..=30).zip([&[][..], &greeting(), &[&greeting()[..], &ready("DEALER")].concat()].into_iter().cycle())
    {
        let mut wire = Wire::connect(siege.broker.work());
        let mut noise = noise(seed);
        let mut sent = wire.send(start);
        // As frames this ends with the first length beyond the limit, or at the bound for a message without end.
        for _ in 0..PEER_BYTES_MAX {
            if sent.is_err() {
                break;
            }
            sent = wire.send(&noise());
        }
        assert_eq!(sent, Err(Closed), "seed {seed}");
        siege.carries_on();
    }
    siege.until("they are gone", |report| report.connections == before.connections);
    memory.stayed_within(PEER_BYTES_MAX + NOISE);
}

#[test]
fn silent_and_slow_peers_are_cut_when_the_time_for_a_handshake_is_over() {
    let mut siege = Siege::begin();
    let (memory, before) = (siege.memory(), siege.health());
    let mut silent: Vec<Wire> = (0..300).map(|_| Wire::connect(siege.broker.work())).collect();
    let handshake = [&greeting()[..], &ready("DEALER")].concat();
    let work = siege.broker.work().to_owned();
    let slow: Vec<_> = (0..10)
        .map(|_| {
            let (mut wire, handshake) = (Wire::connect(&work), handshake.clone());
            // 200 ms for each of 93 bytes: much longer than the broker waits.
            thread::spawn(move || wire.trickle(&handshake, Duration::from_millis(200)))
        })
        .collect();
    siege.until("all are connected", |report| report.connections >= before.connections.map(|count| count + 310));
    siege.until("all are gone", |report| report.connections == before.connections);
    for thread in slow {
        let sent = thread.join().expect("it does not panic");
        assert!(sent < handshake.len(), "a handshake of {sent} bytes went through");
    }
    silent.iter_mut().for_each(Wire::wait_for_end);
    let failed = siege.health().handshakes_failed.unwrap_or(0) - before.handshakes_failed.unwrap_or(0);
    assert_eq!(failed, 310);
    memory.stayed_within(NOISE);
}

#[test]
fn a_huge_announced_length_takes_no_memory() {
    let mut siege = Siege::begin();
    let (memory, before) = (siege.memory(), siege.health());
    for length in [17 * MIB, 1 << 40, u64::MAX >> 1, u64::MAX] {
        let mut stranger = Wire::connect(siege.broker.work());
        stranger.send(&greeting()).expect("the broker reads");
        let mut command = announce(false, length);
        command[0] |= 4;
        // The broker may have closed after the first bytes.
        let _ = stranger.send(&command);
        stranger.wait_for_end();

        let mut peer = Wire::greet(siege.broker.work(), "DEALER").expect("a good handshake");
        let _ = peer.send(&announce(true, length));
        peer.wait_for_end();
        let mut subscriber = Wire::greet(siege.broker.events(), "SUB").expect("a good handshake");
        let _ = subscriber.send(&announce(false, length));
        subscriber.wait_for_end();
        siege.carries_on();
    }
    siege.until("they are gone", |report| report.connections == before.connections);
    memory.stayed_within(NOISE);
}

#[test]
fn connections_beyond_the_cap_are_cut_and_the_others_stay() {
    const CONNECTIONS: usize = 3_000;
    const CAP: u64 = 1_000;
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).expect("the system has it");
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).expect("up to the hard limit");
    let mut siege = Siege::with(&[("LIMITS__PEERS_MAX", &CAP.to_string())]);
    let (memory, before) = (siege.memory(), siege.health());
    let mut wires: Vec<Wire> = Vec::new();
    let mut refused = 0;
    for number in 0..CONNECTIONS {
        match Wire::greet(siege.broker.work(), "DEALER") {
            Ok(wire) => wires.push(wire),
            Err(Closed) => refused += 1,
        }
        if number % 500 == 0 {
            siege.carries_on();
        }
    }
    let surplus = CONNECTIONS as u64 + before.connections.unwrap_or(0) - CAP;
    let report = siege.until("the surplus is cut", |report| report.connections_cut == Some(surplus));
    assert_eq!(report.connections, Some(CAP));
    eprintln!("{refused} of {CONNECTIONS} were cut during their handshake");
    // libzmq has buffers of some 20 KiB for each connection.
    memory.stayed_within(CAP * 40 * 1024 + NOISE);

    drop(wires);
    siege.until("they are gone", |report| report.connections == before.connections);
    Wire::greet(siege.broker.work(), "DEALER").expect("there is room again");
    siege.carries_on();
}
