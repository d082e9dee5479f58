//! Manual pages, from the same definitions as the help.

use clap::builder::PossibleValue;
use clap::{Arg, ArgAction, Command};
use roff::{Inline, Roff, bold, italic, roman};

use crate::cli::exit::EXIT_STATUSES;

/// The page of a command.
pub(crate) struct Page {
    /// Its name: `fve-protector-add`.
    pub(crate) name: String,
    /// Its section of the manual.
    pub(crate) section: u8,
    /// Its text in the language of troff.
    pub(crate) text: String,
}

impl Page {
    /// The name of its file, as man(1) looks for it.
    pub(crate) fn file(&self) -> String {
        format!("{}.{}", self.name, self.section)
    }
}

/// The commands that need root where they are used on a real computer: they overwrite a disk, change what
/// unlocks it, ask the TPM or answer the network. Their pages, and those of the commands below them, are
/// among those for administrators (`.8`). All others read, and need no more than permission to read SOURCE:
/// their pages are among those for users (`.1`).
const OF_ROOT: [&str; 5] = ["create", "protector", "metadata", "tpm", "network-unlock"];

/// What the environment and the file system are read for. The first column is an option of the commands
/// that do so; for every command, it is empty.
const ENVIRONMENT: &[(&str, &str, &str)] = &[
    (
        "password-file",
        "CREDENTIALS_DIRECTORY",
        "Directory with credentials from systemd: fve.recovery-password, fve.password, fve.pin, fve.certificate and fve.certificate-password. They are used where no option gives a credential.",
    ),
    (
        "file-name",
        "DISLOCKER_PASSWORD",
        "The password, for dislocker's option -u without a value: see fve-compat(1).",
    ),
    (
        "tpm",
        "TPM2TOOLS_TCTI",
        "The TPM to use where --tpm has no value, as for tpm2-tools.",
    ),
    (
        "tpm",
        "TSS2_LOG",
        "How much libtss2 logs on standard error. Where it is not set, fve turns this log off, and reports errors of the TPM in its own words.",
    ),
    (
        "lookup-user",
        "HOSTALIASES, LOCALDOMAIN, RES_OPTIONS, SSL_CERT_DIR, SSL_CERT_FILE, KRB5CCNAME, KRB5_CLIENT_KTNAME, KRB5_CONFIG, LD_LIBRARY_PATH",
        "Passed to the process that asks a directory server, for the libraries that resolve names, check certificates and log in with Kerberos. It gets no other variables.",
    ),
    (
        "systemd-ask-password",
        "PATH, XDG_RUNTIME_DIR",
        "Passed to systemd-ask-password, which needs them to find the agents. It gets no other variables.",
    ),
    (
        "driver",
        "PATH",
        "Where ntfs-3g and exfat-fuse are looked for; then in the usual directories for programs.",
    ),
    (
        "socket",
        "XDG_RUNTIME_DIR",
        "Directory for the socket where no option names one. For root, that is /run.",
    ),
    (
        "backup-to",
        "XDG_STATE_HOME",
        "Directory for the temporary backup during a change; ~/.local/state by default.",
    ),
    (
        "backup-to",
        "HOME",
        "Its directory .local/state has the temporary backup where XDG_STATE_HOME is not set.",
    ),
    (
        "log",
        "JOURNAL_STREAM",
        "systemd sets it where standard error is its journal. Each line of the log in the format text then begins with its priority, such as <6>, which the journal reads.",
    ),
    (
        "",
        "NO_COLOR",
        "If it is set to any value, nothing is printed in color or bold. The same holds for output to a file or a pipe.",
    ),
    (
        "",
        "TERM",
        "If it is not set, or is dumb, nothing is printed in color or bold, and manual pages are printed without a pager.",
    ),
];

/// Files: as [`ENVIRONMENT`].
const FILES: &[(&str, &str, &str)] = &[
    (
        "network-unlock",
        "/etc/fve/network",
        "Sidecar files of volumes with a Network Unlock protector.",
    ),
    (
        "backup-to",
        "~/.local/state/fve",
        "A backup of the metadata during a change. It is deleted after the change has succeeded.",
    ),
    (
        "driver",
        "/run/fve/mounts",
        "The decrypted volumes whose files another driver shows. Only root can enter it. Where /run cannot be written to, it is in /var/lib/fve or /tmp/fve.",
    ),
    (
        "driver",
        "/sbin/mount.fve",
        "A link to fve, for mount(8) and fstab(5).",
    ),
];

/// The pages of all commands, the first that of fve itself.
pub(crate) fn pages(command: Command) -> Vec<Page> {
    let mut command = command.disable_help_subcommand(true);
    command.build();
    let mut pages = Vec::new();
    add_pages(&command, &[], &mut pages);
    pages
}

/// The page of the command with these words and the pages below it.
fn add_pages(command: &Command, parents: &[&Command], pages: &mut Vec<Page>) {
    let path: Vec<_> = parents.iter().copied().chain([command]).collect();
    pages.push(page(&path));
    for below in shown_below(command) {
        add_pages(below, &path, pages);
    }
}

fn shown_below(command: &Command) -> impl Iterator<Item = &Command> {
    command
        .get_subcommands()
        .filter(|below| !below.is_hide_set())
}

/// The name of the page for a command: its words, with dashes between them.
fn name(path: &[&Command]) -> String {
    let words: Vec<_> = path.iter().map(|command| command.get_name()).collect();
    words.join("-")
}

fn section(path: &[&Command]) -> u8 {
    match path.get(1) {
        Some(command) if OF_ROOT.contains(&command.get_name()) => 8,
        _ => 1,
    }
}

fn page(path: &[&Command]) -> Page {
    let (name, section) = (name(path), section(path));
    let mut roff = Roff::new();
    let Some((command, parents)) = path.split_last() else {
        return Page {
            name,
            section,
            text: String::new(),
        };
    };
    let manual = match section {
        8 => "System Administration",
        _ => "User Commands",
    };
    let about = command
        .get_about()
        .map(ToString::to_string)
        .unwrap_or_default();
    roff.control("SH", ["NAME"]);
    roff.text([roman(format!("{name} - {}", with_small_letter(&about)))]);
    roff.control("SH", ["SYNOPSIS"]);
    for line in synopsis(&name.replace('-', " "), path) {
        roff.control("HP", []);
        roff.text(line);
    }
    let after = command.get_after_long_help().or(command.get_after_help());
    let after = after.map(ToString::to_string).unwrap_or_default();
    let (remarks, examples) = parts(&after);
    roff.control("SH", ["DESCRIPTION"]);
    roff.text([roman(format!("{about}."))]);
    if !remarks.is_empty() {
        roff.control("PP", []);
        roff.text([roman(
            remarks.split_whitespace().collect::<Vec<_>>().join(" "),
        )]);
    }
    let aliases: Vec<_> = command.get_visible_aliases().collect();
    if !aliases.is_empty() {
        roff.control("PP", []);
        roff.text([roman(format!(
            "Other names of this command: {}.",
            aliases.join(", ")
        ))]);
    }
    commands(&mut roff, path);
    options(&mut roff, command);
    if !examples.is_empty() {
        roff.control("SH", ["EXAMPLES"]);
        for (number, line) in examples.into_iter().enumerate() {
            match line.strip_prefix("    ") {
                Some(code) => {
                    roff.control("RS", ["4"]);
                    roff.control("nf", []);
                    roff.text([bold(code)]);
                    roff.control("fi", []);
                    roff.control("RE", []);
                }
                None => {
                    if number > 0 {
                        roff.control("PP", []);
                    }
                    roff.text([roman(line.trim())]);
                }
            }
        }
    }
    table(&mut roff, "FILES", FILES, command);
    table(&mut roff, "ENVIRONMENT", ENVIRONMENT, command);
    roff.control("SH", ["EXIT STATUS"]);
    let is_check = command.get_name() == "check" || path.len() == 1;
    for (status, meaning) in EXIT_STATUSES
        .iter()
        .filter(|(status, _)| *status < 7 || is_check)
    {
        roff.control("TP", ["4"]);
        roff.text([bold(status.to_string())]);
        roff.text([roman(*meaning)]);
    }
    see_also(&mut roff, path, parents);
    // The date is empty: the same sources give the same page. Options and commands are not hyphenated.
    let head = format!(
        ".TH \"{}\" \"{section}\" \"\" \"fve {}\" \"{manual}\"\n.nh\n.ad l\n",
        name.to_uppercase(),
        env!("CARGO_PKG_VERSION")
    );
    Page {
        name,
        section,
        text: head + &roff.to_roff(),
    }
}

/// A title without the capital letter of its first word, unless that is an acronym.
fn with_small_letter(text: &str) -> String {
    let mut letters = text.chars();
    match (letters.next(), letters.clone().next()) {
        (Some(first), Some(second)) if !second.is_uppercase() => {
            first.to_lowercase().chain(letters).collect()
        }
        _ => text.to_owned(),
    }
}

/// The remarks before the examples in the text after the options, and the lines of the examples.
fn parts(after: &str) -> (&str, Vec<&str>) {
    let (remarks, examples) = after.split_once("Examples:\n").unwrap_or_default();
    let examples = examples.split("\n\n").next().unwrap_or_default();
    (remarks.trim(), examples.lines().collect())
}

/// The command with its most common options and their values.
fn synopsis(words: &str, path: &[&Command]) -> Vec<Vec<Inline>> {
    /// How many of its own options, and how many credentials.
    const MOST: (usize, usize) = (4, 3);
    let Some(command) = path.last() else {
        return Vec::new();
    };
    let words = match command.get_subcommands().next() {
        // The name of a command has dashes, too.
        _ if path.len() > 1 => path
            .iter()
            .map(|part| part.get_name())
            .collect::<Vec<_>>()
            .join(" "),
        _ => words.to_owned(),
    };
    let mut line = vec![bold(words)];
    if command.get_subcommands().next().is_some() {
        line.extend([roman(" "), italic("COMMAND"), roman(" [")]);
        line.extend([italic("OPTIONS"), roman("]")]);
        return vec![line];
    }
    let options = || shown(command).filter(|arg| !arg.is_positional());
    let common = || options().filter(|arg| !arg.is_hide_short_help_set() && !arg.is_required_set());
    let own =
        common().filter(|arg| matches!(arg.get_help_heading(), None | Some("New key protectors")));
    let credentials = common().filter(|arg| arg.get_help_heading() == Some("Credentials"));
    for arg in options().filter(|arg| arg.is_required_set()) {
        line.push(roman(" "));
        line.extend(option(arg, false));
    }
    for arg in own.take(MOST.0).chain(credentials.take(MOST.1)) {
        line.push(roman(" ["));
        line.extend(option(arg, false));
        line.push(roman("]"));
    }
    line.extend([roman(" ["), italic("OPTIONS"), roman("]")]);
    for arg in command.get_positionals().filter(|arg| !arg.is_hide_set()) {
        let many = arg
            .get_num_args()
            .is_some_and(|count| count.max_values() > 1);
        let dots = if many { "..." } else { "" };
        let (left, right) = match arg.is_required_set() {
            true => (" ", ""),
            false => (" [", "]"),
        };
        line.extend([
            roman(left),
            italic(value(arg)),
            roman(format!("{right}{dots}")),
        ]);
    }
    vec![line]
}

fn shown(command: &Command) -> impl Iterator<Item = &Arg> {
    command.get_arguments().filter(|arg| !arg.is_hide_set())
}

/// The placeholder of a value.
fn value(arg: &Arg) -> String {
    match arg.get_value_names() {
        Some(names) => names.join(" "),
        None => arg.get_id().as_str().to_uppercase(),
    }
}

/// An option with its value.
fn option(arg: &Arg, short_too: bool) -> Vec<Inline> {
    let short = arg.get_short().map(|short| format!("-{short}"));
    let long = arg.get_long().map(|long| format!("--{long}"));
    let mut line = Vec::new();
    match (short, long) {
        (Some(short), Some(long)) if short_too => {
            line.extend([bold(short), roman(", "), bold(long)]);
        }
        (Some(name), _) | (None, Some(name)) => line.push(bold(name)),
        (None, None) => {}
    }
    let takes_value = matches!(arg.get_action(), ArgAction::Set | ArgAction::Append);
    match (takes_value, arg.is_require_equals_set()) {
        (true, true) => line.extend([roman("[="), italic(value(arg)), roman("]")]),
        (true, false) => line.extend([roman(" "), italic(value(arg))]),
        (false, _) => {}
    }
    line
}

fn commands(roff: &mut Roff, path: &[&Command]) {
    let Some(command) = path.last() else {
        return;
    };
    let mut below = shown_below(command).peekable();
    if below.peek().is_some() {
        roff.control("SH", ["COMMANDS"]);
    }
    for one in below {
        let path: Vec<_> = path.iter().copied().chain([one]).collect();
        roff.control("TP", []);
        roff.text(reference(&path));
        let about = one.get_about().map(ToString::to_string);
        roff.text([roman(format!("{}.", about.unwrap_or_default()))]);
    }
}

/// The name of another page and its section.
fn reference(path: &[&Command]) -> Vec<Inline> {
    vec![bold(name(path)), roman(format!("({})", section(path)))]
}

fn options(roff: &mut Roff, command: &Command) {
    let mut headings: Vec<Option<&str>> = Vec::new();
    for arg in shown(command) {
        if !headings.contains(&arg.get_help_heading()) {
            headings.push(arg.get_help_heading());
        }
    }
    // As in the help: what has no heading first.
    headings.sort_by_key(|heading| heading.is_some());
    roff.control("SH", ["OPTIONS"]);
    for heading in headings {
        if let Some(heading) = heading {
            roff.control("SS", [heading]);
        }
        for arg in shown(command).filter(|arg| arg.get_help_heading() == heading) {
            roff.control("TP", []);
            match arg.is_positional() {
                true => roff.text([italic(value(arg))]),
                false => roff.text(option(arg, true)),
            };
            roff.text([roman(explanation(arg))]);
        }
    }
}

/// The whole help of an option, with its default and its possible values.
fn explanation(arg: &Arg) -> String {
    let help = arg.get_long_help().or(arg.get_help());
    let help = help.map(ToString::to_string).unwrap_or_default();
    let mut text = help.split_whitespace().collect::<Vec<_>>().join(" ");
    if !text.ends_with(['.', ')', ']']) || text.ends_with(')') {
        text.push('.');
    }
    let takes_value = matches!(arg.get_action(), ArgAction::Set | ArgAction::Append);
    let values: Vec<_> = arg
        .get_possible_values()
        .iter()
        .filter(|value| takes_value && !value.is_hide_set())
        .map(possible)
        .collect();
    if !values.is_empty() {
        text.push_str(&format!(" Possible values: {}.", values.join("; ")));
    }
    let defaults: Vec<_> = arg
        .get_default_values()
        .iter()
        .filter(|_| takes_value)
        .map(|value| value.to_string_lossy())
        .collect();
    if !defaults.is_empty() {
        text.push_str(&format!(" Default: {}.", defaults.join(", ")));
    }
    text
}

fn possible(value: &PossibleValue) -> String {
    match value.get_help() {
        Some(help) => format!(
            "{} ({})",
            value.get_name(),
            with_small_letter(&help.to_string())
        ),
        None => value.get_name().to_owned(),
    }
}

/// A section with the rows that concern this command; the page of fve itself has all.
fn table(roff: &mut Roff, title: &str, rows: &[(&str, &str, &str)], command: &Command) {
    let is_root = command.get_name() == "fve";
    let has = |option: &str| shown(command).any(|arg| arg.get_long() == Some(option));
    let mut rows = rows
        .iter()
        .filter(|(option, ..)| is_root || option.is_empty() || has(option))
        .peekable();
    if rows.peek().is_some() {
        roff.control("SH", [title]);
    }
    for (_, name, meaning) in rows {
        roff.control("TP", []);
        roff.text([bold(*name)]);
        roff.text([roman(*meaning)]);
    }
}

fn see_also(roff: &mut Roff, path: &[&Command], parents: &[&Command]) {
    let mut pages: Vec<Vec<Inline>> = Vec::new();
    for len in 1..=parents.len() {
        pages.extend(parents.get(..len).map(reference));
    }
    // The commands beside it, where they form a group.
    if let [_, .., group] = parents {
        for beside in shown_below(group) {
            let other: Vec<_> = parents.iter().copied().chain([beside]).collect();
            if name(&other) != name(path) {
                pages.push(reference(&other));
            }
        }
    }
    let top = path.get(1).map_or("fve", |command| command.get_name());
    let others: &[(&str, u8)] = match top {
        "fve" => &[
            ("mount.fve", 8),
            ("fstab", 5),
            ("blkid", 8),
            ("cryptsetup", 8),
        ],
        "mount" => &[
            ("fve-unmount", 1),
            ("mount.fve", 8),
            ("fstab", 5),
            ("systemd.mount", 5),
        ],
        "unmount" => &[("fve-mount", 1), ("umount", 8)],
        "ls" | "cat" | "cp" | "find" => &[("fve-mount", 1)],
        "info" => &[("fve-report", 1), ("fve-protector-list", 8), ("blkid", 8)],
        "decrypt" => &[("fve-repair", 1), ("ddrescue", 1)],
        "tpm" => &[("tpm2_pcrread", 1)],
        "man" => &[("man", 1)],
        _ => &[],
    };
    for (name, section) in others {
        pages.push(vec![bold(*name), roman(format!("({section})"))]);
    }
    roff.control("SH", ["SEE ALSO"]);
    let mut line = Vec::new();
    for (number, page) in pages.into_iter().enumerate() {
        if number > 0 {
            line.push(roman(", "));
        }
        line.extend(page);
    }
    roff.text(line);
}
