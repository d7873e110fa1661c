//! Asks a Postgres socket whether it takes sessions: the start of the wire protocol, as far as the first answer.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use super::ROLE;

/// A server that is not stopped answers within milliseconds.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(1);

/// An error message of the server is a few hundred bytes; nothing longer is read.
const ANSWER_BYTES_MAX: usize = 8 * 1024;

/// What a server said to a new session.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// It takes sessions.
    Ready,
    /// It is starting, recovering or stopping.
    NotNow,
    /// It will not let us in.
    Refused(String),
}

/// Opens a session as [`ROLE`] and reads the first answer. An error means that nobody answered.
pub(super) fn probe(socket: &Path) -> io::Result<Answer> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(ANSWER_TIMEOUT))?;
    stream.set_write_timeout(Some(ANSWER_TIMEOUT))?;
    stream.write_all(&startup_message())?;
    let mut head = [0; 5];
    stream.read_exact(&mut head)?;
    let [kind, length @ ..] = head;
    let length = (u32::from_be_bytes(length) as usize).saturating_sub(4).min(ANSWER_BYTES_MAX);
    let mut body = vec![0; length];
    stream.read_exact(&mut body)?;
    let answer = read_answer(kind, &body);
    if answer == Answer::Ready {
        let terminate = [b'X', 0, 0, 0, 4];
        stream.write_all(&terminate)?;
    }
    Ok(answer)
}

fn startup_message() -> Vec<u8> {
    const PROTOCOL_3_0: u32 = 3 << 16;
    let parameters = format!("user\0{ROLE}\0database\0postgres\0\0");
    let length = 8 + parameters.len() as u32;
    [&length.to_be_bytes(), &PROTOCOL_3_0.to_be_bytes(), parameters.as_bytes()].concat()
}

fn read_answer(kind: u8, body: &[u8]) -> Answer {
    match (kind, body) {
        (b'R', [0, 0, 0, 0, ..]) => Answer::Ready,
        (b'R', _) => Answer::Refused("it asks for a password".to_owned()),
        (b'E', fields) => {
            let field = |code: u8| {
                let mut fields = fields.split(|byte| *byte == 0);
                fields.find_map(|field| Some(String::from_utf8_lossy(field.strip_prefix(&[code])?).into_owned()))
            };
            match field(b'C').unwrap_or_default().as_str() {
                "57P03" => Answer::NotNow, // cannot_connect_now
                "53300" => Answer::Ready,  // too_many_connections: busy, and alive
                code => Answer::Refused(format!("it answers: {} ({code})", field(b'M').unwrap_or_default())),
            }
        }
        _ => Answer::Refused("it does not speak the protocol of Postgres".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_of_the_server_are_told_apart() {
        for (kind, body, answer) in [
            (b'R', &b"\0\0\0\0"[..], Answer::Ready),
            (b'R', b"\0\0\0\x0a", Answer::Refused("it asks for a password".to_owned())),
            (b'E', b"SFATAL\0C57P03\0Mthe database system is starting up\0\0", Answer::NotNow),
            (b'E', b"SFATAL\0C53300\0Msorry, too many clients already\0\0", Answer::Ready),
            (b'E', b"SFATAL\0C28000\0MPeer fails\0\0", Answer::Refused("it answers: Peer fails (28000)".to_owned())),
            (b'?', b"", Answer::Refused("it does not speak the protocol of Postgres".to_owned())),
        ] {
            assert_eq!(read_answer(kind, body), answer);
        }
    }
}
