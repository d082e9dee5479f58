//! The ways to stretch several candidates at the same time.

/// A way to stretch several candidates at the same time. All ways give the same keys.
///
/// ```
/// use fve::crypto::stretch::{InitialHash, Lanes};
///
/// let lanes = Lanes::best();
/// let candidates: Vec<_> = ["anaconda", "python"].map(InitialHash::of_password).into();
/// let keys = lanes.stretch_rounds(&candidates, &[0; 16], 2);
/// assert_eq!(keys.len(), 2);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Lanes {
    /// One after another.
    One,
    /// Eight, in the lanes of AVX2 registers.
    Avx2,
    /// Four, by SHA instructions. One candidate leaves them idle most of the time, because each
    /// instruction waits for the one before.
    Sha,
    /// Sixteen, in the lanes of AVX-512 registers.
    Avx512,
}

impl Lanes {
    /// All ways, slowest first.
    pub const ALL: [Self; 4] = [Self::One, Self::Avx2, Self::Sha, Self::Avx512];

    /// How many candidates are stretched at the same time. Pass a multiple of that to
    /// [`stretch`](Self::stretch), or lanes stay empty.
    pub fn width(self) -> usize {
        match self {
            Self::One => 1,
            Self::Sha => 4,
            Self::Avx2 => 8,
            Self::Avx512 => 16,
        }
    }

    /// A name for messages.
    pub fn name(self) -> &'static str {
        match self {
            Self::One => "one at a time",
            Self::Avx2 => "AVX2",
            Self::Sha => "SHA instructions",
            Self::Avx512 => "AVX-512",
        }
    }
}
