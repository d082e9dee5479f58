//! `fve cat`.
