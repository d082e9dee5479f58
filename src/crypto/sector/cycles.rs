//! The numbers of cycles of the Elephant diffusers (docs/format.md §5.2), for all implementations.

/// How often diffuser A goes over a sector.
pub(super) const CYCLES_A: usize = 5;
/// How often diffuser B goes over a sector.
pub(super) const CYCLES_B: usize = 3;
