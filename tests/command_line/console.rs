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
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use snapbox::Data;
use snapbox::assert::{Action, Assert};

use crate::common::output::{assert_status, text};
use crate::common::testdata;
use crate::common::trials::{self, Trial, programs, trial, trials};
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
pub fn commands(parents: &[String]) -> Vec<Vec<String>> {
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

#[trial("groff formats the manual pages", needs(all_features, || programs(&["groff"])))]
fn formatted_pages() {
    let place = place();
    run("fve man --to pages", &place);
    let said = run("groff -man -Tutf8 -ww pages/* 2>&1 >/dev/null", &place);
    assert_eq!(said.status.code(), Some(0));
    assert_eq!(String::from_utf8_lossy(&said.stdout), "");
}

/// The manual pages of all commands have the usual sections.
#[trial("manual pages", needs(all_features))]
fn manual_pages() {
    let place = place();
    let output = run("fve man --to pages", &place);
    assert_eq!(output.status.code(), Some(0));
    let pages = files(&place.join("pages"));
    assert!(pages.len() > 40, "{pages:?}");
    for path in &pages {
        let page = fs::read_to_string(path).expect("page");
        for section in [
            "NAME",
            "SYNOPSIS",
            "DESCRIPTION",
            "OPTIONS",
            "EXAMPLES",
            "ENVIRONMENT",
            "\"EXIT STATUS\"",
            "\"SEE ALSO\"",
        ] {
            let plain = section.trim_matches('"');
            let has = [section, plain].map(|title| page.contains(&format!("\n.SH {title}\n")));
            assert!(has.contains(&true), "{}: {section}", path.display());
        }
        // A page is referred to in the section that it is in.
        for (name, _) in page.match_indices("(8)").chain(page.match_indices("(1)")) {
            let before = page
                .get(..name)
                .unwrap_or_default()
                .trim_end_matches("\\fR");
            let start = before
                .rfind("fve\\-")
                .filter(|start| !before[*start..].contains(' '));
            if let Some(start) = start {
                let named = before[start..].replace('\\', "");
                let section = &page[name + 1..name + 2];
                let file = format!("{named}.{section}");
                assert!(
                    place.join("pages").join(&file).exists(),
                    "{}: {file}",
                    path.display()
                );
            }
        }
    }
    // An alias has the page of its command, and a name that is unknown is not repeated.
    let page = |words: &str| run(&format!("fve man {words}"), &place);
    let text = |words: &str| String::from_utf8(page(words).stdout).expect("UTF-8");
    assert!(text("umount").contains("FVE-UNMOUNT"), "{}", text("umount"));
    assert!(text("protector add").contains("\"FVE-PROTECTOR-ADD\" \"8\""));
    assert!(text("mount.fve").contains("MOUNT.FVE"));
    let unknown = page("hunter2");
    assert_eq!(unknown.status.code(), Some(2));
    assert!(!String::from_utf8_lossy(&unknown.stderr).contains("hunter2"));
}

/// bash completes commands, options, values and file names; the other shells parse their scripts.
#[trial("shell completions", needs(all_features))]
fn completions() {
    let place = place();
    let answers = |words: &[&str]| {
        let line = words.join(" ");
        let last = words.len() - 1;
        let previous = words[last - 1];
        let script = format!(
            "source <(fve completions bash); COMP_WORDS=({line}); COMP_CWORD={last}; \
             _fve fve {} {previous}; printf '%s\\n' \"${{COMPREPLY[@]}}\"",
            words[last]
        );
        let output = run(
            &format!("bash -c '{}'", script.replace('\'', "'\\''")),
            &place,
        );
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let has = |words: &[&str], wanted: &str| {
        let answers = answers(words);
        assert!(
            answers.lines().any(|line| line == wanted),
            "{words:?}: {answers}"
        );
    };
    has(&["fve", "moun"], "mount");
    has(&["fve", "protector", "ad"], "add");
    has(
        &["fve", "mount", "--recovery-pass"],
        "--recovery-password-file",
    );
    has(&["fve", "mount", "--driver", "ke"], "kernel");
    // Where the script has no answer, bash completes file names.
    let names = answers(&["fve", "info", "--json", "volume.i"]);
    assert_eq!(names.trim(), "");
    let script = run("fve completions bash", &place).stdout;
    assert!(String::from_utf8_lossy(&script).contains("-o bashdefault -o default fve"));
    has(&["fve", "mount", "--password-file", "passw"], "password");
    let parses = |shell: &str, check: &str| {
        let line = format!("fve completions {shell} > script && {check} script");
        let output = run(&line, &place);
        assert_eq!(output.status.code(), Some(0), "{shell}: {output:?}");
    };
    parses("bash", "bash -n");
    for (shell, check) in [("zsh", "zsh -n"), ("fish", "fish -n")] {
        let installed = run(&format!("command -v {shell}"), &place);
        if installed.status.success() {
            parses(shell, check);
        }
    }
}

/// `-v` tells the steps, `-q` leaves only errors, and no file has colors.
#[trial("steps and silence", needs(all_features))]
fn steps() {
    let place = place();
    let said = |line: &str| {
        let output = run(line, &place);
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!text.contains('\x1b'), "{text}");
        text
    };
    let unlock = "unlock disk.img --password-file wrong-password --startup-key key.BEK";
    let steps = said(&format!("fve -v {unlock}"));
    for step in [
        "disk.img: no container",
        "the volume is partition 1",
        "the boot record says",
        "metadata copy 1 at",
        "the metadata copy at",
        "the volume has the key protector",
        "wrong password",
        "not tried on key protector",
        "unlocks the volume",
    ] {
        assert!(steps.contains(step), "{step}: {steps}");
    }
    assert_eq!(said(&format!("fve -q {unlock}")), "");
    let failed = said("fve -q unlock disk.img --password-file wrong-password");
    assert!(failed.starts_with("fve: error: "), "{failed}");
}

/// Commands that succeed, and say something on standard error. `QUIET` stands for the option, as after the first
/// word of the line.
const TALKING: &[&str] = &[
    "fve info disk.img",
    "fve info --json disk.img",
    "fve unlock disk.img --startup-key key.BEK",
    "fve unlock --json disk.img --startup-key key.BEK",
    "fve ls windows.img --recovery-password-file readable",
    "fve cat windows.img '$UpCase' --recovery-password-file readable",
    "fve cp windows.img / copy -r --recovery-password-file readable",
    "fve find windows.img --recovery-password-file readable",
    "fve decrypt disk.img new --startup-key key.BEK",
    "fve create new.img --size 1M --clear-key",
    "fve create new.img --size 1M --new-recovery-password",
    "fve create new.img --size 1M --recovery-password-to directory",
    "fve protector list disk.img",
    "fve protector show-recovery disk.img --startup-key key.BEK",
    "fve protector save-startup-key disk.img --startup-key key.BEK --startup-key-to directory",
    "fve protector add disk.img --startup-key key.BEK --new-recovery-password",
    "fve protector add --json disk.img --startup-key key.BEK --new-recovery-password",
    "fve protector add volume.img --startup-key key.BEK --startup-key-to directory",
    "fve protector remove volume.img --startup-key key.BEK --type recoverypassword",
    "fve protector rotate-recovery volume.img --startup-key key.BEK --recovery-password-to new",
    "fve protector change-password disk.img --startup-key key.BEK --new-password-file password",
    "fve protector change-startup-key volume.img --startup-key key.BEK --startup-key-to directory",
    "fve protector suspend volume.img --startup-key key.BEK",
    "fve protector suspend disk.img --startup-key key.BEK && fve QUIET protector resume disk.img",
    "fve metadata set-identifier disk.img example.org --startup-key key.BEK",
    "fve metadata backup volume.img new",
    "fve metadata backup disk.img new && fve QUIET metadata restore disk.img new --startup-key key.BEK",
    "fve export key-package volume.img new --startup-key key.BEK",
    "fve repair rebuild-header volume.img new",
    "fve repair scan windows.img --recovery-password-file readable",
    "fve report disk.img",
    "fve recovery check $(cat digits)",
    "fve recovery check --file readable --volume windows.img",
    "fve recovery search volume.img --pattern-file pattern --show",
    "fve recovery search volume.img --pattern $(cat pattern) --show --json",
    "fve recovery hash disk.img",
    "fve recovery lookup --volume windows.img readable",
];

/// Commands that fail in ways of their own.
const FAILING: &[(&str, i32)] = &[
    (
        "{ head -c 512 volume.img; cat zeros.img; } >lost.img; fve info --json lost.img",
        6,
    ),
    (
        "fve recovery search different-volumes.img --partition 2 --pattern-file pattern --show",
        4,
    ),
];

/// With `-q`, standard error has only errors, and nothing else changes: a new recovery password is still
/// printed.
#[trials]
fn silence() -> Vec<Trial> {
    let succeed = TALKING.iter().map(|line| (*line, 0));
    let lines = succeed.chain(FAILING.iter().copied());
    let trials = lines.map(|(line, status)| {
        trial(format!("silence of {line}"), all_features(), move || {
            let (out, said) = said_with("", line, status);
            let (quiet_out, quiet_said) = said_with("-q", line, status);
            assert_eq!(out, quiet_out);
            match status {
                0 => {
                    assert_ne!(said, "", "-q has nothing to leave out");
                    assert_eq!(quiet_said, "");
                }
                _ => assert!(quiet_said.starts_with("fve: error: "), "{quiet_said}"),
            }
        })
    });
    trials.collect()
}

/// Standard output and standard error of commands with this option, without what differs from run to run:
/// identifiers, digits and times.
fn said_with(option: &str, line: &str, status: i32) -> (String, String) {
    let place = place();
    for (from, to) in [
        ("ntfs-xts-128.img", "windows.img"),
        ("ntfs-xts-128.recovery.txt", "readable"),
    ] {
        fs::copy(testdata::directory().join(from), place.join(to)).expect(to);
    }
    let readable = fs::Permissions::from_mode(0o644);
    fs::set_permissions(place.join("readable"), readable).expect("readable");
    let line = line.replacen("fve", &format!("fve {option}"), 1);
    let output = run(&line.replace("QUIET", option), &place);
    assert_status(&output, status);
    let shown = |bytes: &[u8]| {
        let text = text(bytes).replace(&place.display().to_string(), "[PLACE]");
        let mut shown = String::new();
        for c in text.chars() {
            match c.is_ascii_digit() || ('A'..='F').contains(&c) {
                true if shown.ends_with('#') => {}
                true => shown.push('#'),
                false => shown.push(c),
            }
        }
        shown
    };
    (shown(&output.stdout), shown(&output.stderr))
}
