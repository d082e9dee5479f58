//! The ways in which candidates go side by side.

/// How candidates go side by side. All ways give the same keys.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Lanes {
    /// One after the other.
    One,
    /// Eight in AVX2 registers.
    Avx2,
    /// Four whose SHA instructions fill each other's waits.
    Sha,
    /// Sixteen in AVX-512 registers.
    Avx512,
}

impl Lanes {
    /// All ways, slowest first.
    pub const ALL: [Self; 4] = [Self::One, Self::Avx2, Self::Sha, Self::Avx512];

    /// How many candidates take as long as one: hand over that many at a time.
    pub fn width(self) -> usize {
        match self {
            Self::One => 1,
            Self::Sha => 4,
            Self::Avx2 => 8,
            Self::Avx512 => 16,
        }
    }

    /// A name for reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::One => "one at a time",
            Self::Avx2 => "AVX2",
            Self::Sha => "SHA instructions",
            Self::Avx512 => "AVX-512",
        }
    }
}
