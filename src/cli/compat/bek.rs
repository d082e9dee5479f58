//! dislocker-bek: describes a startup key. Unlike dislocker, it does not print the key.

use std::path::Path;

use fve::error::Error;
use fve::manage::SavedFile;

use super::Call;
use super::words::{Form, Given, Takes};
use crate::cli::describe::SavedReport;
use crate::cli::failure::Failure;
use crate::cli::output::term;

pub(super) const FORMS: &[Form] = &[('f', "", Takes::Value), ('h', "", Takes::Nothing)];

pub(super) fn run(call: &Call<'_>, given: &Given) -> Result<(), Failure> {
    let file = given.value('f');
    let file = file.ok_or_else(|| call.refused("no file is given with -f"))?;
    call.remember_inputs([(file, "the FILE of -f")]);
    let path = file.os();
    let path = Path::new(&path);
    let bytes = fve::input::read(path, "startup key")?;
    let is_none = || Error::bad_credential("startup key", "the file is not a .BEK file");
    let saved = SavedFile::parse(bytes.expose(), path)?.ok_or_else(is_none)?;
    let report = SavedReport::of(path, bytes.len() as u64, &saved);
    match (&saved, report) {
        (SavedFile::StartupKey(_), Some(report)) => term::print(&report.text()),
        _ => Err(is_none().into()),
    }
}
