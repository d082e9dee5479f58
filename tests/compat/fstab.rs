//! Lines of `/etc/fstab` with the type `fuse.dislocker`, through mount(8).

use std::process::Command;

use super::Links;
use crate::common::output::{assert_status, text};
use crate::common::testdata::{Kind, volume};
use crate::common::trials::{Missing, fuse, programs, trial};

fn namespaces() -> Option<Missing> {
    programs(&["unshare", "mount.fuse"]).or_else(|| {
        let tried = Command::new("unshare").args(["-m", "true"]).output();
        let works = tried.is_ok_and(|output| output.status.success());
        (!works).then(|| Missing::Tool("no mount namespaces".to_owned()))
    })
}

/// In a mount namespace of its own: puts fve where mount(8) looks for programs, mounts with a line of fstab,
/// prints the names of the files, the mount and the hash, and unmounts.
const SCRIPT: &str = r#"
set -e
links=$1 image=$2 options=$3 helper=$4
work=$(mktemp -d)
mount -t tmpfs none "$work"
mkdir "$work/m" "$work/up" "$work/w"
touch "$work/fstab"
# mount(8) looks for helpers in fixed places only.
if [ "$helper" = yes ]; then
    mkdir "$work/sbin"
    mount --rbind /usr/sbin "$work/sbin"
    mount -t tmpfs none /usr/sbin
    for program in "$work"/sbin/*; do ln -s "$program" /usr/sbin/; done
    ln -s "$links/mount.fuse.dislocker" /usr/sbin/
else
    mount --bind "$(readlink -f "$links/dislocker")" "$(readlink -f /usr/bin/dislocker)"
fi
printf '%s %s fuse.dislocker %s 0 0\n' "$image" "$work/m" "$options" >"$work/fstab"
mount -T "$work/fstab" "$work/m"
mount -T "$work/fstab" -a
ls "$work/m"
grep " $work/m " /proc/self/mounts
sha256sum <"$work/m/dislocker-file"
umount "$work/m"
"#;

fn mounts(helper: &str, option: &str) {
    let links = Links::new();
    let entry = volume("ntfs-xts-128");
    let mut unshare = Command::new("unshare");
    unshare
        .args(["-m", "bash", "-c", SCRIPT, "bash"])
        .arg(links.path());
    unshare
        .arg(&entry.file)
        .args([&format!("{option},nofail,ro"), helper]);
    let output = unshare.output().expect("unshare");
    assert_status(&output, 0);
    let printed = text(&output.stdout);
    assert!(printed.starts_with("dislocker-file\n"), "{printed}");
    assert!(printed.contains(&entry.plaintext_sha256), "{printed}");
    // That it is ours that ran. `mount -a` has not mounted it a second time.
    assert_eq!(printed.matches("fuse.fve").count(), 1, "{printed}");
}

/// Without a helper of our own, mount(8) runs that of FUSE, which runs `dislocker SOURCE DIR -o OPTIONS`.
fn dislocker() -> Option<Missing> {
    programs(&["dislocker"])
}

#[trial(needs(fuse, namespaces, dislocker))]
fn through_the_helper_of_fuse() {
    let digits = volume("ntfs-xts-128")
        .credential(Kind::RecoveryPassword)
        .value
        .clone();
    mounts("no", &format!("recovery-password={digits}"));
}

#[trial(needs(fuse, namespaces))]
fn through_a_helper_of_its_own() {
    let bek = volume("ntfs-xts-128").bek();
    mounts("yes", &format!("bekfile={},offset=0", bek.display()));
}
