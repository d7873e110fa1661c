//! A probe for systemd, Docker and Kubernetes: one question over HTTP, one word as the answer. No keys and no token are needed,
//! and nothing but the binary.

use std::io::{Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::cli::{Exit, Failure, Global};

/// Where the HTTP server is when nothing else is said; the default of `http.listen`.
pub(super) const DEFAULT_HTTP: &str = "http://127.0.0.1:7572";

/// Supervisors ask every few seconds and have a time-out of their own; a broker that lives answers in milliseconds.
const PATIENCE: Duration = Duration::from_secs(3);

/// Most bytes of an answer.
const ANSWER_BYTES_MAX: u64 = 65_536;

/// What is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Question {
    Live,
    Ready,
    Startup,
}

impl Question {
    fn path(self) -> &'static str {
        match self {
            Question::Live => "/livez",
            Question::Ready => "/readyz",
            Question::Startup => "/startupz",
        }
    }
}

/// What the broker says.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Verdict {
    status: String,
    #[serde(default)]
    stage: String,
    #[serde(default)]
    problems: Vec<String>,
}

/// Asks, and says in one line what the answer was.
pub(super) fn ask(global: &Global, question: Question) -> Result<Exit, Failure> {
    let address = global.http.as_deref().filter(|http| !http.is_empty()).unwrap_or(DEFAULT_HTTP);
    let host = address.strip_prefix("http://").map(|host| host.trim_end_matches('/')).ok_or_else(|| {
        Failure::usage(format!("`{address}` is no address of a probe")).with_hint("it is http://HOST:PORT, without TLS")
    })?;
    let limit = global.timeout.min(PATIENCE);
    let unreachable = |problem: String| {
        Failure::new(Exit::Unreachable, format!("no answer from http://{host}{}: {problem}", question.path()))
            .with_hint("is it running? --http or TASKER_HTTP says where, http.listen of the broker as well")
    };
    let answer = exchange(host, question.path(), limit).map_err(|error| unreachable(error.to_string()))?;
    let (code, verdict) = read(&answer).ok_or_else(|| unreachable("it is not one of a broker".to_owned()))?;
    global.output.print(&verdict, || {
        let problems =
            if verdict.problems.is_empty() { String::new() } else { format!(": {}", verdict.problems.join("; ")) };
        format!("{} ({}){problems}\n", verdict.status, verdict.stage)
    })?;
    Ok(if code == 200 { Exit::Done } else { Exit::Unsuccessful })
}

/// One request, one answer, one connection; all of it within the limit.
fn exchange(host: &str, path: &str, limit: Duration) -> std::io::Result<String> {
    let deadline = Instant::now() + limit;
    // 0 would mean no limit.
    let left = || deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
    let mut last = std::io::Error::other("the name has no address");
    for address in host.to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, left()) {
            Ok(mut stream) => {
                stream.set_write_timeout(Some(left()))?;
                let request = format!(
                    "GET {path} HTTP/1.1\r\nHost: {host}\r\nAccept: application/json\r\nConnection: close\r\n\r\n"
                );
                stream.write_all(request.as_bytes())?;
                return receive(stream, deadline);
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// Everything until the other side closes, or until there is too much of it, or too late.
fn receive(mut stream: TcpStream, deadline: Instant) -> std::io::Result<String> {
    let mut answer = Vec::new();
    let mut part = [0; 4_096];
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(std::io::ErrorKind::TimedOut.into());
        }
        stream.set_read_timeout(Some(left))?;
        match stream.read(&mut part)? {
            0 => return String::from_utf8(answer).map_err(std::io::Error::other),
            bytes => answer.extend_from_slice(&part[..bytes]),
        }
        if answer.len() as u64 > ANSWER_BYTES_MAX {
            return Err(std::io::Error::other("it is too long"));
        }
    }
}

/// The status code and the verdict of an answer.
fn read(answer: &str) -> Option<(u16, Verdict)> {
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let code = head.strip_prefix("HTTP/1.")?.split(' ').nth(1)?.parse().ok()?;
    let body = body.get(body.find('{')?..=body.rfind('}')?)?;
    Some((code, serde_json::from_str(body).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_read_and_others_are_not_taken_for_them() {
        let answer = "HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json\r\n\r\n{\"status\":\"unavailable\",\"stage\":\"draining\",\"problems\":[\"a\"]}";
        let (code, verdict) = read(answer).expect("an answer");
        assert_eq!((code, verdict.stage.as_str(), verdict.problems.len()), (503, "draining", 1));
        for other in
            ["", "HTTP/1.1 200 OK\r\n\r\n<html>", "SSH-2.0-OpenSSH\r\n\r\n{}", "HTTP/1.1 200 OK\r\n\r\n{\"a\":1}"]
        {
            assert!(read(other).is_none(), "{other}");
        }
    }

    #[test]
    fn the_default_address_is_that_of_the_configuration() {
        assert_eq!(DEFAULT_HTTP, format!("http://{}", crate::config::Config::default().http.listen));
    }
}
