//! The output of the command, compared with files in `tests/console/`: the help of every command,
//! and the most common failures. With `FVE_WRITE_CONSOLE=1` the files are written; `git diff` then
//! shows what changed.
//!
//! A file in `tests/console/` begins with a command line as a user types it, followed by its
//! output. A new case needs only the first line. The files in `tests/console/help/` are for the
//! commands that `--help` lists.
//!
//! `trycmd` runs such files, too, but all of them as one test: then no case can be ignored alone,
//! and a command without a file goes unnoticed. So this uses `snapbox`, on which `trycmd` is built.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use snapbox::Data;
use snapbox::assert::{Action, Assert};

use crate::common::trials::{self, Trial, trial, trials};
use crate::shell::{all_features, place, run};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/console")
}

#[trials]
fn help() -> Vec<Trial> {
    let mut trials = Vec::new();
    for command in commands(&[]) {
        let name = format!("help of {}", command.join(" "));
        trials.push(trial(name, all_features(), move || {
            let path = help_file(&command);
            let line = format!("{} --help", command.join(" "));
            check(&path, &line, &std::env::temp_dir());
        }));
    }
    trials
}

/// Most lines of a summary (`-h`): one screen.
const SCREEN: usize = 50;

/// The summary of every command is one screen and ends with examples, and nothing in it is missing from
/// the whole help.
#[trials]
fn summaries() -> Vec<Trial> {
    let mut trials = Vec::new();
    for command in commands(&[]) {
        let name = format!("summary of {}", command.join(" "));
        trials.push(trial(name, all_features(), move || {
            let printed = |option: &str| {
                let line = format!("{} {option}", command.join(" "));
                let output = run(&line, &std::env::temp_dir());
                String::from_utf8(output.stdout).expect("UTF-8")
            };
            let (summary, all) = (printed("-h"), printed("--help"));
            let lines = summary.lines().count();
            assert!(lines <= SCREEN, "{lines} lines:\n{summary}");
            assert!(summary.contains("\nExamples:\n"), "{summary}");
            let options = |text: &str| -> BTreeSet<String> {
                // Not those that are named in the help of another.
                let is_entry = |line: &&str| {
                    let text = line.trim_start();
                    text.starts_with('-') && line.len() - text.len() <= 6
                };
                let entries = text.lines().filter(is_entry);
                let entries = entries.filter_map(|line| line.trim_start().split("  ").next());
                let words = entries.flat_map(|entry| entry.split([' ', '=', '[', ',']));
                let options = words.filter(|word| word.starts_with("--"));
                options
                    .map(|word| word.trim_end_matches('.').to_owned())
                    .collect()
            };
            let (few, many) = (options(&summary), options(&all));
            assert!(few.is_subset(&many), "{few:?}\n{many:?}");
            // The user is told where the rest is.
            let pointer = "\nAll options";
            let is_whole = few.len() == many.len() && command.len() > 1;
            assert_eq!(summary.contains(pointer), !is_whole, "{summary}");
        }));
    }
    trials
}

/// Finds files that were left for commands that no longer exist.
#[trial("every help file belongs to a command", needs(all_features))]
fn every_help_file_belongs_to_a_command() {
    let known: BTreeSet<_> = commands(&[]).iter().map(|one| help_file(one)).collect();
    let found = files(&folder().join("help"));
    let lost: Vec<_> = found.iter().filter(|path| !known.contains(*path)).collect();
    assert!(lost.is_empty(), "no command has the help in {lost:?}");
}

fn help_file(command: &[String]) -> PathBuf {
    let name = format!("{}.txt", command.join("-"));
    folder().join("help").join(name)
}

/// This command and all its subcommands, as their help lists them.
fn commands(parents: &[String]) -> Vec<Vec<String>> {
    let mut arguments = parents.to_vec();
    if arguments.is_empty() {
        arguments.push("fve".to_owned());
    }
    let output = run(
        &format!("{} --help", arguments.join(" ")),
        &std::env::temp_dir(),
    );
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    let list = text.lines().skip_while(|line| *line != "Commands:").skip(1);
    let names: Vec<_> = list
        .take_while(|line| !line.is_empty())
        .filter(|line| !line.starts_with("   "))
        .filter_map(|line| line.split_whitespace().next())
        .filter(|name| *name != "help")
        .map(str::to_owned)
        .collect();
    let below = names.into_iter().flat_map(|name| {
        let mut command = arguments.clone();
        command.push(name);
        commands(&command)
    });
    let below: Vec<_> = below.collect();
    [vec![arguments.clone()], below].concat()
}

#[trials]
fn failures() -> Vec<Trial> {
    let cases = files(&folder()).into_iter().map(|path| {
        let name = path
            .file_stem()
            .expect("name")
            .to_string_lossy()
            .into_owned();
        trial(name, all_features().or_else(trials::fuse), move || {
            let case = fs::read_to_string(&path).expect("case");
            let line = case.lines().next().and_then(|line| line.strip_prefix("$ "));
            let place = place();
            check(&path, line.expect("a line that begins with '$ '"), &place);
        })
    });
    cases.collect()
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).expect("tests/console");
    let paths = entries.map(|entry| entry.expect("entry").path());
    let mut files: Vec<_> = paths.filter(|path| path.is_file()).collect();
    files.sort();
    files
}

/// Runs the command line, and compares its output with the file.
fn check(path: &Path, line: &str, place: &Path) {
    let output = run(line, place);
    let mut shown = format!("$ {line}\n");
    let status = output.status.code().expect("a status");
    shown += &format!("exit status: {status}\n");
    for (name, bytes) in [
        ("standard output", output.stdout),
        ("standard error", output.stderr),
    ] {
        let text = String::from_utf8(bytes).expect("UTF-8");
        let text = text.replace(&place.display().to_string(), "[PLACE]");
        if !text.is_empty() {
            shown += &format!("\n{name}:\n{text}");
        }
    }
    // Editors remove trailing blanks.
    let lines: Vec<_> = shown.lines().map(str::trim_end).collect();
    let action = match std::env::var_os("FVE_WRITE_CONSOLE") {
        Some(_) => Action::Overwrite,
        None => Action::Verify,
    };
    let expected = Data::read_from(path, None).raw();
    Assert::new()
        .action(action)
        .eq(Data::text(lines.join("\n") + "\n").raw(), expected);
}
