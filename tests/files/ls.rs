//! `fve ls`.
