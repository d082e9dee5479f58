//! How often the Elephant diffusers go over a sector (docs/format.md §5.2), for all that compute
//! them.

/// Cycles of diffuser A.
pub(super) const CYCLES_A: usize = 5;
/// Cycles of diffuser B.
pub(super) const CYCLES_B: usize = 3;
