//! The table that `fve list` prints.

use fve::shown::ShowPath;

use super::found::{Found, Uses};
use crate::cli::describe::{line, protection_words};
use crate::cli::output::term::{escaped, human_size};

const HEADINGS: [&str; 5] = ["DEVICE", "SIZE", "METHOD", "STATE", "IN USE"];

/// A row for each volume, and below it a line for each identifier: a recovery screen shows the whole
/// identifier, for which a table has no room.
pub(super) fn table(volumes: &[(&Found, Option<Uses>)]) -> String {
    let mut text = String::new();
    if volumes.is_empty() {
        return text;
    }
    let rows: Vec<_> = volumes
        .iter()
        .map(|(volume, uses)| row(volume, uses.as_ref()))
        .collect();
    let headings = HEADINGS.map(str::to_owned);
    let mut widths = [0; HEADINGS.len()];
    for row in std::iter::once(&headings).chain(&rows) {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.chars().count().max(*width);
        }
    }
    write_row(&mut text, &headings, &widths);
    for (row, (volume, _)) in rows.iter().zip(volumes) {
        write_row(&mut text, row, &widths);
        write_identifiers(&mut text, volume);
    }
    text
}

fn write_row(text: &mut String, row: &[String], widths: &[usize]) {
    let cells = row.iter().zip(widths);
    let cells: Vec<_> = cells
        .map(|(cell, width)| format!("{cell:<width$}"))
        .collect();
    line(text, format_args!("{}", cells.join("  ").trim_end()));
}

fn write_identifiers(text: &mut String, volume: &Found) {
    if let Some(id) = volume.id {
        let description = volume.description.as_deref();
        let description = description.map_or_else(String::new, |description| {
            format!(" [{}]", escaped(description))
        });
        line(text, format_args!("    volume {id:X}{description}"));
    }
    for id in volume.recovery_ids() {
        line(text, format_args!("    recovery key ID {id}"));
    }
    if let Some(fault) = &volume.fault {
        line(text, format_args!("    {}", escaped(fault)));
    }
}

fn row(volume: &Found, uses: Option<&Uses>) -> [String; HEADINGS.len()] {
    let device = volume.device.shown();
    [
        match volume.partition {
            Some(number) => format!("{device} partition {number}"),
            None => device.to_string(),
        },
        human_size(volume.size),
        volume.method.clone(),
        match &volume.status {
            Some(status) => format!(
                "{}, {}",
                status.conversion,
                protection_words(status.protection)
            ),
            None => "Unknown".to_owned(),
        },
        uses.map_or_else(|| "unknown".to_owned(), in_words),
    ]
}

/// The uses of a volume; `-` if there are none.
fn in_words(uses: &Uses) -> String {
    let mounts = uses.mounts.iter().map(|mount| {
        let directory = mount.directory.shown();
        match mount.certain {
            true => format!("mounted on {directory}"),
            false => format!(
                "perhaps mounted on {directory} (from {})",
                mount.what.shown()
            ),
        }
    });
    let mapped = uses
        .mapped
        .iter()
        .map(|path| format!("open as {}", path.shown()));
    let attached = uses.attached.iter();
    let attached = attached.map(|path| format!("attached as {}", path.shown()));
    let others = uses.others.iter().map(|other| escaped(other));
    let all: Vec<_> = mounts.chain(mapped).chain(attached).chain(others).collect();
    match all.is_empty() {
        true => "-".to_owned(),
        false => all.join(", "),
    }
}
