//! Time as the engine sees it: handed in, never read from a clock.

use std::ops::Add;

/// Milliseconds on the monotonic clock of the broker process. All deadlines are of this kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Mono(pub u64);

/// Milliseconds since the Unix epoch, only recorded or converted once into a [`Mono`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Wall(pub i64);

/// Both clocks, read once for all events that are handled together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Now {
    /// For deadlines.
    pub mono: Mono,
    /// For records.
    pub wall: Wall,
}

impl Add<u64> for Mono {
    type Output = Mono;

    fn add(self, delay_ms: u64) -> Mono {
        Mono(self.0.saturating_add(delay_ms))
    }
}

impl Mono {
    /// Milliseconds from `earlier` to `self`, 0 when it is not earlier.
    pub fn since(self, earlier: Mono) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

impl Now {
    /// The monotonic time at which the wall clock will show `wall`, if it does not jump; now when it is past.
    pub fn mono_at(self, wall: Wall) -> Mono {
        self.mono + u64::try_from(wall.0.saturating_sub(self.wall.0)).unwrap_or(0)
    }

    /// The wall time that belongs to a monotonic one, seen from now.
    pub fn wall_at(self, mono: Mono) -> Wall {
        let delta = i128::from(mono.0) - i128::from(self.mono.0);
        Wall(self.wall.0.saturating_add(i64::try_from(delta).unwrap_or(i64::MAX)))
    }
}
