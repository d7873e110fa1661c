//! Who may talk to the broker: CURVE keys, the files with the secret ones, the list of peers with their roles, and tokens.
//! Knows neither sockets nor messages.

mod file;
mod key;
mod peers;
mod tokens;

pub use file::Error;
pub use key::{KeyError, KeyPair, PublicKey, SecretKey};
pub use peers::{Access, Changes, Peer, Role};
pub use tokens::{Holder, TokenDigest, TokenFileError, TokenRole, Tokens, check_token_name};

/// What a client needs to connect to a broker that demands keys.
#[derive(Clone, Debug)]
pub struct ClientKeys {
    /// The broker's public key: who cannot prove to have the secret one is not talked to.
    pub server: PublicKey,
    /// The client's own.
    pub own: SecretKey,
}
