//! Identities as types of their own, and the source of new ones: seeded, so that a run can be repeated.

use std::fmt;
use std::hash::{Hash, Hasher};

use uuid::Uuid;

use crate::time::Wall;

macro_rules! uuid_ids {
    ($($(#[$doc:meta])* $name:ident,)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub struct $name(pub Uuid);

        impl Hash for $name {
            // As two words: the derived one goes through sixteen bytes and their length.
            fn hash<H: Hasher>(&self, state: &mut H) {
                let (high, low) = self.0.as_u64_pair();
                state.write_u64(high);
                state.write_u64(low);
            }
        }

        impl $name {
            /// When it was made, by the clock of whoever made it. The time of a later id is never earlier.
            pub fn made_at(self) -> Wall {
                let (high, _) = self.0.as_u64_pair();
                // 48 bits always fit.
                Wall(i64::try_from(high >> 16).unwrap_or(i64::MAX))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(formatter)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(formatter, "{}({})", stringify!($name), self.0)
            }
        }
    )*};
}

uuid_ids! {
    /// A task; a version 7 UUID, so that ids are ordered by time of creation.
    TaskId,
    /// A batch; a version 7 UUID. Ids of one broker never decrease.
    BatchId,
    /// One registration episode of a worker.
    RegistrationId,
}

/// A connection as the gateway numbers them; never used twice in one broker process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PeerId(pub u64);

/// Who asked, and the id that the answer carries back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Origin {
    /// The connection.
    pub peer: PeerId,
    /// The command's correlation id.
    pub correlation: Uuid,
}

/// Random numbers and new ids from a seed.
#[derive(Clone, Debug)]
pub struct IdSource {
    state: u64,
    stream: u64,
    last_ms: u64,
    counter: u32,
}

impl IdSource {
    /// A source; the same two numbers give the same ids at the same times.
    pub fn new(seed: [u64; 2]) -> IdSource {
        IdSource { state: seed[0], stream: seed[1], last_ms: 0, counter: 0 }
    }

    /// Makes every id from here on larger than this one.
    pub fn advance_past(&mut self, id: Uuid) {
        let (high, _) = id.as_u64_pair();
        self.last_ms = self.last_ms.max((high >> 16) + 1);
    }

    /// The next random number (SplitMix64, Steele et al. 2014, with a second seed word mixed in).
    pub fn random(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.state ^ self.stream.rotate_left(17);
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// A version 7 UUID (RFC 9562) that is larger than every one before it, even when the wall clock goes back.
    pub fn uuid(&mut self, now: Wall) -> Uuid {
        let now_ms = u64::try_from(now.0).unwrap_or(0);
        if now_ms > self.last_ms {
            self.last_ms = now_ms;
            self.counter = 0;
        } else {
            self.counter += 1;
            // 12 bits of counter follow the milliseconds; past them, borrow the next millisecond.
            if self.counter > 0xFFF {
                self.last_ms += 1;
                self.counter = 0;
            }
        }
        let high = (self.last_ms << 16) | 0x7000 | u64::from(self.counter);
        let low = 0x8000_0000_0000_0000 | (self.random() >> 2);
        Uuid::from_u64_pair(high, low)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_only_grow_even_when_the_clock_goes_back() {
        let mut source = IdSource::new([1, 2]);
        let mut last = Uuid::nil();
        for step in 0..20_000_i64 {
            let id = source.uuid(Wall(1_000_000 - step % 7));
            assert!(id > last, "{id} after {last}");
            assert_eq!(id.get_version_num(), 7);
            last = id;
        }
    }

    #[test]
    fn the_same_seed_gives_the_same_ids() {
        let ids = |seed| IdSource::new(seed).uuid(Wall(5));
        assert_eq!(ids([1, 2]), ids([1, 2]));
        assert_ne!(ids([1, 2]), ids([1, 3]));
    }
}
