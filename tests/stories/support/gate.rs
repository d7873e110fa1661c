//! A gate at which handlers stop: the test sees who has arrived, and lets each go on with a word. What two handlers can
//! only do together, and what has to happen while one runs, becomes certain this way, without waiting for a while.

use std::io::{BufRead, BufReader, Write};
use std::os::fd::AsFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::PATIENCE;

pub struct Gate {
    listener: UnixListener,
    path: PathBuf,
}

/// A handler that waits at the gate.
#[derive(Debug)]
pub struct Visitor {
    pub step: String,
    pub attempt: u32,
    stream: BufReader<UnixStream>,
}

impl Gate {
    pub fn open(folder: &Path, name: &str) -> Gate {
        let path = folder.join(name);
        let listener = UnixListener::bind(&path).expect("the folder is ours, and its path short");
        Gate { listener, path }
    }

    /// Goes into the context of a task, where the handlers look for it.
    pub fn path(&self) -> &str {
        self.path.to_str().expect("our own path is UTF-8")
    }

    /// Waits for the next handler that arrives.
    pub fn next(&self) -> Visitor {
        let mut waits = [PollFd::new(self.listener.as_fd(), PollFlags::POLLIN)];
        let timeout = PollTimeout::try_from(PATIENCE).expect("a minute fits");
        assert_eq!(poll(&mut waits, timeout), Ok(1), "no handler has come to the gate");
        let (stream, _) = self.listener.accept().expect("somebody is there");
        stream.set_read_timeout(Some(PATIENCE)).expect("a minute fits");
        let mut stream = BufReader::new(stream);
        let mut line = String::new();
        stream.read_line(&mut line).expect("a handler says who it is");
        let words: Vec<&str> = line.split_whitespace().collect();
        let [_task, step, attempt] = words[..] else { panic!("a handler says who it is, not {line:?}") };
        Visitor { step: step.to_owned(), attempt: attempt.parse().expect("attempts are numbers"), stream }
    }
}

impl Visitor {
    /// Lets the handler go on; the word becomes its result.
    pub fn release(mut self, word: &str) {
        self.tell(word);
    }

    /// Says a word to the handler.
    pub fn tell(&mut self, word: &str) {
        writeln!(self.stream.get_mut(), "{word}").expect("the handler waits");
    }

    /// What the handler says next; nothing when its process is gone.
    pub fn hear(&mut self) -> String {
        let mut line = String::new();
        let _ = self.stream.read_line(&mut line);
        line.trim().to_owned()
    }
}
