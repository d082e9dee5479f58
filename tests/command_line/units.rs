//! What the generators for systemd write: see systemd.generator(7).

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::common::output::run;
use crate::common::trials::{programs, trial};

/// Runs a generator of `dist/systemd` with `etc` in place of `/etc`, and returns the directory with the
/// units that it wrote.
fn generated(script: &str, etc: &Path) -> tempfile::TempDir {
    let etc = etc.to_str().expect("path");
    let script = script.replace("/etc/", &format!("{etc}/"));
    let out = tempfile::tempdir().expect("directory");
    run(Command::new("sh")
        .args(["-eu", "-c", &script, "generator"])
        .arg(out.path()));
    out
}

fn volumes(etc: &Path) -> tempfile::TempDir {
    generated(include_str!("../../dist/systemd/fve-generator"), etc)
}

fn lines(units: &Path, name: &str) -> Vec<String> {
    let path = units.join(format!("{name}.service.d/50-fve.conf"));
    let text = fs::read_to_string(path).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

#[trial(needs(|| programs(&["systemd-escape"])))]
fn a_volume_waits_for_what_it_needs() {
    let etc = tempfile::tempdir().expect("directory");
    fs::create_dir(etc.path().join("fve")).expect("directory");
    let write = |name: &str, text: &str| {
        fs::write(etc.path().join("fve").join(name), text).expect("file");
    };
    write(
        "data.conf",
        "SOURCE=/dev/sdb\nSOURCE=\"/dev/disk/by-id/a-b\"\nDIRECTORY=/srv/my files/x\nOPTIONS=--tpm --read-write\n",
    );
    write(
        "image.conf",
        "# a comment\nSOURCE='/srv/a \"b\" 100%.img'\nOPTIONS=--allow-other --read-write\n",
    );
    write("shown.conf", "SOURCE=/srv/image.img\n");
    write("two words.conf", "SOURCE=/dev/sda\n");
    write("data.key", "no settings");
    let units = volumes(etc.path());

    let data = lines(units.path(), "fve@data");
    assert_eq!(data[0], "[Unit]");
    for line in [
        r"BindsTo=dev-disk-by\x2did-a\x2db.device",
        r"After=dev-disk-by\x2did-a\x2db.device",
        "Wants=dev-tpmrm0.device",
        "After=dev-tpmrm0.device",
        r"After=srv-my\x20files-x.mount",
    ] {
        assert!(data.iter().any(|found| found == line), "{line}: {data:?}");
    }
    // A device can be written to in any case.
    assert!(!data.iter().any(|line| line.contains("ReadWritePaths")));

    let image = lines(units.path(), "fve@image");
    for line in [
        r#"RequiresMountsFor="/srv/a \"b\" 100%%.img""#,
        "After=mnt-image.mount",
        "After=run-fve-mounts-mnt\\x2dimage.mount",
        "[Service]",
        r#"ReadWritePaths="-/srv/a \"b\" 100%%.img""#,
    ] {
        assert!(image.iter().any(|found| found == line), "{line}: {image:?}");
    }
    assert!(!image.iter().any(|line| line.contains("tpm")), "{image:?}");

    let shown = lines(units.path(), "fve@shown");
    assert!(shown.contains(&"RequiresMountsFor=\"/srv/image.img\"".to_owned()));
    assert!(!shown.iter().any(|line| line.contains("ReadWritePaths")));
    assert_eq!(fs::read_dir(units.path()).expect("units").count(), 3);

    // A PIN that is kept for the unit stands for --tpm.
    let kept = etc.path().join("credstore.encrypted");
    fs::create_dir(&kept).expect("directory");
    fs::write(kept.join("fve@shown.pin"), "").expect("PIN");
    let units = volumes(etc.path());
    let shown = lines(units.path(), "fve@shown");
    assert!(
        shown.contains(&"Wants=dev-tpmrm0.device".to_owned()),
        "{shown:?}"
    );
}

#[trial]
fn network_unlock_has_no_capability_where_its_socket_is_enabled() {
    let etc = tempfile::tempdir().expect("directory");
    let script = include_str!("../../dist/systemd/fve-network-unlock-generator");
    let units = generated(script, etc.path());
    assert_eq!(fs::read_dir(units.path()).expect("units").count(), 0);

    let wants = etc.path().join("systemd/system/sockets.target.wants");
    fs::create_dir_all(&wants).expect("directory");
    let unit = "/usr/lib/systemd/system/fve-network-unlock.socket";
    std::os::unix::fs::symlink(unit, wants.join("fve-network-unlock.socket")).expect("link");
    let units = generated(script, etc.path());
    let path = units
        .path()
        .join("fve-network-unlock.service.d/50-socket.conf");
    let text = fs::read_to_string(path).expect("settings");
    for line in [
        "Requires=fve-network-unlock.socket",
        "CapabilityBoundingSet=",
        "AmbientCapabilities=",
    ] {
        assert!(text.lines().any(|found| found == line), "{text}");
    }
}
