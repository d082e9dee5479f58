//! `fve find`.
