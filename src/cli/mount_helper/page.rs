//! The manual page mount.fve(8), from the same tables as the translation.

use clap::Command;

use super::{IGNORED, IGNORED_WITH_VALUE, MODE, WITH_VALUE, WITHOUT_VALUE};
use crate::cli::options::credentials::KINDS;

const BEGIN: &str = r#".TH MOUNT.FVE 8 "" "fve" "System Administration"
.SH NAME
mount.fve \- show the files of a BitLocker volume, for mount(8) and fstab(5)
.SH SYNOPSIS
.B mount \-t fve
[\fB\-fnsv\fR] [\fB\-o\fR \fIOPTION\fR[,\fIOPTION\fR...]] \fISOURCE\fR \fIDIR\fR
.SH DESCRIPTION
Shows the files of a volume in \fIDIR\fR, as
.BR fve-mount (1)
does. It is started by mount(8) if /sbin/mount.fve is a link to fve.
.PP
A secret itself never belongs in /etc/fstab, which every user can read. A value with a comma is put in
quotation marks. The volume is unmounted with umount(8) or
.BR fve-unmount (1).
"#;

const FLAGS: &str = r"
.SH FLAGS
.TP
.B \-f
Check the options and the volume, and mount nothing.
.TP
.B \-s
Do not warn of unknown options.
.TP
.B \-v
Log to standard error.
.TP
.B \-n
No effect.
.SH EXAMPLES
A line of /etc/fstab:
.PP
.nf
PARTUUID=...  /mnt/c  fve  ro,nofail,uid=1000,recovery\-password\-file=/etc/fve/c.key  0 0
.fi
.PP
The same by hand:
.PP
.nf
mount \-t fve \-o uid=1000,recovery\-password\-file=/etc/fve/c.key /dev/sda3 /mnt/c
.fi
.SH FILES
.TP
.B /sbin/mount.fve
A link to fve, by which mount(8) finds it.
.TP
.B /etc/fve/network
Sidecar files of volumes with a Network Unlock protector.
.SH ENVIRONMENT
.TP
.B CREDENTIALS_DIRECTORY
Directory with credentials from systemd, used where no option gives a credential.
.SH EXIT STATUS
As listed in
.BR fve (1).
.SH SEE ALSO
.BR fve (1),
.BR fve-mount (1),
.BR fve-unmount (1),
.BR mount (8),
.BR fstab (5),
.BR systemd.mount (5)
";

/// The page, with the help that `command` has for the options of `fve mount`.
pub(crate) fn page(command: &Command) -> String {
    let mut page = BEGIN.to_owned();
    page.push_str(".SH OPTIONS\n");
    for (theirs, own) in WITHOUT_VALUE {
        entry(
            &mut page,
            theirs,
            &help(command, own.trim_start_matches('-')),
        );
    }
    for name in WITH_VALUE {
        entry(&mut page, &format!("{name}=VALUE"), &help(command, name));
    }
    let mode =
        "The permissions of the files as an octal number, such as 0440: those that umask leaves";
    entry(&mut page, &format!("{MODE}=MODE"), mode);
    page.push_str(".SH CREDENTIALS\n");
    for kind in KINDS {
        let name = match kind.value_is_optional {
            true => format!("{}[={}]", kind.option, kind.value),
            false => format!("{}={}", kind.option, kind.value),
        };
        entry(&mut page, &name, kind.help);
        for addition in kind.additions {
            let value = addition.value.map(|value| format!("={value}"));
            let name = format!("{}{}", addition.option, value.unwrap_or_default());
            entry(&mut page, &name, addition.help);
        }
    }
    page.push_str(".SH OPTIONS WITHOUT EFFECT\n");
    page.push_str("These are for mount(8), systemd or FUSE, and so is every option that begins with x\\- or X\\-:\n");
    let with_value = IGNORED_WITH_VALUE
        .iter()
        .map(|name| format!("{name}=VALUE"));
    let ignored: Vec<_> = IGNORED
        .iter()
        .map(|name| (*name).to_owned())
        .chain(with_value)
        .collect();
    page.push_str(&format!("{}.\n", escaped(&ignored.join(", "))));
    page.push_str(FLAGS.trim_start());
    page
}

fn entry(page: &mut String, name: &str, help: &str) {
    page.push_str(&format!(".TP\n.B {}\n{}.\n", escaped(name), escaped(help)));
}

/// The help of an option of `fve mount`.
fn help(command: &Command, long: &str) -> String {
    let mount = command.find_subcommand("mount");
    let argument = mount.and_then(|mount| {
        let mut arguments = mount.get_arguments();
        arguments.find(|argument| {
            let former = argument.get_all_aliases().unwrap_or_default();
            argument.get_long() == Some(long) || former.contains(&long)
        })
    });
    let help = argument.and_then(|argument| argument.get_long_help().or(argument.get_help()));
    help.map(ToString::to_string).unwrap_or_default()
}

/// Text for troff, on one line.
fn escaped(text: &str) -> String {
    let line = text
        .replace('\n', " ")
        .replace('\\', "\\e")
        .replace('-', "\\-");
    match line.starts_with(['.', '\'']) {
        true => format!("\\&{line}"),
        false => line,
    }
}
