//! What support needs, in one file: findings, versions, the configuration without secrets, what the broker and the database
//! say about themselves. No payload of a task is in it, and nothing that lets anybody in.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use flate2::Compression;
use flate2::write::GzEncoder;
use serde::Serialize;
use serde_json::{Value, json};

use super::Examined;
use crate::config::{explain, process_environment};

/// Names in the archive begin with it, so that it unpacks into one folder.
const FOLDER: &str = "tasker-doctor";

/// A block of a tar file.
const BLOCK: usize = 512;

/// Writes the file; one that is there is replaced, and only its owner can read it.
pub(super) fn write(path: &Path, config: Option<&Path>, examined: &Examined) -> io::Result<()> {
    let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    let mut archive = Archive { out: GzEncoder::new(file, Compression::default()) };
    archive.add("findings.json", &examined.findings.0)?;
    archive.add("versions.json", &versions(examined))?;
    archive.add("config.json", &settings(config))?;
    archive.add("health.json", &examined.answers.health)?;
    archive.add("workers.json", &examined.answers.workers)?;
    if let Some(Ok(found)) = &examined.diagnosis {
        archive.add("refusals.json", &found.refusals.as_ref().ok())?;
        archive.add("tables.json", &found.tables.as_ref().ok())?;
        archive.add("lanes.json", &found.lanes.as_ref().ok())?;
        archive.add("postgres.json", &json!({
            "server": found.server.as_ref().ok(),
            "schema": found.schema.as_ref().ok(),
            "settings": found.settings.as_ref().ok().map(|settings| settings.iter().cloned().collect::<BTreeMap<_, _>>()),
            "inbox": found.inbox.as_ref().ok(),
            "slots": found.slots.as_ref().ok(),
        }))?;
    }
    archive.finish()
}

fn versions(examined: &Examined) -> Value {
    let (major, minor, patch) = zmq::version();
    let system = nix::sys::utsname::uname().ok();
    let text = |part: &std::ffi::OsStr| part.to_string_lossy().into_owned();
    json!({
        "tasker": env!("CARGO_PKG_VERSION"),
        "broker": examined.answers.health.as_ref().map(|health| &health.version),
        "libzmq": format!("{major}.{minor}.{patch}"),
        "system": system.as_ref().map(|system| text(system.sysname())),
        "kernel": system.as_ref().map(|system| text(system.release())),
        "machine": system.as_ref().map(|system| text(system.machine())),
    })
}

/// Settings in force with their origin; passwords are masked, and keys are in files whose names alone are settings.
fn settings(config: Option<&Path>) -> Value {
    match explain(config, process_environment()) {
        Ok(entries) => entries
            .into_iter()
            .map(|entry| (entry.key, json!({ "value": entry.value, "origin": entry.origin })))
            .collect::<serde_json::Map<_, _>>()
            .into(),
        Err(error) => json!({ "error": error.to_string() }),
    }
}

/// A tar file (POSIX ustar), compressed.
struct Archive<W: Write> {
    out: GzEncoder<W>,
}

impl<W: Write> Archive<W> {
    fn add(&mut self, name: &str, document: &impl Serialize) -> io::Result<()> {
        let mut text = serde_json::to_vec_pretty(document).map_err(io::Error::other)?;
        text.push(b'\n');
        self.out.write_all(&header(&format!("{FOLDER}/{name}"), text.len())?)?;
        self.out.write_all(&text)?;
        self.out.write_all(&vec![0; text.len().next_multiple_of(BLOCK) - text.len()])
    }

    fn finish(mut self) -> io::Result<()> {
        self.out.write_all(&[0; 2 * BLOCK])?;
        self.out.finish()?.flush()
    }
}

fn header(name: &str, bytes: usize) -> io::Result<[u8; BLOCK]> {
    let mut header = [0_u8; BLOCK];
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    // Name, mode, owner, group, size, time, checksum as eight blanks, kind, magic: their places are the standard's.
    let fields: [(usize, usize, String); 9] = [
        (0, 100, name.to_owned()),
        (100, 8, "0000600\0".to_owned()),
        (108, 8, "0000000\0".to_owned()),
        (116, 8, "0000000\0".to_owned()),
        (124, 12, format!("{bytes:011o}\0")),
        (136, 12, format!("{now:011o}\0")),
        (148, 8, "        ".to_owned()),
        (156, 1, "0".to_owned()),
        (257, 8, "ustar\u{0}00".to_owned()),
    ];
    for (at, length, text) in fields {
        if text.len() > length {
            return Err(io::Error::other(format!("{text:?} does not fit into a tar header")));
        }
        header[at..at + text.len()].copy_from_slice(text.as_bytes());
    }
    let sum: u32 = header.iter().map(|&byte| u32::from(byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    Ok(header)
}
