//! Peers that complete the handshake and then send what is no message, or what no worker or client would say.

use std::thread::JoinHandle;
use std::time::Duration;

use tasker_core::protocol::*;
use uuid::Uuid;

use crate::peers::{Client, WorkerPeer, failure};
use crate::siege::{MIB, NOISE, PEER_BYTES_MAX, Siege};
use crate::zmtp::{Closed, Wire, frame};

/// What libzmq may take for the mebibyte of subscriptions that a subscriber can send, and for what comes in before that is
/// noticed.
const SUBSCRIPTIONS_MEMORY: u64 = 128 * MIB;

/// Sends frames of one message without an end, while others carry on, until the broker cuts the connection; the bytes sent
/// by then.
fn endless(siege: &mut Siege, length: usize) -> u64 {
    let wire = Wire::greet(siege.broker.work(), "DEALER").expect("a good handshake");
    let sender = send_endlessly(wire, length);
    while !sender.is_finished() {
        siege.carries_on();
    }
    sender.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

fn send_endlessly(mut wire: Wire, length: usize) -> JoinHandle<u64> {
    let frames = frame(true, &vec![7; length]).repeat(65_536 / (length + 2) + 1);
    std::thread::spawn(move || {
        let mut sent = 0;
        // Not more, so that a broker without a guard does not take all of the machine's memory.
        while sent < 3 * PEER_BYTES_MAX {
            if wire.send(&frames) == Err(Closed) {
                return sent;
            }
            sent += frames.len() as u64;
        }
        panic!("the broker has taken {} MiB of one message", sent / MIB);
    })
}

#[test]
fn a_message_without_end_is_cut_at_the_bound() {
    let mut siege = Siege::begin();
    let before = siege.health();
    for length in [65_536, 1_000] {
        let memory = siege.memory();
        let sent = endless(&mut siege, length);
        eprintln!("frames of {length} bytes: cut after {} MiB", sent / MIB);
        // What comes in before the bound is noticed, in a twentieth of a second.
        memory.stayed_within(2 * PEER_BYTES_MAX + NOISE);
    }
    let cut = before.connections_cut.map(|count| count + 2);
    siege.until("two are cut", |report| report.connections_cut == cut && report.connections == before.connections);
}

#[test]
fn a_message_without_end_is_cut_at_the_bound_when_nothing_else_moves() {
    let mut siege = Siege::begin();
    let (memory, before) = (siege.memory(), siege.health());
    let wire = Wire::greet(siege.broker.work(), "DEALER").expect("a good handshake");
    // Long enough for the broker to stop looking at its connections all the time, and shorter than until it looks again.
    std::thread::sleep(Duration::from_millis(300));
    let sent = send_endlessly(wire, 1_000).join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    eprintln!("out of the calm: cut after {} MiB", sent / MIB);
    memory.stayed_within(2 * PEER_BYTES_MAX + NOISE);
    siege.until("it is cut", |report| report.connections_cut > before.connections_cut);
}

#[test]
fn frames_of_nothing_without_end_are_cut_at_the_bound() {
    let mut siege = Siege::begin();
    let (memory, before) = (siege.memory(), siege.health());
    let sent = endless(&mut siege, 0);
    eprintln!("empty frames: cut after {} MiB", sent / MIB);
    memory.stayed_within(2 * PEER_BYTES_MAX + NOISE);
    siege.until("it is cut", |report| report.connections_cut > before.connections_cut);
}

#[test]
fn a_subscriber_with_endless_subscriptions_is_cut() {
    let mut siege = Siege::begin();
    let (memory, before) = (siege.memory(), siege.health());
    let mut wire = Wire::greet(siege.broker.events(), "SUB").expect("a good handshake");
    let subscriber = std::thread::spawn(move || {
        for number in 0..1_000_000_u64 {
            let prefix = [&[1][..], &number.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes(), &[7; 200]].concat();
            if wire.send(&frame(false, &prefix)) == Err(Closed) {
                return;
            }
        }
        panic!("the broker has taken a million subscriptions");
    });
    while !subscriber.is_finished() {
        siege.carries_on();
    }
    subscriber.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    let cut = before.connections_cut.map(|count| count + 1);
    siege.until("it is cut", |report| report.connections_cut == cut && report.connections == before.connections);
    memory.stayed_within(SUBSCRIPTIONS_MEMORY + NOISE);
}

fn nested(marker: &[u8]) -> Vec<u8> {
    [b"\x81\xa4deep", &marker.repeat(100_000)[..]].concat()
}

#[test]
fn what_is_no_message_is_answered_and_counted_and_then_ignored() {
    let mut siege = Siege::begin();
    let memory = siege.memory();
    let (header, body) = encode(&HealthCheck { correlation_id: Uuid::new_v4(), level: HealthLevel::Basic }.into());
    let report = MessageType::ReportPartialResult.header().to_vec();
    let cases: Vec<(ErrorCode, Vec<Vec<u8>>)> = vec![
        (ErrorCode::UnsupportedVersion, vec![vec![0x54, 9, 3, 4], body.clone()]),
        (ErrorCode::UnknownMessage, vec![vec![0x54, 1, 0xff, 0xff], body.clone()]),
        (ErrorCode::UnknownMessage, vec![MessageType::ExecuteBatch.header().to_vec(), golden_batch()]),
        (ErrorCode::MalformedMessage, vec![header.to_vec()]),
        (ErrorCode::MalformedMessage, vec![header.to_vec(), body.clone(), body.clone()]),
        (ErrorCode::MalformedMessage, vec![vec![0; 1_000_000], body]),
        (ErrorCode::MalformedMessage, vec![header.to_vec(), nested(b"\x91")]),
        (ErrorCode::MalformedMessage, vec![header.to_vec(), nested(b"\x81\xa1a")]),
        (ErrorCode::MalformedMessage, vec![header.to_vec(), b"\xdf\xff\xff\xff\xff".to_vec()]),
        (ErrorCode::MalformedMessage, vec![report.clone(), b"\x81\xa7results\xdd\xff\xff\xff\xff".to_vec()]),
        (ErrorCode::MalformedMessage, vec![report, b"\x81\xaecorrelation_id\xdb\xff\xff\xff\xff".to_vec()]),
    ];
    let work = siege.broker.work().to_owned();
    for (code, frames) in &cases {
        let counted = siege.refusals(*code);
        let answer = siege.database.run(async {
            let mut client = Client::connect(&work).await;
            client.send_frames(frames.clone()).await;
            client.next().await
        });
        let Message::Error(error) = answer else { panic!("{code:?} answered with {answer:?}") };
        assert_eq!(error.code, *code, "{}", error.message);
        assert_eq!(siege.refusals(*code), counted + 1);
        siege.carries_on();
    }

    // Again and again from one connection: answered 16 times, then heard no more.
    let counted = siege.refusals(ErrorCode::MalformedMessage);
    siege.database.run(async {
        let mut client = Client::connect(&work).await;
        for _ in 0..1_000 {
            client.send_frames(vec![b"nonsense".to_vec()]).await;
        }
        for _ in 0..16 {
            let Message::Error(_) = client.next().await else { panic!("nonsense was understood") };
        }
    });
    siege.carries_on();
    assert_eq!(siege.refusals(ErrorCode::MalformedMessage), counted + 16);
    memory.stayed_within(NOISE);
}

#[test]
fn a_bundle_of_somebody_who_is_gone_costs_nobody_anything() {
    let mut siege = Siege::begin();
    let counted = siege.refusals(ErrorCode::MalformedMessage);
    let nonsense = [frame(true, b"nonsense"), frame(true, b"")].concat();
    let bundle = [nonsense.repeat(15), frame(true, b"nonsense"), frame(false, b"")].concat();
    for _ in 0..200 {
        let mut wire = Wire::greet(siege.broker.work(), "DEALER").expect("a good handshake");
        wire.send(&bundle).expect("it is taken");
        // Before the broker can answer what is wrong with the first of them.
        drop(wire);
    }
    siege.carries_on();
    siege.until("they were read", |report| {
        let malformed = |row: &&RefusalCount| row.code == ErrorCode::MalformedMessage.as_str();
        report.refusals.iter().find(malformed).map_or(0, |row| row.count) >= counted + 200
    });
}

fn golden_batch() -> Vec<u8> {
    let batch = ExecuteBatch {
        batch_id: Uuid::new_v4(),
        registration_id: Uuid::new_v4(),
        deadline_ms: 1,
        tasks: Vec::new(),
        steps: Vec::new(),
    };
    encode(&batch.into()).1
}

#[test]
fn ids_of_others_change_nothing() {
    let mut siege = Siege::begin();
    let memory = siege.memory();
    let work = siege.broker.work().to_owned();
    let id = Uuid::new_v4;
    let outcome = |number: u32| StepOutcome {
        batch_id: id(),
        task_id: id(),
        step: "a".to_owned(),
        attempt: number,
        status: OutcomeStatus::Error,
        result: None,
        metadata: None,
        error: Some(failure("Forged", "not mine", false)),
        started_at_us: 0,
        duration_us: 0,
        events: Vec::new(),
    };
    for round in 0..3 {
        let (stranger, forged) = siege.database.run(async {
            let mut forger = WorkerPeer::connect(&work, "forger").await;
            let results = (1..=1_000).map(outcome).collect();
            let report = ReportPartialResult { correlation_id: id(), results };
            // Unknown to the broker at first; then as a worker that serves nothing.
            let stranger = forger.client.request(report.clone()).await;
            forger.register(forger.introduction(&[], 1)).await;
            let reported = forger.client.request(ReportPartialResult { correlation_id: id(), ..report }).await;
            forger.registration_id = id();
            let beaten = forger.beat(u32::MAX, 0).await;
            let (actor, reason) = ("stranger".to_owned(), String::new());
            let cancel = CancelTask { correlation_id: id(), task_id: id(), actor, reason };
            (stranger, [reported, beaten, forger.client.request(cancel).await])
        });
        assert!(matches!(stranger, Message::RegisterAgain(_)), "{round}: {stranger:?}");
        let [Message::ResultsAccepted(accepted), Message::RegisterAgain(_), Message::Error(error)] = &forged else {
            panic!("{round}: {forged:?}")
        };
        assert_eq!(accepted.results.len(), 1_000);
        assert!(accepted.results.iter().all(|result| result.disposition == Disposition::Unknown));
        assert_eq!(error.code, ErrorCode::UnknownTask);
        siege.carries_on();
    }
    assert_eq!(siege.refusals(ErrorCode::UnknownTask), 3);
    assert_eq!(siege.database.number("SELECT count(*) FROM tasker.step_attempts_failed"), 0);
    memory.stayed_within(NOISE);
}
