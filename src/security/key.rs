//! CURVE keys: 32 bytes, written as 40 characters of Z85 (ZeroMQ RFC 32). A secret key shows itself to nobody who does
//! not ask for it by name.

use std::ffi::{c_char, c_int};
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize, Serializer};

/// Length of a key.
const KEY_BYTES: usize = 32;
/// Length of a key in Z85: five characters for four bytes.
const KEY_CHARACTERS: usize = KEY_BYTES / 4 * 5;

/// The digits of Z85, in order of their value.
const DIGITS: &[u8; 85] = b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-:+=^!/*?&<>()[]{}@%$#";

/// The value of each byte as a digit; [`NO_DIGIT`] for what is none.
const VALUES: [u8; 256] = {
    let mut values = [NO_DIGIT; 256];
    let mut value = 0;
    while value < DIGITS.len() {
        values[DIGITS[value] as usize] = value as u8;
        value += 1;
    }
    values
};
const NO_DIGIT: u8 = u8::MAX;

unsafe extern "C" {
    /// libzmq's, which the crate `zmq` does not pass on: writes the public key of a secret one, both 40 characters of Z85
    /// and a NUL. Returns 0 unless libzmq lacks CURVE.
    fn zmq_curve_public(z85_public_key: *mut c_char, z85_secret_key: *const c_char) -> c_int;
}

/// Why a text is no key. Does not repeat the text, which may be a secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Longer or shorter than a key.
    #[error("is not a key: it has {0} characters instead of {KEY_CHARACTERS}")]
    Length(usize),
    /// Characters, or groups of them, that Z85 does not have.
    #[error("is not a key: characters {} to {} are not Z85", .0, .0 + 4)]
    Characters(usize),
}

/// What a peer is known by.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Deserialize)]
#[serde(try_from = "String")]
pub struct PublicKey([u8; KEY_BYTES]);

impl PublicKey {
    /// As it comes in a handshake; `None` when it has another length.
    pub fn from_bytes(bytes: &[u8]) -> Option<PublicKey> {
        bytes.try_into().ok().map(PublicKey)
    }

    /// As libzmq wants it.
    pub fn bytes(&self) -> &[u8; KEY_BYTES] {
        &self.0
    }
}

impl FromStr for PublicKey {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<PublicKey, KeyError> {
        decode(text).map(PublicKey)
    }
}

impl TryFrom<String> for PublicKey {
    type Error = KeyError;

    fn try_from(text: String) -> Result<PublicKey, KeyError> {
        text.parse()
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&encode(&self.0))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "PublicKey({self})")
    }
}

impl Serialize for PublicKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// What only its owner knows. Neither printed nor serialized.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretKey([u8; KEY_BYTES]);

impl SecretKey {
    /// The key itself, as libzmq wants it.
    pub fn reveal(&self) -> &[u8; KEY_BYTES] {
        &self.0
    }

    /// The key itself as it is written into a file.
    pub fn reveal_text(&self) -> String {
        encode(&self.0)
    }

    /// The public key that belongs to it.
    pub fn public(&self) -> PublicKey {
        let mut secret = self.reveal_text().into_bytes();
        secret.push(0);
        let mut public = [0_u8; KEY_CHARACTERS + 1];
        // SAFETY: both are buffers of 41 bytes, and the secret ends with NUL.
        let failed = unsafe { zmq_curve_public(public.as_mut_ptr().cast(), secret.as_ptr().cast()) };
        assert_eq!(failed, 0, "libzmq has CURVE, and takes every key in Z85");
        let text = str::from_utf8(&public[..KEY_CHARACTERS]).expect("Z85 is ASCII");
        text.parse().expect("libzmq writes Z85")
    }
}

impl FromStr for SecretKey {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<SecretKey, KeyError> {
        decode(text).map(SecretKey)
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("SecretKey(****)")
    }
}

/// A new key with its public half.
#[derive(Clone, Debug)]
pub struct KeyPair {
    /// To be listed at the broker, or given to its clients.
    pub public: PublicKey,
    /// To be kept.
    pub secret: SecretKey,
}

impl KeyPair {
    /// A pair from the randomness of the operating system.
    ///
    /// # Panics
    /// When libzmq was built without CURVE: nothing that needs a key can work then.
    pub fn generate() -> KeyPair {
        let pair = zmq::CurveKeyPair::new().expect("libzmq has CURVE");
        KeyPair { public: PublicKey(pair.public_key), secret: SecretKey(pair.secret_key) }
    }
}

fn encode(key: &[u8; KEY_BYTES]) -> String {
    let mut text = String::with_capacity(KEY_CHARACTERS);
    for group in key.chunks_exact(4) {
        let value = u32::from_be_bytes([group[0], group[1], group[2], group[3]]);
        for place in (0..5).rev() {
            text.push(char::from(DIGITS[(value / 85_u32.pow(place) % 85) as usize]));
        }
    }
    text
}

/// libzmq's own decoder takes characters that Z85 does not have for others.
fn decode(text: &str) -> Result<[u8; KEY_BYTES], KeyError> {
    if text.len() != KEY_CHARACTERS {
        return Err(KeyError::Length(text.chars().count()));
    }
    let mut key = [0; KEY_BYTES];
    for (group, bytes) in key.chunks_exact_mut(4).enumerate() {
        let digits = &text.as_bytes()[group * 5..group * 5 + 5];
        let value = digits.iter().try_fold(0_u64, |value, &digit| {
            let digit = VALUES[usize::from(digit)];
            (digit != NO_DIGIT).then_some(value * 85 + u64::from(digit))
        });
        let value = value.and_then(|value| u32::try_from(value).ok()).ok_or(KeyError::Characters(group * 5 + 1))?;
        bytes.copy_from_slice(&value.to_be_bytes());
    }
    Ok(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_written_as_the_standard_has_it() {
        // The example of RFC 26: the client's test keys.
        let secret: SecretKey = "D:)Q[IlAW!ahhC2ac:9*A}h:p?([4%wOTJ%JR%cs".parse().expect("Z85");
        assert_eq!(secret.public().to_string(), "Yne@$w-vo<fVvi]a<NY6T1ed:M$fCG*[IaLV{hID");
        assert_eq!(secret.reveal_text(), "D:)Q[IlAW!ahhC2ac:9*A}h:p?([4%wOTJ%JR%cs");
    }

    #[test]
    fn a_new_pair_belongs_together_and_is_never_the_same() {
        let (one, other) = (KeyPair::generate(), KeyPair::generate());
        assert_eq!(one.secret.public(), one.public);
        assert_ne!(one.public, other.public);
        assert_eq!(one.public.to_string().parse(), Ok(one.public));
    }

    #[test]
    fn what_is_no_key_is_told_without_repeating_it() {
        let key = "Yne@$w-vo<fVvi]a<NY6T1ed:M$fCG*[IaLV{hID";
        for (text, problem) in [
            (String::new(), "is not a key: it has 0 characters instead of 40"),
            (key[1..].to_owned(), "is not a key: it has 39 characters instead of 40"),
            (format!("{}ä", &key[..38]), "is not a key: characters 36 to 40 are not Z85"),
            (key.replace('f', "~"), "is not a key: characters 11 to 15 are not Z85"),
            (key.replace("Yne@$", "#####"), "is not a key: characters 1 to 5 are not Z85"),
        ] {
            assert_eq!(text.parse::<PublicKey>().expect_err(&text).to_string(), problem);
        }
    }

    #[test]
    fn a_secret_key_does_not_show_itself() {
        let pair = KeyPair::generate();
        assert_eq!(format!("{:?}", pair.secret), "SecretKey(****)");
        let shown = format!("{pair:?}");
        assert!(shown.contains(&pair.public.to_string()) && !shown.contains(&pair.secret.reveal_text()), "{shown}");
    }
}
