//! Tokens of those who come over HTTP: a file says whose there are and what each may do. It has only their digests, so
//! that reading it gives nobody a token.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};

use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq;
use uuid::Uuid;

/// How a token begins, so that scanners for secrets know one when they see it.
const PREFIX: &str = "tsk_";

/// Largest file that is read, in bytes: some thousand tokens.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Longest name in bytes, as for everything that has a name.
const NAME_BYTES_MAX: usize = 255;

/// SHA-256 of a token. Tokens are random and long, so that nothing slower is needed.
pub type TokenDigest = [u8; 32];

/// What the holder of a token may do. Each may what those before it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum TokenRole {
    /// Look at everything; payloads without the values of redacted keys.
    Read,
    /// Submit, cancel, retry, resolve, pause, drain.
    Operate,
    /// Register templates, see payloads as they are.
    Admin,
}

impl TokenRole {
    /// Every role.
    pub const ALL: [TokenRole; 3] = [TokenRole::Read, TokenRole::Operate, TokenRole::Admin];

    /// As in the file.
    pub const fn as_str(self) -> &'static str {
        match self {
            TokenRole::Read => "read",
            TokenRole::Operate => "operate",
            TokenRole::Admin => "admin",
        }
    }

    /// The role of that name.
    pub fn from_name(name: &str) -> Option<TokenRole> {
        TokenRole::ALL.into_iter().find(|role| role.as_str() == name)
    }
}

impl fmt::Display for TokenRole {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// A line of the file: who holds a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// What it is called in records; unique.
    pub name: String,
    /// What it may do.
    pub role: TokenRole,
    /// Of its token.
    pub digest: TokenDigest,
}

/// What is wrong with a file of tokens.
#[derive(Debug, thiserror::Error)]
pub enum TokenFileError {
    /// It cannot be read.
    #[error("cannot be read: {0}")]
    Read(#[source] io::Error),
    /// It cannot be written.
    #[error("cannot be written: {0}")]
    Write(#[source] io::Error),
    /// A line is not understood.
    #[error("line {line}: {problem}")]
    Line {
        /// From 1.
        line: usize,
        /// What is wrong.
        problem: String,
    },
    /// Nobody could come in.
    #[error("names no token; `tasker token new` adds one")]
    Empty,
}

impl Holder {
    /// A new holder, and the token, which is in no other place.
    pub fn generate(name: &str, role: TokenRole) -> (Holder, String) {
        let token = format!("{PREFIX}{}{}", Uuid::new_v4().simple(), Uuid::new_v4().simple());
        (Holder { name: name.to_owned(), role, digest: digest(&token) }, token)
    }

    /// The line of the file.
    pub fn line(&self) -> String {
        let digest: String = self.digest.iter().map(|byte| format!("{byte:02x}")).collect();
        format!("{} {} {digest}\n", self.name, self.role)
    }

    /// Adds the line to a file, which is made when it is missing. A name that is there already is refused.
    pub fn add_to(&self, path: &Path) -> Result<(), TokenFileError> {
        if path.exists() {
            let holders = read(path)?;
            if let Some(at) = holders.iter().position(|holder| holder.name == self.name) {
                let problem = format!("`{}` is there already", self.name);
                return Err(TokenFileError::Line { line: at + 1, problem });
            }
        }
        let file = OpenOptions::new().append(true).create(true).mode(0o600).open(path);
        let mut file = file.map_err(TokenFileError::Write)?;
        file.write_all(self.line().as_bytes()).and_then(|()| file.sync_all()).map_err(TokenFileError::Write)
    }
}

/// Whether a name can stand in the file.
pub fn check_token_name(name: &str) -> Result<(), String> {
    if name.is_empty() || name.len() > NAME_BYTES_MAX {
        return Err(format!("a name has 1 to {NAME_BYTES_MAX} bytes, not {}", name.len()));
    }
    if name.starts_with('#') || name.contains(|character: char| character.is_whitespace() || character.is_control()) {
        return Err("a name has no blanks and no control characters, and does not begin with #".to_owned());
    }
    Ok(())
}

/// The tokens in force, shared by those who ask and the one who reads the file again.
#[derive(Clone, Debug)]
pub struct Tokens(Arc<RwLock<Vec<Arc<Holder>>>>);

impl Tokens {
    /// Reads a file; one without a token is refused, because nobody could come in.
    pub fn read(path: &Path) -> Result<Tokens, TokenFileError> {
        Ok(Tokens(Arc::new(RwLock::new(shared(path)?))))
    }

    /// Reads the file again. When it is not understood, what was in force stays. Returns how many there are.
    pub fn read_again(&self, path: &Path) -> Result<usize, TokenFileError> {
        let holders = shared(path)?;
        let count = holders.len();
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = holders;
        Ok(count)
    }

    /// Who holds this token.
    pub fn holder(&self, token: &str) -> Option<Arc<Holder>> {
        self.with_digest(&digest(token))
    }

    /// Who holds the token with this digest. Takes as long for every one that is not there.
    pub fn with_digest(&self, digest: &TokenDigest) -> Option<Arc<Holder>> {
        let holders = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let mut found = None;
        for holder in holders.iter() {
            if bool::from(holder.digest.ct_eq(digest)) {
                found = Some(holder.clone());
            }
        }
        found
    }
}

fn shared(path: &Path) -> Result<Vec<Arc<Holder>>, TokenFileError> {
    let holders = read(path)?;
    if holders.is_empty() { Err(TokenFileError::Empty) } else { Ok(holders.into_iter().map(Arc::new).collect()) }
}

fn read(path: &Path) -> Result<Vec<Holder>, TokenFileError> {
    let mut text = String::new();
    let file = File::open(path).map_err(TokenFileError::Read)?;
    file.take(FILE_BYTES_MAX).read_to_string(&mut text).map_err(TokenFileError::Read)?;
    parse(&text)
}

fn parse(text: &str) -> Result<Vec<Holder>, TokenFileError> {
    let mut holders: Vec<Holder> = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let refuse = |problem: String| TokenFileError::Line { line: index + 1, problem };
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let words: Vec<&str> = line.split_whitespace().collect();
        let [name, role, hex] = words[..] else {
            return Err(refuse(format!("has {} words; NAME ROLE SHA256 are expected", words.len())));
        };
        check_token_name(name).map_err(refuse)?;
        let Some(role) = TokenRole::from_name(role) else {
            return Err(refuse(format!("`{role}` is none of read, operate, admin")));
        };
        let Some(digest) = from_hex(hex) else {
            return Err(refuse("the third word is not a SHA-256 in 64 hexadecimal digits".to_owned()));
        };
        if holders.iter().any(|holder| holder.name == name) {
            return Err(refuse(format!("`{name}` is there already")));
        }
        holders.push(Holder { name: name.to_owned(), role, digest });
    }
    Ok(holders)
}

fn digest(token: &str) -> TokenDigest {
    Sha256::digest(token.as_bytes()).into()
}

fn from_hex(text: &str) -> Option<TokenDigest> {
    if text.len() != 64 || !text.is_ascii() {
        return None;
    }
    let mut digest = TokenDigest::default();
    for (byte, digits) in digest.iter_mut().zip(text.as_bytes().chunks(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
    }
    Some(digest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_known_by_its_digest_alone() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("tokens");
        let (reader, token) = Holder::generate("grafana", TokenRole::Read);
        let (admin, other) = Holder::generate("anna", TokenRole::Admin);
        reader.add_to(&file).expect("a new file");
        admin.add_to(&file).expect("one more line");
        let text = std::fs::read_to_string(&file).expect("the file");
        assert!(!text.contains(&token) && !text.contains(&other), "{text}");
        let tokens = Tokens::read(&file).expect("two lines");
        assert_eq!(tokens.holder(&token).as_deref(), Some(&reader));
        assert_eq!(tokens.holder(&other).as_deref(), Some(&admin));
        assert_eq!(tokens.holder("tsk_"), None);
        assert_eq!(tokens.holder(&text), None);
        let again = admin.add_to(&file).expect_err("the name is taken");
        assert_eq!(again.to_string(), "line 2: `anna` is there already");
        std::fs::write(&file, reader.line()).expect("a shorter file");
        assert_eq!(tokens.read_again(&file).expect("one line"), 1);
        assert_eq!(tokens.holder(&other), None);
    }

    #[test]
    fn a_file_that_is_not_understood_changes_nothing() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("tokens");
        let (holder, token) = Holder::generate("anna", TokenRole::Operate);
        holder.add_to(&file).expect("a new file");
        let tokens = Tokens::read(&file).expect("a line");
        for (text, problem) in [
            ("", "names no token; `tasker token new` adds one"),
            ("# only words\n", "names no token; `tasker token new` adds one"),
            ("anna operate\n", "line 1: has 2 words; NAME ROLE SHA256 are expected"),
            ("\nanna root 00\n", "line 2: `root` is none of read, operate, admin"),
            ("anna read 00\n", "line 1: the third word is not a SHA-256 in 64 hexadecimal digits"),
        ] {
            std::fs::write(&file, text).expect("a file");
            assert_eq!(tokens.read_again(&file).expect_err("not taken").to_string(), problem);
        }
        std::fs::write(&file, holder.line().repeat(2)).expect("a file");
        assert_eq!(tokens.read_again(&file).expect_err("twice").to_string(), "line 2: `anna` is there already");
        assert_eq!(tokens.holder(&token).map(|holder| holder.role), Some(TokenRole::Operate));
        assert!(TokenRole::Read < TokenRole::Operate && TokenRole::Operate < TokenRole::Admin);
    }
}
