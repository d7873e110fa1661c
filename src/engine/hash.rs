//! Hashing of our own ids: they are random or counted by us, so no peer can choose collisions, and a fixed function keeps
//! runs repeatable.

use std::hash::{BuildHasherDefault, Hasher};

/// For maps whose keys are ids that we made.
pub(crate) type BuildIdHasher = BuildHasherDefault<IdHasher>;

/// Folds and mixes words (the multiplier is 2^64 divided by the golden ratio).
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct IdHasher(u64);

impl Hasher for IdHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.write_u64(u64::from_le_bytes(word));
        }
    }

    // Without these two, a number would go through `write` byte by byte.
    fn write_u32(&mut self, word: u32) {
        self.write_u64(word.into());
    }

    fn write_usize(&mut self, word: usize) {
        self.write_u64(word as u64);
    }

    fn write_u64(&mut self, word: u64) {
        self.0 = (self.0.rotate_left(5) ^ word).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        self.0 ^= self.0 >> 32;
    }
}
