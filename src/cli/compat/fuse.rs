//! The options of FUSE, which both tools pass on.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;

use super::words::Word;
use crate::cli::mount_helper;

/// Options of FUSE that have no effect here, besides those of mount(8): they tune its library, or say what is
/// so in any case.
const IGNORED: &[&str] = &[
    "ac_attr_timeout",
    "async_read",
    "attr_timeout",
    "auto_cache",
    "big_writes",
    "congestion_threshold",
    "entry_timeout",
    "hard_remove",
    "intr",
    "intr_signal",
    "kernel_cache",
    "large_read",
    "max_background",
    "max_readahead",
    "max_write",
    "negative_timeout",
    "no_remote_lock",
    "noauto_cache",
    "readdir_ino",
    "sync_read",
    "use_ino",
];

/// Options of FUSE that `fve mount` has, too.
const OWN: &[(&str, &str)] = &[
    ("allow_other", "--allow-other"),
    ("allow_root", "--allow-root"),
    ("auto_unmount", "--auto-unmount"),
    ("direct_io", "--direct-io"),
    ("noexec", "--noexec"),
];

/// The same, with a value.
const OWN_WITH_VALUE: &[&str] = &["uid", "gid", "umask"];

/// Options of file systems, which the file with a volume does not have.
const WITH_MODE: &[&str] = &["dmask", "fmask"];

/// What FUSE was told.
#[derive(Default)]
pub(super) struct Mounting {
    /// The mount point.
    pub(super) directory: Option<Word>,
    pub(super) read_only: bool,
    /// Whether an existing mount is to change, which FUSE cannot do.
    pub(super) is_remount: bool,
    pub(super) foreground: bool,
    pub(super) is_verbose: bool,
    /// Whether an unknown name may be a part of a secret.
    pub(super) hides_names: bool,
    /// The options for `fve mount`.
    pub(super) options: Vec<OsString>,
    /// What has no effect.
    pub(super) warnings: Vec<String>,
}

impl Mounting {
    /// Takes the arguments of a program of FUSE.
    pub(super) fn parse(words: &[Word]) -> Result<Self, String> {
        let mut mounting = Self::default();
        let mut words = words.iter();
        let mut only_paths = false;
        while let Some(word) = words.next() {
            match word.bytes.as_slice() {
                _ if only_paths => mounting.take_directory(word)?,
                b"--" => only_paths = true,
                b"-o" => match words.next() {
                    Some(list) => mounting.add_all(list),
                    None => return Err("the option -o of FUSE needs a value".to_owned()),
                },
                [b'-', b'o', ..] => mounting.add_all(&word.from(2)),
                b"-f" => mounting.foreground = true,
                b"-d" => mounting.debug(),
                // A single thread is no promise that a program could rely on.
                b"-s" => {}
                b"-r" => mounting.read_only = true,
                // The rest of the word may be a secret.
                [b'-', letter, ..] if letter.is_ascii_alphabetic() => {
                    let letter = char::from(*letter);
                    return Err(format!(
                        "FUSE has no option -{letter}; the options of the program come before '--'"
                    ));
                }
                [b'-', ..] => return Err("one of the options for FUSE is unknown".to_owned()),
                _ => mounting.take_directory(word)?,
            }
        }
        Ok(mounting)
    }

    fn debug(&mut self) {
        self.foreground = true;
        self.is_verbose = true;
    }

    fn take_directory(&mut self, word: &Word) -> Result<(), String> {
        match self.directory.replace(word.clone()) {
            Some(_) => Err("there is more than one mount point".to_owned()),
            None => Ok(()),
        }
    }

    pub(super) fn add_all(&mut self, list: &Word) {
        for option in list.separated() {
            self.add(&option);
        }
    }

    /// Adds an option of `fve mount`, which may be there only once.
    fn add_own(&mut self, option: OsString) {
        let name = |option: &OsString| {
            let bytes = option.as_bytes();
            let end = bytes.iter().position(|byte| *byte == b'=');
            bytes.get(..end.unwrap_or(bytes.len())).map(<[u8]>::to_vec)
        };
        // The last one counts.
        self.options.retain(|other| name(other) != name(&option));
        self.options.push(option);
    }

    /// One mount option.
    pub(super) fn add(&mut self, option: &Word) {
        let (name, value) = option.name_and_value();
        let own = OWN.iter().find(|(theirs, _)| *theirs == name.as_str());
        match (name.as_str(), own, value) {
            ("ro", ..) => self.read_only = true,
            ("debug", ..) => self.debug(),
            ("remount", ..) => self.is_remount = true,
            (_, Some((_, own)), _) => self.add_own((*own).into()),
            (name, None, Some(value)) if OWN_WITH_VALUE.contains(&name) => {
                self.add_own(super::option(name, &value));
            }
            (name, None, Some(_)) if WITH_MODE.contains(&name) => {
                let what = format!("the mount option '{name}' has no effect: use umask");
                self.warnings.push(what);
            }
            (name, None, _) if is_known(name) => {}
            (name, _, value) => {
                // It may be a secret under a wrong name, and what follows a part of that.
                self.hides_names |= value.is_some();
                let plain = |c: char| c.is_ascii_lowercase() || matches!(c, '-' | '_');
                let is_name = name.chars().all(plain) && !self.hides_names;
                self.warnings.push(match is_name {
                    true => format!("the mount option '{name}' is unknown and has no effect"),
                    false => "one of the mount options is unknown and has no effect; if it was meant as a part of a \
                              secret: a secret in such a list ends at the first comma"
                        .to_owned(),
                });
            }
        }
    }
}

/// Whether this is the name of an option of FUSE or mount(8), which has no secret as its value.
pub(super) fn is_known(name: &str) -> bool {
    OWN_WITH_VALUE.contains(&name)
        || WITH_MODE.contains(&name)
        || IGNORED.contains(&name)
        || mount_helper::is_ignored(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(words: &[&str]) -> Result<Mounting, String> {
        let numbered = words.iter().enumerate();
        let words: Vec<_> = numbered
            .map(|(number, word)| Word::new(number, word.as_bytes()))
            .collect();
        Mounting::parse(&words)
    }

    #[test]
    fn options_and_mount_point_come_in_any_order() {
        for words in [
            &["-o", "allow_other,ro,nonempty", "/mnt", "-f"][..],
            &["/mnt", "-oallow_other,kernel_cache", "-f", "-o", "ro"],
            &["-oro,allow_other", "-f", "--", "/mnt"],
        ] {
            let mounting = parsed(words).unwrap();
            assert_eq!(mounting.directory.unwrap().text().as_str(), "/mnt");
            assert!(mounting.read_only && mounting.foreground);
            assert_eq!(mounting.options, ["--allow-other"]);
            assert!(mounting.warnings.is_empty());
        }
        assert!(parsed(&["/mnt", "/other"]).is_err());
        assert!(parsed(&["-o"]).is_err());
        let problem = parsed(&["-uGeheim1", "/mnt"]).err().unwrap();
        assert!(problem.contains("no option -u;"), "{problem}");
        assert!(!problem.contains("Geheim1"));
    }

    #[test]
    fn an_unknown_option_is_named_unless_it_may_be_a_secret() {
        let list = "frobnicate,Geheim1,fmask=0133,pass=correct,horse";
        let mounting = parsed(&["-o", list, "m"]).unwrap();
        let warnings = mounting.warnings;
        assert!(warnings[0].contains("'frobnicate'"));
        assert!(warnings[2].contains("'fmask'"));
        for word in ["Geheim1", "pass", "correct", "horse"] {
            assert!(
                !warnings
                    .iter()
                    .any(|said| said.contains(&format!("'{word}")))
            );
        }
        assert_eq!(warnings.len(), 5);
    }

    #[test]
    fn of_a_repeated_option_the_last_one_counts() {
        let mounting = parsed(&["-o", "uid=1,allow_other,uid=2,allow_other,umask=077", "m"]);
        let options = mounting.unwrap().options;
        assert_eq!(options, ["--uid=2", "--allow-other", "--umask=077"]);
    }
}
