//! Files of tasks that have left the database: gzip'ed JSON Lines, an object a task, beside a manifest with counts and a
//! checksum. A file that has a manifest is complete. `zcat` reads them, and so does every tool for JSON Lines.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::read::MultiGzDecoder;
use flate2::write::GzEncoder;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// The layout of the lines. A reader refuses what it does not know.
pub const FORMAT: u32 = 1;

/// What goes wrong with an archive.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file system.
    #[error("failed to {what} {path}: {source}")]
    File {
        /// What was tried.
        what: &'static str,
        /// The file or folder.
        path: String,
        /// What the system says.
        source: io::Error,
    },
    /// A file of that name has tasks of another database.
    #[error("{path} belongs to another database ({database}); use a folder for each")]
    Foreign {
        /// The manifest that is there.
        path: String,
        /// Whose it is.
        database: String,
    },
    /// It is not what its manifest says.
    #[error("{path} is not what its manifest says: {problem}")]
    Damaged {
        /// The file.
        path: String,
        /// What differs.
        problem: String,
    },
}

/// What is said about a file, in the file beside it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Of the lines.
    pub format: u32,
    /// The name of the file.
    pub file: String,
    /// The month in which its tasks were made.
    pub month: String,
    /// Which database they are from.
    pub database: String,
    /// Lines.
    pub tasks: u64,
    /// Tasks by state.
    pub states: BTreeMap<String, u64>,
    /// Size of the lines before compression.
    pub bytes: u64,
    /// Of the compressed file, in hexadecimal.
    pub sha256: String,
}

/// Counts and hashes what goes into the file.
struct Hashed {
    file: BufWriter<File>,
    hash: Sha256,
}

impl Write for Hashed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.hash.update(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// Writes one file under a name of its own until it is complete.
pub struct Writer {
    folder: PathBuf,
    name: String,
    draft: PathBuf,
    lines: GzEncoder<Hashed>,
    tasks: u64,
    bytes: u64,
}

impl Writer {
    /// Begins `name.jsonl.gz` in a folder, which is made when missing. What is there under that name is replaced at the
    /// end, unless it is another database's.
    pub fn create(folder: &Path, name: &str, database: &str) -> Result<Writer, Error> {
        fs::create_dir_all(folder).map_err(failed("make", folder))?;
        let manifest = manifest_of(&folder.join(format!("{name}.jsonl.gz")));
        if manifest.exists() {
            let found = read_manifest(&manifest)?;
            if found.database != database {
                return Err(Error::Foreign { path: manifest.display().to_string(), database: found.database });
            }
            // Without it what is there counts no more.
            fs::remove_file(&manifest).map_err(failed("remove", &manifest))?;
            sync_folder(folder)?;
        }
        let draft = folder.join(format!("{name}.jsonl.gz.part"));
        let file = File::create(&draft).map_err(failed("write", &draft))?;
        let hashed = Hashed { file: BufWriter::new(file), hash: Sha256::new() };
        let lines = GzEncoder::new(hashed, Compression::default());
        Ok(Writer { folder: folder.to_owned(), name: name.to_owned(), draft, lines, tasks: 0, bytes: 0 })
    }

    /// Adds a task. Line breaks in JSON are between tokens, where a blank is as good.
    pub fn add(&mut self, document: &str) -> Result<(), Error> {
        let line = document.replace(['\n', '\r'], " ") + "\n";
        self.lines.write_all(line.as_bytes()).map_err(failed("write", &self.draft))?;
        self.tasks += 1;
        self.bytes += line.len() as u64;
        Ok(())
    }

    /// Completes the file and its manifest, both on the disk when this returns.
    pub fn finish(self, about: Manifest) -> Result<Manifest, Error> {
        let Writer { folder, name, draft, lines, tasks, bytes } = self;
        let Hashed { file, hash } = lines.finish().map_err(failed("write", &draft))?;
        let file = file.into_inner().map_err(|error| failed("write", &draft)(error.into_error()))?;
        file.sync_all().map_err(failed("write", &draft))?;
        let path = folder.join(format!("{name}.jsonl.gz"));
        fs::rename(&draft, &path).map_err(failed("rename", &draft))?;
        sync_folder(&folder)?;
        let sha256 = hex(&hash.finalize());
        let manifest = Manifest { format: FORMAT, file: format!("{name}.jsonl.gz"), tasks, bytes, sha256, ..about };
        let text = serde_json::to_string_pretty(&manifest).expect("plain values are JSON") + "\n";
        let (path, draft) = (manifest_of(&path), folder.join(format!("{name}.manifest.json.part")));
        let written = File::create(&draft).and_then(|mut file| {
            file.write_all(text.as_bytes())?;
            file.sync_all()
        });
        written.map_err(failed("write", &draft))?;
        fs::rename(&draft, &path).map_err(failed("rename", &draft))?;
        sync_folder(&folder)?;
        Ok(manifest)
    }
}

/// The lines of an archive, one task each.
pub fn lines(path: &Path) -> Result<impl Iterator<Item = Result<String, Error>> + use<>, Error> {
    let file = File::open(path).map_err(failed("read", path))?;
    let path = path.to_owned();
    let lines = BufReader::new(MultiGzDecoder::new(BufReader::new(file))).lines();
    Ok(lines.map(move |line| line.map_err(failed("read", &path))))
}

/// Compares a file with its manifest, and returns that.
pub fn check(path: &Path) -> Result<Manifest, Error> {
    let manifest = read_manifest(&manifest_of(path))?;
    let damaged = |problem: String| Error::Damaged { path: path.display().to_string(), problem };
    if manifest.format != FORMAT {
        return Err(damaged(format!("its format is {}, and this release reads {FORMAT}", manifest.format)));
    }
    let mut file = BufReader::new(File::open(path).map_err(failed("read", path))?);
    let (mut hash, mut buffer) = (Sha256::new(), vec![0; 1 << 16]);
    loop {
        match file.read(&mut buffer).map_err(failed("read", path))? {
            0 => break,
            read => hash.update(&buffer[..read]),
        }
    }
    let sha256 = hex(&hash.finalize());
    if sha256 != manifest.sha256 {
        return Err(damaged(format!("its checksum is {sha256}")));
    }
    let mut tasks = 0;
    for line in lines(path)? {
        line?;
        tasks += 1;
    }
    if tasks != manifest.tasks {
        return Err(damaged(format!("it has {tasks} tasks")));
    }
    Ok(manifest)
}

fn manifest_of(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!("{}.manifest.json", name.trim_end_matches(".jsonl.gz")))
}

fn read_manifest(path: &Path) -> Result<Manifest, Error> {
    let text = fs::read_to_string(path).map_err(failed("read", path))?;
    serde_json::from_str(&text).map_err(|error| failed("read", path)(error.into()))
}

/// A name is on the disk when its folder is.
fn sync_folder(folder: &Path) -> Result<(), Error> {
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed("write", folder))
}

fn failed(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error + Clone + use<> {
    let path = path.display().to_string();
    move |source| Error::File { what, path, source }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(folder: &Path, database: &str, documents: &[&str]) -> Result<Manifest, Error> {
        let mut writer = Writer::create(folder, "tasks-2026-01-001", database)?;
        for document in documents {
            writer.add(document)?;
        }
        writer.finish(Manifest { database: database.to_owned(), ..Manifest::default() })
    }

    #[test]
    fn what_was_written_is_read_back_a_line_a_task() {
        let folder = tempfile::tempdir().expect("a folder");
        let manifest = write(folder.path(), "a", &["{\"n\":\n 18446744073709551616}", "{}"]).expect("written");
        let path = folder.path().join(&manifest.file);
        let read: Vec<String> = lines(&path).expect("open").map(|line| line.expect("a line")).collect();
        assert_eq!(read, ["{\"n\":  18446744073709551616}", "{}"]);
        assert_eq!(check(&path).expect("complete"), manifest);
        let names: Vec<_> =
            fs::read_dir(folder.path()).expect("a folder").map(|entry| entry.expect("one").file_name()).collect();
        assert_eq!(names.len(), 2, "{names:?}");
    }

    #[test]
    fn a_file_without_its_manifest_or_with_another_content_does_not_pass() {
        let folder = tempfile::tempdir().expect("a folder");
        let manifest = write(folder.path(), "a", &["{}"]).expect("written");
        let path = folder.path().join(&manifest.file);
        let whole = fs::read(&path).expect("read");
        fs::write(&path, &whole[..whole.len() - 1]).expect("cut");
        assert!(matches!(check(&path), Err(Error::Damaged { .. })));
        fs::write(&path, &whole).expect("mend");
        check(&path).expect("complete again");
        Writer::create(folder.path(), "tasks-2026-01-001", "a").map(drop).expect("begun again");
        assert!(matches!(check(&path), Err(Error::File { .. })), "whoever begins again takes the manifest away");
    }

    #[test]
    fn an_archive_of_another_database_is_not_replaced() {
        let folder = tempfile::tempdir().expect("a folder");
        write(folder.path(), "a", &["{}"]).expect("written");
        assert!(matches!(write(folder.path(), "b", &["{}"]), Err(Error::Foreign { .. })));
        write(folder.path(), "a", &["{}", "{}"]).expect("its own is");
    }
}
