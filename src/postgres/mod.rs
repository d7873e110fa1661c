//! A private Postgres that Tasker starts, uses and stops: the database of `tasker up` and of the tests.
//!
//! It finds the binaries that are installed, makes a cluster in a data folder, listens on a unix socket only, and
//! ends with the process that started it, however that process ends. It knows nothing of Tasker's tables.
//!
//! ```text
//! <data>/                owned by whoever starts; the only folder in which root writes
//!   lock                 held while a start is under way
//!   postgres.conf        our settings, written at each start   } out of the reach of the account that
//!   pg_hba.conf, pg_ident.conf    who may connect, ditto       } Postgres runs as
//!   local.conf           your own settings, read last; never overwritten
//!   postgres.log         what the server says; the one before is postgres.log.1
//!   cluster/             Postgres' own data, mode 0700         } owned by the account that
//!   run/                 the unix socket, mode 0700            } Postgres runs as
//! ```
//!
//! **Who can connect.** Only someone who may enter `run/` (mode 0700) reaches the socket, which leaves the account of
//! the server and root. Behind that, `peer` authentication asks the kernel who is calling and admits the account that
//! started the server and the one it runs as, both as the role [`ROLE`]. There is no password to leak and no TCP port
//! to scan. A socket path is at most 107 bytes long: for a data folder with a longer path, or one with characters that
//! Postgres would need quoted, the socket is in a folder of mode 0700 under `/tmp` instead.
//!
//! **Never as root.** Postgres refuses root. Started by root, it runs as another account: the one asked for, else the
//! owner of the cluster, else `postgres`, else `nobody`.
//!
//! **Ends with its parent.** A small shell process (`guard.sh`) waits at a pipe whose other end only the parent holds,
//! and shuts the server down when the pipe closes. The kernel closes it whatever happens to the parent. (A death signal
//! through `prctl` would not do: it follows the thread that asked, not the process, and is cleared by a change of user.)
//! The server is a process group of its own, so that Ctrl-C in a terminal reaches the broker and not the database under
//! it. A process that forks without exec hands the pipe on: then the server stays until the last of them ends.

mod account;
mod error;
mod folder;
mod installation;
mod postmaster;
mod probe;
mod process;
mod server;
pub mod testing;
pub(crate) mod url;

pub use error::Error;
pub use installation::Installation;
pub use server::{Options, Server};

/// The role that owns everything in a cluster made here, and the only one that can log in.
pub const ROLE: &str = "tasker";
