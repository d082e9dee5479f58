//! The help of an error can help: the command that it names is run, and has another result.

use std::fs;
use std::path::Path;

use crate::common::damage::VolumeCopy;
use crate::common::output::{assert_status, text};
use crate::common::testdata;
use crate::common::trials::trial;
use crate::shell::{place, run};

const ACCEPT: &str = "--accept-damaged-metadata";

/// The error of a command that ends with this status.
fn failure(line: &str, status: i32, place: &Path) -> String {
    let output = run(line, place);
    assert_status(&output, status);
    text(&output.stderr)
}

fn succeeds(line: &str, place: &Path) {
    assert_status(&run(line, place), 0);
}

/// A place with `damaged.img`, a damaged copy of the volume.
fn place_with(damage: impl Fn(&mut VolumeCopy)) -> std::path::PathBuf {
    let place = place();
    let mut copy = VolumeCopy::of(&testdata::volume("xts-128"));
    damage(&mut copy);
    fs::write(place.join("damaged.img"), copy.bytes).expect("volume");
    place
}

#[trial("help that helps: accepting damaged metadata")]
fn accepting() {
    // The checks of every copy fail, but the copies can be followed.
    let place = place_with(|copy| {
        for offset in copy.offsets() {
            let crc = offset + usize::from(copy.u16(offset + 8)) * 16 + 4;
            copy.bytes[crc] ^= 1;
        }
    });
    let unlock = "fve unlock damaged.img --startup-key key.BEK";
    assert!(failure(unlock, 6, &place).contains(ACCEPT));
    succeeds(&format!("{unlock} {ACCEPT}"), &place);
}

#[trial("help that helps: restoring metadata that is gone")]
fn restoring() {
    let place = place_with(|copy| {
        for offset in copy.offsets() {
            copy.bytes[offset..][..0x1_0000].fill(0);
        }
    });
    succeeds("fve metadata backup volume.img backup", &place);
    succeeds(
        "fve export key-package volume.img package --startup-key key.BEK",
        &place,
    );
    let unlock = "fve unlock damaged.img --startup-key key.BEK";
    for line in [unlock, &format!("{unlock} {ACCEPT}")] {
        let message = failure(line, 6, &place);
        assert!(!message.contains(ACCEPT), "{message}");
        for named in ["fve metadata restore", "--key-package", "fve repair scan"] {
            assert!(message.contains(named), "{message}");
        }
    }
    succeeds(&format!("{unlock} --key-package package"), &place);
    succeeds(
        "fve metadata restore damaged.img backup --startup-key key.BEK",
        &place,
    );
    succeeds(unlock, &place);
}

#[trial("help that helps: no option opens an encrypt-on-write volume without its map")]
fn without_map() {
    let place = place();
    let sample = testdata::volume("encrypt-on-write");
    let mut copy = VolumeCopy::of(&sample);
    while let Some(at) = find(&copy.bytes, b"FVE-EOW\0") {
        copy.bytes[at..][..8].fill(0);
    }
    fs::write(place.join("damaged.img"), copy.bytes).expect("volume");
    let password = &sample.credential(testdata::Kind::Password).value;
    fs::write(place.join("password"), password).expect("password");
    let unlock = "fve unlock damaged.img --password-file password";
    for line in [unlock, &format!("{unlock} {ACCEPT}")] {
        let message = failure(line, 6, &place);
        assert!(!message.contains(ACCEPT), "{message}");
    }
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes
        .windows(wanted.len())
        .position(|place| place == wanted)
}

#[cfg(feature = "fuse")]
#[trial("help that helps: repairing a damaged or outdated copy before a volume is written to")]
fn repairing() {
    let damaged = place_with(|copy| {
        let offset = copy.offsets()[1];
        copy.bytes[offset + 0x2C] ^= 1;
    });
    let outdated = place_with(|_| {});
    fs::copy(outdated.join("damaged.img"), outdated.join("before.img")).expect("copy");
    fs::write(outdated.join("new"), "another password").expect("new");
    succeeds(
        "fve protector change-password damaged.img --startup-key key.BEK --new-password-file new",
        &outdated,
    );
    let mut bytes = fs::read(outdated.join("damaged.img")).expect("volume");
    let before = VolumeCopy::of(&testdata::volume("xts-128"));
    let last = before.offsets()[2];
    bytes[last..][..0x1_0000].copy_from_slice(&before.bytes[last..][..0x1_0000]);
    fs::write(outdated.join("damaged.img"), bytes).expect("volume");

    let mount = "fve mount --volume --read-write damaged.img directory --startup-key key.BEK";
    for place in [damaged, outdated] {
        let message = failure(mount, 6, &place);
        for named in ["fve metadata backup", "fve metadata restore"] {
            assert!(message.contains(named), "{message}");
        }
        succeeds("fve metadata backup damaged.img backup", &place);
        succeeds("fve metadata restore damaged.img backup", &place);
        let output = run("fve info damaged.img", &place);
        assert_status(&output, 0);
        let shown = text(&output.stdout);
        assert_eq!(shown.matches(": good").count(), 3, "{shown}");
        assert!(!shown.contains("copies differ"), "{shown}");
    }
}

#[trial("help that helps: the scan opens a volume whose boot record contradicts the metadata")]
fn contradicting_boot_record() {
    let place = place_with(|copy| {
        copy.bytes[0x0B..0x0D].copy_from_slice(&4096u16.to_le_bytes());
    });
    let decrypt = "fve decrypt damaged.img out --startup-key key.BEK";
    assert!(failure(decrypt, 6, &place).contains("'fve repair scan'"));
    let output = run("fve repair scan damaged.img", &place);
    assert_status(&output, 0);
    let shown = text(&output.stdout);
    let mount = "fve mount damaged.img DIR ";
    let options = shown
        .lines()
        .find_map(|line| line.trim().strip_prefix(mount));
    succeeds(&format!("{decrypt} {}", options.expect("options")), &place);
}

#[cfg(feature = "fuse")]
#[trial("help that helps: a key package cannot be used for writing")]
fn package_for_writing() {
    let place = place();
    succeeds(
        "fve export key-package volume.img package --startup-key key.BEK",
        &place,
    );
    let mount = "fve mount --volume --read-write volume.img directory --startup-key key.BEK";
    let message = failure(&format!("{mount} --key-package package"), 6, &place);
    assert!(message.contains("without the key package"), "{message}");
}

#[trial("the file of a sector key for another method is named")]
fn sector_key_of_another_method() {
    let place = place();
    // As dislocker writes it: the code of XTS-AES 256, and 64 bytes for the key.
    let file = [&[0x05, 0x80][..], &[0xA5; 64]].concat();
    fs::write(place.join("fvek"), file).expect("key");
    let message = failure("fve unlock volume.img --fvek-file fvek", 4, &place);
    let words = "the file has a key for XTS-AES 256, but the volume has XTS-AES 128";
    assert!(message.contains(words), "{message}");
}
