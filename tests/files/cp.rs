//! `fve cp`.
