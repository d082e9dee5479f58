//! What `-h` prints, and the manual page fve-compat(1).

use super::{HELPER, NAMES, Tool};

/// What to use instead of a tool, and the options that are translated.
struct Row {
    tool: Tool,
    /// The arguments.
    usage: &'static str,
    /// What it does here.
    does: &'static str,
    /// The command of fve for the same.
    ours: &'static str,
    /// Each option, and what becomes of it.
    options: &'static [&'static [Translation]],
}

/// An option, and what becomes of it.
type Translation = (&'static str, &'static str);

const DISLOCKER_OPTIONS: &[Translation] = &[
    (
        "-V VOLUME",
        "the volume: a device, a disk or an image (SOURCE)",
    ),
    ("-O BYTES", "where the volume begins (--offset BYTES)"),
    (
        "-p[DIGITS]",
        "the recovery password; without DIGITS, it is asked for (--recovery-password-file FILE)",
    ),
    (
        "-u[PASSWORD]",
        "the password; without PASSWORD, it is that in $DISLOCKER_PASSWORD, or is asked for on a terminal, or is the first line of standard input (--password-file FILE)",
    ),
    (
        "-f FILE",
        "the startup key, a .BEK file (--startup-key FILE)",
    ),
    ("-k FILE", "the FVEK (--fvek-file FILE)"),
    ("-K FILE", "the VMK (--vmk-file FILE)"),
    (
        "-c",
        "the clear key, which is tried in any case; without another credential, nothing is asked for",
    ),
    ("-l FILE", "messages go to the end of FILE"),
    ("-v, -q", "more messages, or none (--verbose, --quiet)"),
    (
        "-s, -F[N]",
        "no effect: all metadata copies and the state are always checked",
    ),
];

const FUSE_OPTIONS: &str =
    "for FUSE: allow_other, allow_root, auto_unmount, direct_io, noexec, ro, uid=, gid=, umask=";

const DISLOCKER_LIST: &str = "long options of dislocker, as in 'offset=BYTES', and options for FUSE: allow_other, allow_root, auto_unmount, direct_io, noexec, ro, uid=, gid=, umask=";

const LIBBDE_OPTIONS: &[Translation] = &[
    ("-o BYTES", "where the volume begins (--offset BYTES)"),
    ("-p PASSWORD", "the password (--password-file FILE)"),
    (
        "-r DIGITS",
        "the recovery password (--recovery-password-file FILE)",
    ),
    (
        "-s FILE",
        "the startup key, a .BEK file (--startup-key FILE)",
    ),
    ("-k FVEK:TWEAK", "the sector keys (--fvek-file FILE)"),
    ("-u", "ask nothing (--no-prompt)"),
    ("-V", "print the version"),
];

const ROWS: &[Row] = &[
    Row {
        tool: Tool::Dislocker,
        usage: "-V VOLUME [OPTIONS] -- DIR, or VOLUME DIR [-o OPTIONS]",
        does: "shows the decrypted volume as the file DIR/dislocker-file",
        ours: "fve mount --volume SOURCE DIR",
        options: &[
            DISLOCKER_OPTIONS,
            &[
                (
                    "-r",
                    "read-only; without it, the volume can be written to if that is safe",
                ),
                ("-o OPTIONS", DISLOCKER_LIST),
                ("-d, -f", "after '--': stay in the foreground"),
            ],
        ],
    },
    Row {
        tool: Tool::DislockerFile,
        usage: "-V VOLUME [OPTIONS] -- FILE",
        does: "writes the decrypted volume to a new file",
        ours: "fve decrypt SOURCE FILE",
        options: &[
            DISLOCKER_OPTIONS,
            &[
                ("-r", "no effect: the volume is only read"),
                (
                    "-o OPTIONS",
                    "the long options of dislocker, as in 'offset=BYTES'",
                ),
            ],
        ],
    },
    Row {
        tool: Tool::DislockerFind,
        usage: "[FILE...]",
        does: "prints the devices or files that are BitLocker volumes; the exit status is their number, or 0 after an error",
        ours: "fve list",
        options: &[],
    },
    Row {
        tool: Tool::DislockerMetadata,
        usage: "-V VOLUME [-o BYTES]",
        does: "describes the metadata of a volume",
        ours: "fve info SOURCE",
        options: &[&[
            ("-V VOLUME", "the volume (SOURCE)"),
            ("-o BYTES", "where the volume begins (--offset BYTES)"),
            ("-v", "no effect"),
        ]],
    },
    Row {
        tool: Tool::DislockerBek,
        usage: "-f FILE",
        does: "describes a startup key, without the key itself",
        ours: "fve info FILE",
        options: &[&[("-f FILE", "the startup key, a .BEK file (SOURCE)")]],
    },
    Row {
        tool: Tool::Bdemount,
        usage: "[OPTIONS] VOLUME DIR",
        does: "shows the decrypted volume as the read-only file DIR/bde1",
        ours: "fve mount --volume SOURCE DIR",
        options: &[
            LIBBDE_OPTIONS,
            &[
                (
                    "-v",
                    "more messages, and stay in the foreground (--verbose --foreground)",
                ),
                ("-X OPTIONS", FUSE_OPTIONS),
            ],
        ],
    },
    Row {
        tool: Tool::Bdeinfo,
        usage: "[OPTIONS] VOLUME",
        does: "describes a volume, and fails if no credential unlocks it",
        ours: "fve info SOURCE",
        options: &[LIBBDE_OPTIONS, &[("-v", "no effect")]],
    },
];

/// What mount(8) starts.
const HELPER_ROW: Row = Row {
    tool: Tool::Dislocker,
    usage: "SOURCE DIR [-fnsv] [-o OPTIONS]",
    does: "shows the decrypted volume as the file DIR/dislocker-file, for lines of /etc/fstab with the type fuse.dislocker",
    ours: "mount -t fve -o volume SOURCE DIR",
    options: &[&[
        (
            "-o OPTIONS",
            "the long options of dislocker, as in 'user-password=…,offset=BYTES', and those of FUSE",
        ),
        ("-f", "check only"),
        ("-s", "no warning about unknown options"),
        ("-n, -v", "no effect, and more messages (--verbose)"),
    ]],
};

fn row(tool: Tool, name: &str) -> Option<&'static Row> {
    match name.starts_with(HELPER) {
        true => Some(&HELPER_ROW),
        false => ROWS.iter().find(|row| row.tool == tool),
    }
}

/// What to know about the options in a message, and the command of fve for the same.
pub(super) fn see(name: &str, tool: Tool) -> String {
    let ours = row(tool, name).map(|row| row.ours).unwrap_or_default();
    let asking = match tool {
        Tool::Dislocker | Tool::DislockerFile if !name.starts_with(HELPER) => {
            "; -u or -p without a value asks for the secret"
        }
        _ => "",
    };
    format!(
        "options that begin with '--' are those of fve, whose command for this is '{ours}'; '{name} -h' lists the \
         options of {name}{asking}"
    )
}

/// What `-h` prints.
pub(super) fn text(tool: Tool, name: &str) -> String {
    let Some(row) = row(tool, name) else {
        return String::new();
    };
    let mut text = format!(
        "{name} (fve {}): fve in place of the program with this name\n\nUsage: {name} {}\n\nIt {}. \
         The command of fve is:\n  {}\n",
        env!("CARGO_PKG_VERSION"),
        row.usage,
        row.does,
        row.ours
    );
    if !row.options.is_empty() {
        text.push_str("\nOptions, with what fve has for them:\n");
    }
    for (theirs, ours) in row.options.iter().copied().flatten() {
        text.push_str(&format!("  {theirs:<15} {ours}\n"));
    }
    text
}

/// The manual page.
pub(in crate::cli) fn page() -> String {
    let escaped = |text: &str| text.replace('\\', "\\e").replace('-', "\\-");
    let mut page = BEGIN.to_owned();
    for row in ROWS {
        let names = NAMES
            .iter()
            .filter(|(name, tool)| *tool == row.tool && !name.starts_with(HELPER));
        let names: Vec<_> = names.map(|(name, _)| *name).collect();
        page.push_str(&format!(
            ".SS {0}\n.B {1}\n{2}\n.PP\nIt {3}. The command of fve is\n.BR \"{4}\" .\n",
            escaped(&names.join(", ")),
            escaped(names.first().copied().unwrap_or_default()),
            escaped(row.usage),
            escaped(row.does),
            escaped(row.ours)
        ));
        for (theirs, ours) in row.options.iter().copied().flatten() {
            page.push_str(&format!(
                ".TP\n.B {}\n{}.\n",
                escaped(theirs),
                escaped(ours)
            ));
        }
    }
    page.push_str(END);
    page
}

const BEGIN: &str = r#".TH FVE\-COMPAT 1 "" "fve" "User Commands"
.SH NAME
fve\-compat \- dislocker and bdemount command lines, run by fve
.SH SYNOPSIS
.I NAME
[\fIARGUMENT\fR...]
.SH DESCRIPTION
The package fve\-compat installs fve under the names of the programs of dislocker and libbde, for scripts that
call them. The files that are shown have the names that such scripts expect.
.PP
A secret on the command line is visible to every user of the computer while the command starts, and stays in
the history of the shell. It is overwritten as soon as it was read. The commands of fve take it from a file, or
ask for it.
.SH OPTIONS
"#;

const END: &str = r"
.SH FSTAB
Lines with the type fuse.dislocker take the long options of dislocker as mount options: user\-password=,
recovery\-password=, bekfile=, fvek=, vmk=, offset=, clearkey, readonly and others. Every user can read
/etc/fstab. With the type fve, a secret is in a file of its own: see
.BR mount.fve (8).
.SH EXAMPLES
Show a volume as the file /mnt/dislocker\-file, read\-only, and ask for the password:
.PP
.nf
dislocker \-r \-V /dev/sda3 \-u \-\- /mnt
.fi
.SH ENVIRONMENT
.TP
.B DISLOCKER_PASSWORD
The password, for the option \-u of dislocker without a value.
.SH EXIT STATUS
0 where the work was done, otherwise as listed in
.BR fve (1).
The status of dislocker\-find is the number of volumes that it found, at most 255, and 0 after an error.
.SH SEE ALSO
.BR fve (1),
.BR fve\-mount (1),
.BR fve\-decrypt (1),
.BR mount.fve (8)
";

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_tool_has_help_and_a_place_in_the_page() {
        let page = page().replace('\\', "");
        for (name, tool) in NAMES {
            assert!(text(*tool, name).contains("Usage:"), "{name}");
            assert!(name.starts_with(HELPER) || page.contains(*name), "{name}");
        }
    }

    #[test]
    fn the_help_names_the_options_that_exist() {
        for (name, tool) in NAMES {
            let row = row(*tool, name).unwrap();
            let theirs = row.options.iter().copied().flatten();
            let described: BTreeSet<char> = theirs
                .filter(|(theirs, ours)| !ours.starts_with("after '--'") && !theirs.is_empty())
                .flat_map(|(theirs, _)| theirs.split(", "))
                .filter_map(|option| option.strip_prefix('-')?.chars().next())
                .collect();
            let forms = tool.forms(name).iter().map(|(letter, ..)| *letter);
            // mount(8) gives its helpers these two for file systems with a subtype, and in a namespace.
            let left_out: &[char] = match row.tool == Tool::Dislocker && name.starts_with(HELPER) {
                true => &['h', 'N', 't'],
                false => &['h'],
            };
            let taken: BTreeSet<char> = forms.filter(|letter| !left_out.contains(letter)).collect();
            assert_eq!(described, taken, "{name}");
        }
    }
}
