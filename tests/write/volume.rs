//! Writing: the library compared with a byte array, refusals, and the mount used by file systems,
//! loop devices and other programs. Other programs read what was written.

use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom, Write};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::common;
use crate::common::loop_device::LoopDevice;
use crate::common::mount::Mounted;
use crate::common::ntfs::{self, run};
use crate::common::peers::Peer;
use crate::common::testdata::{self, CopiedVolume, Entry};
use crate::common::trials::{Missing, corpus, fuse, installed, loop_devices, programs, trial};
use crate::common::writing::{
    Disk, Random, SIZE, plaintext_of, reserved, volume_with_clear_key, writable, writable_file,
    writable_with,
};
use crate::common::{corpus, fve, sha256};
use fve::crypto::sector::{METHODS, Method};
use fve::error::{Error, Unwritable};
use fve::secret::Vmk;
use fve::serve::fuse::{Mount, MountOptions, unmount};
use fve::source::{Cursor, FileSource, ReadAt, Window, WriteAt};
use fve::unlock::Credential;
use fve::unlock::Suspended;
use fve::unlock::{RawFvek, RawVmk};
use fve::volume::{UnlockOptions, Volume, Writable};
use rustix::fs::FallocateFlags;

fn dislocker_file() -> Option<Missing> {
    programs(&["dislocker-file"])
}

fn ntfs_tools() -> Option<Missing> {
    programs(&["ntfs-3g", "mkntfs"])
}

fn fat_tools() -> Option<Missing> {
    programs(&["mkfs.fat"])
}

/// A range outside the reserved areas, usually not aligned to sectors.
fn free_range(random: &mut Random, size: u64, reserved: &[Range<u64>]) -> Range<u64> {
    loop {
        let start = random.below(size);
        let longest = [20, 700, 5000, 40_000][random.below(4) as usize];
        let end = (start + 1 + random.below(longest)).min(size);
        if !reserved
            .iter()
            .any(|other| other.start < end && start < other.end)
        {
            return start..end;
        }
    }
}

fn as_usize(range: &Range<u64>) -> Range<usize> {
    range.start as usize..range.end as usize
}

#[trial("equals a byte array")]
fn equals_a_byte_array() {
    for method in METHODS {
        for sector_size in [512, 4096] {
            let (bytes, mut model) = volume_with_clear_key(method, sector_size);
            let disk = Disk::new(bytes.clone());
            let volume = writable(disk.clone()).unwrap();
            let mut random = Random::new(u64::from(method.code) * 7 + u64::from(sector_size));
            for step in 0..150 {
                let range = match step {
                    // The moved boot sectors, and the end.
                    0 => 0x1F00..0x2100,
                    1 => 510..514,
                    2 => SIZE as u64 - 3..SIZE as u64,
                    _ => free_range(&mut random, SIZE as u64, &reserved()),
                };
                let place = &mut model[as_usize(&range)];
                if random.below(8) == 0 {
                    place.fill(0);
                    volume.zero(range.start, range.end - range.start).unwrap();
                } else {
                    place.copy_from_slice(&random.bytes(place.len()));
                    volume.write_all_at(range.start, place).unwrap();
                }
            }
            volume.flush().unwrap();
            assert!(
                plaintext_of(&volume) == model,
                "{} {sector_size}",
                method.word
            );
            // Opened again, it has the same content, and the metadata is unchanged.
            let after = disk.bytes.lock().unwrap().clone();
            let again = writable(Disk::new(after.clone())).unwrap();
            assert!(
                plaintext_of(&again) == model,
                "{} {sector_size}",
                method.word
            );
            for (name, range) in common::writing::placement().ranges() {
                let same = bytes[as_usize(&range)] == after[as_usize(&range)];
                assert!(same || name == "the moved boot sectors", "{name}");
            }
            assert!(bytes[..0x2000] == after[..0x2000]);
        }
    }
}

/// Four threads repeatedly write their own quarter of every 16 bytes: without a lock, a
/// read-modify-write of a sector would lose the bytes of another thread.
#[trial("concurrent writes to a sector are all kept")]
fn concurrent_writes_are_kept() {
    for (method, sector_size) in [(4, 512), (0, 4096)] {
        let (bytes, _) = volume_with_clear_key(&METHODS[method], sector_size);
        let volume = writable(Disk::new(bytes)).unwrap();
        let at = 0x5_8000;
        std::thread::scope(|scope| {
            for thread in 0..4u64 {
                let volume = &volume;
                scope.spawn(move || {
                    for round in 0..8 {
                        for part in 0..256 {
                            let value = [round as u8 ^ thread as u8; 4];
                            volume
                                .write_all_at(at + part * 16 + thread * 4, &value)
                                .unwrap();
                        }
                    }
                });
            }
        });
        let mut there = vec![0; 4096];
        volume.read_exact_at(at, &mut there).unwrap();
        for (index, byte) in there.iter().enumerate() {
            assert_eq!(*byte, 7 ^ (index / 4 % 4) as u8, "byte {index}");
        }
    }
}

/// A disk on which other threads can read in the middle of a write, as on a real one.
struct Halting(Arc<Disk>);

impl ReadAt for Halting {
    fn size(&self) -> u64 {
        self.0.size()
    }
    fn read_exact_at(&self, offset: u64, buf: &mut [u8]) -> std::io::Result<()> {
        self.0.read_exact_at(offset, buf)
    }
}

impl WriteAt for Halting {
    fn write_all_at(&self, offset: u64, bytes: &[u8]) -> std::io::Result<()> {
        let (first, second) = bytes.split_at(bytes.len() / 3);
        self.0.write_all_at(offset, first)?;
        std::thread::yield_now();
        self.0.write_all_at(offset + first.len() as u64, second)
    }
    fn flush(&self) -> std::io::Result<()> {
        self.0.flush()
    }
}

#[trial("a read never returns half a write")]
fn reads_return_no_half_write() {
    let (bytes, _) = volume_with_clear_key(Method::AES_CBC_128_ELEPHANT, 512);
    let volume = writable(Arc::new(Halting(Disk::new(bytes)))).unwrap();
    volume.write_all_at(0x5_8000, &[1; 512]).unwrap();
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            for round in 0..400 {
                volume
                    .write_all_at(0x5_8000, &[1 + round as u8 % 2; 512])
                    .unwrap();
            }
        });
        let mut there = [0; 512];
        while !writer.is_finished() {
            volume.read_exact_at(0x5_8000, &mut there).unwrap();
            assert!(there == [1; 512] || there == [2; 512]);
        }
    });
}

#[trial("reserved areas are not changed")]
fn reserved_areas_are_not_changed() {
    let (bytes, plaintext) = volume_with_clear_key(Method::AES_XTS_256, 512);
    let disk = Disk::new(bytes.clone());
    let volume = writable(disk.clone()).unwrap();
    for range in reserved() {
        for (start, len) in [
            (range.start, 1),
            (range.end - 1, 1),
            (range.start - 700, 900),
        ] {
            let refused = volume.write_all_at(start, &vec![1; len]);
            assert!(matches!(refused, Err(Error::Reserved { .. })), "{start:#x}");
        }
        let error = volume.write_all_at(range.start, &[1]).unwrap_err();
        let error = std::io::Error::from(error);
        assert_eq!(error.kind(), std::io::ErrorKind::ReadOnlyFilesystem);
    }
    assert!(*disk.bytes.lock().unwrap() == bytes, "nothing was written");
    // The bytes that are read there may be written back, for example with the whole volume.
    volume.write_all_at(0, &plaintext).unwrap();
    volume.zero(0x1_0000, 0x1_0000).unwrap();
    assert!(*disk.bytes.lock().unwrap() == bytes);
    let beyond = volume.write_all_at(SIZE as u64 - 1, &[0; 2]);
    assert!(matches!(beyond, Err(Error::OutOfRange { .. })));
    assert!(volume.write_all_at(u64::MAX, &[0; 2]).is_err());
    volume.write_all_at(SIZE as u64, &[]).unwrap();
}

#[trial("a discard changes only its range")]
fn a_discard_changes_only_its_range() {
    let (bytes, plaintext) = volume_with_clear_key(Method::AES_XTS_128, 512);
    let disk = Disk::new(bytes.clone());
    let volume = writable(disk.clone()).unwrap();
    // Half a sector, then two whole ones, then another half; and across a metadata copy.
    volume.discard(0x5_0100, 0x600).unwrap();
    volume.discard(0x3_7E00, 0x1_0400).unwrap();
    let after = disk.bytes.lock().unwrap().clone();
    let changed: Vec<_> = (0..SIZE / 512)
        .filter(|sector| bytes[sector * 512..][..512] != after[sector * 512..][..512])
        .map(|sector| sector * 512)
        .collect();
    assert_eq!(changed, [0x3_7E00, 0x4_8000, 0x5_0200, 0x5_0400]);
    let mut there = [0; 0x100];
    volume.read_exact_at(0x5_0100, &mut there).unwrap();
    assert!(there[..] == plaintext[0x5_0100..0x5_0200]);
}

#[trial("a failed flush is remembered")]
fn a_failed_flush_is_remembered() {
    let (bytes, _) = volume_with_clear_key(Method::AES_XTS_128, 512);
    let disk = Disk::new(bytes);
    let volume = writable(disk.clone()).unwrap();
    disk.fails_to_flush.store(true, Ordering::SeqCst);
    volume.flush().expect("nothing was written");
    volume.write_all_at(0, &[1; 600]).unwrap();
    assert!(volume.flush().is_err());
    disk.fails_to_flush.store(false, Ordering::SeqCst);
    assert!(volume.flush().is_err(), "what was lost stays lost");
    volume.write_all_at(0, &[1; 600]).unwrap();
    assert!(volume.flush().is_err());
}

fn refused(result: fve::Result<Writable>) -> Unwritable {
    match result {
        Err(Error::Unwritable(reason)) => reason,
        other => panic!("{other:?}"),
    }
}

fn key_of(entry: &Entry) -> Box<dyn Credential> {
    match entry.credentials.first() {
        Some(credential) => credential.protector(),
        None => Box::new(Suspended),
    }
}

fn frozen(entry: &Entry) -> Arc<Disk> {
    Disk::new(fs::read(&entry.file).unwrap())
}

#[trial("refuses frozen volumes, with the reason")]
fn refuses_frozen_volumes() {
    let refused = |name| {
        let entry = testdata::volume(name);
        refused(writable_with(frozen(&entry), key_of(&entry)))
    };
    assert!(matches!(
        refused("decryption-paused"),
        Unwritable::PartConverted { status, .. } if status == "Decryption Paused"
    ));
    assert!(matches!(
        refused("encryption-paused"),
        Unwritable::PartConverted { .. }
    ));
    assert_eq!(refused("encrypt-on-write"), Unwritable::EncryptOnWrite);
    assert_eq!(
        refused("encrypt-on-write-plain-boot"),
        Unwritable::EncryptOnWrite
    );
    assert_eq!(refused("decrypted"), Unwritable::Decrypted);
}

#[trial("refuses damaged copies")]
fn refuses_damaged_copies() {
    let (bytes, _) = volume_with_clear_key(Method::AES_XTS_128, 512);
    let altered = |at: usize| {
        let mut bytes = bytes.clone();
        bytes[at] ^= 1;
        let target: Arc<dyn WriteAt> = Disk::new(bytes);
        let volume = Volume::from_exclusive(target).unwrap();
        let unlocked = volume.unlock(&[Box::new(Suspended)], &UnlockOptions::default());
        let refusal = unlocked.unwrap().into_writable().unwrap_err();
        // Reading still works.
        let mut sector = [0; 512];
        refusal.unlocked().read_exact_at(0, &mut sector).unwrap();
        assert_eq!(sector[3..7], *b"NTFS");
        refused(Err(refusal.into()))
    };
    // A byte in a datum of copy 3, and in the encrypted SHA-256 of copy 2, which the CRC does not
    // cover.
    assert!(matches!(altered(0x6_0090), Unwritable::DamagedCopies(_)));
    let info_size = usize::from(u16::from_le_bytes([bytes[0x3_8008], bytes[0x3_8009]])) * 16;
    let sealed = 0x3_8000 + info_size + 8 + 0x30;
    assert!(matches!(altered(sealed), Unwritable::DamagedCopies(faults) if faults[0].copy == 2));

    // A copy with another content and a valid CRC.
    let mut other = common::damage::VolumeCopy {
        bytes: bytes.clone(),
    };
    other.edit(0x6_0000, 0x60, &[99]);
    let reason = refused(writable(Disk::new(other.bytes)));
    assert_eq!(reason, Unwritable::DifferingCopies);

    let mut short = bytes;
    short.truncate(SIZE - 512);
    let reason = refused(writable(Disk::new(short)));
    assert!(matches!(reason, Unwritable::CutOff { .. }));
}

#[trial]
fn a_cursor_writes_and_reads_through_the_traits_of_the_standard_library() {
    let (bytes, mut plaintext) = volume_with_clear_key(Method::AES_XTS_128, 512);
    let disk = Disk::new(bytes);
    let mut cursor = Cursor::new(writable(disk.clone()).unwrap());
    let text = b"written through std::io";
    let at = plaintext.len() - 1000;
    cursor.seek(SeekFrom::Start(at as u64)).unwrap();
    cursor.write_all(text).unwrap();
    cursor.flush().unwrap();
    plaintext[at..][..text.len()].copy_from_slice(text);
    cursor.rewind().unwrap();
    let mut read = Vec::new();
    cursor.read_to_end(&mut read).unwrap();
    assert!(read == plaintext);
    // Writes beyond the end and into BitLocker's structures fail.
    assert_eq!(cursor.write(&[1]).unwrap(), 0);
    let reserved = cursor.get_ref().reserved()[0].start;
    cursor.seek(SeekFrom::Start(reserved)).unwrap();
    let error = cursor.write(&[1]).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ReadOnlyFilesystem);
    drop(cursor);
    // The data is on the disk.
    assert!(plaintext_of(&writable(disk).unwrap()) == plaintext);
}

#[trial]
fn a_path_is_opened_for_writing_from_the_start() {
    let (bytes, _) = volume_with_clear_key(Method::AES_XTS_128, 512);
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), bytes).unwrap();
    let volume = Volume::open_exclusive(file.path()).unwrap();
    let second = Volume::open_exclusive(file.path());
    assert!(matches!(second, Err(Error::Environment { .. })));
    let unlocked = volume.unlock(fve::unlock::NO_CREDENTIAL, &UnlockOptions::new());
    let writable = unlocked.unwrap().into_writable().unwrap();
    writable.write_all_at(SIZE as u64 - 1, &[9]).unwrap();
    writable.flush().unwrap();
    drop((writable, volume));
    let volume = Volume::open(file.path()).unwrap();
    let unlocked = volume.unlock(fve::unlock::NO_CREDENTIAL, &UnlockOptions::new());
    let mut last = [0];
    let unlocked = unlocked.unwrap();
    let mut cursor = unlocked.cursor();
    cursor.seek(SeekFrom::End(-1)).unwrap();
    cursor.read_exact(&mut last).unwrap();
    assert_eq!(last, [9]);
}

#[trial]
fn hands_back_a_volume_that_was_opened_for_reading() {
    let (bytes, _) = volume_with_clear_key(Method::AES_XTS_128, 512);
    let volume = Volume::from_source(Disk::new(bytes.clone())).unwrap();
    let unlocked = volume.unlock(&[Box::new(Suspended)], &UnlockOptions::default());
    let refusal = unlocked.unwrap().into_writable().unwrap_err();
    assert!(matches!(
        refusal.error(),
        Error::Unwritable(Unwritable::OpenedForReading)
    ));
    let (unlocked, _) = refusal.into_parts();
    let mut sector = [0; 512];
    unlocked.read_exact_at(0, &mut sector).unwrap();
    assert_eq!(sector[3..7], *b"NTFS");
    // A window is another source.
    let disk = Disk::new([vec![7; 1024], bytes].concat());
    let window: Arc<dyn WriteAt> = Arc::new(Window::new(disk.clone(), 1024, SIZE as u64));
    let volume = writable(window).unwrap();
    volume.write_all_at(SIZE as u64 - 1, &[9]).unwrap();
    assert!(disk.bytes.lock().unwrap()[..1024] == [7; 1024]);
}

#[trial]
fn a_volume_has_one_writer_at_a_time() {
    let (bytes, _) = volume_with_clear_key(Method::AES_XTS_128, 512);
    let volume = Volume::from_exclusive(Disk::new(bytes)).unwrap();
    let unlocked = || {
        let unlocked = volume.unlock(fve::unlock::NO_CREDENTIAL, &UnlockOptions::new());
        unlocked.unwrap()
    };
    let first = unlocked().into_writable().unwrap();
    let mut second = unlocked();
    for _ in 0..2 {
        let refusal = second.into_writable().unwrap_err();
        assert!(matches!(
            refusal.error(),
            Error::Unwritable(Unwritable::AlreadyWritable)
        ));
        second = refusal.into_unlocked();
    }
    drop(first);
    second.into_writable().unwrap();
}

fn hex(text: &str) -> Vec<u8> {
    let digit = |at| u8::from_str_radix(&text[at..at + 2], 16).unwrap();
    (0..text.len()).step_by(2).map(digit).collect()
}

fn vmk(volume: &corpus::Volume) -> Box<RawVmk> {
    let bytes = hex(volume.vmk_hex.as_ref().unwrap());
    Box::new(RawVmk::new(Vmk::from_slice(&bytes).unwrap()))
}

/// A source whose writes would panic: refusals must not depend on errors of the source.
struct Frozen(FileSource);

impl ReadAt for Frozen {
    fn size(&self) -> u64 {
        self.0.size()
    }
    fn read_exact_at(&self, offset: u64, buf: &mut [u8]) -> std::io::Result<()> {
        self.0.read_exact_at(offset, buf)
    }
}

impl WriteAt for Frozen {
    fn write_all_at(&self, _: u64, _: &[u8]) -> std::io::Result<()> {
        panic!("a refused volume was written to");
    }
    fn flush(&self) -> std::io::Result<()> {
        panic!("a refused volume was written to");
    }
}

#[trial("refuses volumes of Windows, with the reason", needs(corpus))]
fn refuses_corpus_volumes() {
    let volumes = corpus::volumes().unwrap();
    let named = |name: &str| volumes.iter().find(|volume| volume.name == name).unwrap();
    let open = |name: &str, key: Box<dyn Credential>| {
        let source = FileSource::open(&named(name).path).unwrap();
        writable_with(Arc::new(Frozen(source)), key)
    };
    let refused = |name: &str| refused(open(name, vmk(named(name))));
    assert_eq!(refused("ds-vista"), Unwritable::Vista);
    assert!(matches!(
        refused("ds-win7_partial"),
        Unwritable::PartConverted { .. }
    ));
    assert_eq!(refused("ds-eow_partial"), Unwritable::EncryptOnWrite);
    assert_eq!(refused("made-eow-cbc128"), Unwritable::EncryptOnWrite);
    assert_eq!(refused("cs-aes-xts-128-eow"), Unwritable::EncryptOnWrite);
    assert!(matches!(
        refused("cs-aes-xts-128-crc"),
        Unwritable::DamagedCopies(_)
    ));
    assert!(matches!(refused("ds-suspended"), Unwritable::CutOff { .. }));

    let volume = named("cs-aes-xts-128");
    let fvek = fve::secret::SecretBytes::new(hex(volume.fvek_hex.as_ref().unwrap()));
    let reason = self::refused(open("cs-aes-xts-128", Box::new(RawFvek::new(fvek))));
    assert_eq!(reason, Unwritable::SectorKey);
    open("cs-aes-xts-128", vmk(volume)).unwrap();
}

/// Writes to copies of volumes made by Windows: to the moved boot sectors, the ends and many
/// unaligned ranges. dislocker reads the same as fve, and nothing else on the disk changes.
#[trial("volumes of Windows, read by dislocker", needs(corpus, dislocker_file))]
fn windows_volumes() {
    let volumes = corpus::volumes().unwrap();
    for name in [
        "cs-aes-cbc-elephant-128",
        "cs-aes-cbc-128-4k",
        "cs-togo-aes-xts-128",
        "made-ntfs-xts128",
    ] {
        let volume = volumes.iter().find(|volume| volume.name == name).unwrap();
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("volume.img");
        common::copy_sparse(File::open(&volume.path).unwrap(), &path).unwrap();
        let mut changed = vec![false; volume.size as usize / 512];
        let expected = {
            let opened = writable_file(&path, vmk(volume)).unwrap();
            let size = opened.size();
            let mut random = Random::new(volume.size ^ volume.sector_size as u64);
            let mut writes = vec![(1000, 3000), (size - 700, 700)];
            writes.extend((0..60).map(|_| {
                let start = random.below(size - 9000);
                (start, 1 + random.below(9000) as usize)
            }));
            for (start, len) in writes {
                let bytes = random.bytes(len);
                match opened.write_all_at(start, &bytes) {
                    Ok(()) => mark(&mut changed, &opened, start..start + len as u64),
                    Err(Error::Reserved { .. }) => {}
                    Err(error) => panic!("{error}"),
                }
            }
            opened.flush().unwrap();
            plaintext_of(&opened)
        };
        let before = fs::read(&volume.path).unwrap();
        let after = fs::read(&path).unwrap();
        for (nth, changed) in changed.iter().enumerate() {
            let sector = nth * 512..nth * 512 + 512;
            assert!(
                *changed || before[sector.clone()] == after[sector],
                "{name} {nth}"
            );
        }
        let password = &volume.credentials[0];
        assert_eq!(password.kind, "password");
        assert!(
            dislocker(&path, &format!("-u{}", password.value)) == expected,
            "{name}"
        );
    }
}

/// Marks the 512-byte units of the disk that a write may have changed.
fn mark(changed: &mut [bool], volume: &Writable, range: Range<u64>) {
    let sector = u64::from(volume.unlocked().sector_size());
    for extent in volume.unlocked().layout().resolve(range) {
        if let fve::volume::layout::Content::Encrypted { from } = extent.content {
            let end = from + (extent.range.end - extent.range.start);
            let units = (from - from % sector) / 512..end.next_multiple_of(sector) / 512;
            units.for_each(|unit| changed[unit as usize] = true);
        }
    }
}

fn dislocker(volume: &Path, credential: &str) -> Vec<u8> {
    let directory = tempfile::tempdir().unwrap();
    let out = directory.path().join("plaintext");
    run(Command::new("dislocker-file")
        .arg("-V")
        .arg(volume)
        .arg(credential)
        .arg("--")
        .arg(&out));
    fs::read(out).unwrap()
}

impl CopiedVolume {
    fn mount(&self) -> Mounted {
        let bek = self.entry.bek();
        let bek = bek.to_str().unwrap();
        Mounted::volume(&self.path, &["--read-write", "--startup-key", bek])
    }

    fn plaintext(&self) -> Vec<u8> {
        let key = self.entry.bek();
        let output = fve()
            .arg("decrypt")
            .arg(&self.path)
            .args(["-", "--startup-key"])
            .arg(key)
            .output()
            .unwrap();
        assert!(output.status.success());
        output.stdout
    }

    fn dislocker(&self) -> Vec<u8> {
        let password = self.entry.credential(testdata::Kind::Password);
        dislocker(&self.path, &format!("-u{}", password.value))
    }

    fn reserved(&self) -> Vec<Range<u64>> {
        let unlocked = self.entry.unlock(self.entry.credentials.first()).unwrap();
        let extents = unlocked.layout().extents().iter();
        let zero = extents.filter(|extent| extent.content == fve::volume::layout::Content::Zero);
        // The spare area follows the moved boot sectors.
        zero.flat_map(|extent| {
            [
                extent.range.clone(),
                extent.range.end..extent.range.end + 0x1_0000,
            ]
        })
        .collect()
    }
}

/// Every program that can unlock the volume reads `plaintext`, as fve does.
fn peers_agree(entry: &Entry, path: &Path, plaintext: &[u8]) {
    let entry = Entry {
        file: path.to_owned(),
        plaintext_sha256: sha256(plaintext).unwrap(),
        files: Vec::new(),
        ..entry.clone()
    };
    let mut asked = Vec::new();
    for peer in Peer::ALL {
        let fits =
            |credential: &&testdata::KnownCredential| peer.limit(&entry, credential).is_none();
        // Prefer a startup key, which needs no key stretching.
        let mut credentials: Vec<_> = entry.credentials.iter().filter(fits).collect();
        credentials.sort_by_key(|credential| credential.kind != testdata::Kind::StartupKey);
        if let (Some(credential), None) = (credentials.first(), peer.missing()) {
            let checked = peer.check(&entry, credential);
            checked.unwrap_or_else(|error| panic!("{}: {error:?}", peer.name()));
            asked.push(peer);
        }
    }
    assert!(asked.contains(&Peer::Dislocker), "{asked:?}");
}

fn open_volume(mounted: &Mounted) -> File {
    let mut options = File::options();
    options.read(true).write(true);
    options.open(mounted.volume_file()).unwrap()
}

#[trial(
    "writes at unaligned offsets through the mount",
    needs(fuse, dislocker_file)
)]
fn odd_offsets_through_the_mount() {
    for name in ["elephant-256", "cbc-128-4k"] {
        let copied = CopiedVolume::of(name);
        let metadata = fs::read(&copied.path).unwrap();
        let mut model = copied.plaintext();
        let reserved = copied.reserved();
        let mounted = copied.mount();
        let file = open_volume(&mounted);
        let mut random = Random::new(5);
        for _ in 0..100 {
            let range = free_range(&mut random, model.len() as u64, &reserved);
            let place = &mut model[as_usize(&range)];
            place.copy_from_slice(&random.bytes(place.len()));
            file.write_all_at(place, range.start).unwrap();
        }
        let mut read = vec![0; model.len()];
        FileExt::read_exact_at(&file, &mut read, 0).unwrap();
        assert!(read == model);
        let error = file.write_at(&[1], 0x1_0000).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::ReadOnlyFilesystem);
        file.sync_all().unwrap();
        drop(file);
        // dd in another process, with an unaligned offset and size.
        model[0x4_A235..0x4_A235 + 777].fill(0);
        run(Command::new("dd")
            .args(["if=/dev/zero", "bs=777", "count=1", "conv=notrunc,fsync"])
            .args(["oflag=seek_bytes", &format!("seek={}", 0x4_A235)])
            .arg(format!("of={}", mounted.volume_file().display())));
        mounted.unmount();
        assert!(copied.plaintext() == model);
        peers_agree(&copied.entry, &copied.path, &model);
        let after = fs::read(&copied.path).unwrap();
        for start in [0x1_0000, 0x3_8000, 0x6_0000] {
            assert!(metadata[start..start + 0x1_0000] == after[start..start + 0x1_0000]);
        }
    }
}

#[trial("shows one file whose size cannot be changed", needs(fuse))]
fn keeps_its_size() {
    use std::os::unix::fs::{MetadataExt, PermissionsExt};
    let copied = CopiedVolume::of("xts-128");
    let mounted = copied.mount();
    let path = mounted.volume_file();
    let before = path.metadata().unwrap();
    assert_eq!(before.mode() & 0o777, 0o600);
    assert!(File::create(&path).is_err(), "it was cut to nothing");
    let file = open_volume(&mounted);
    assert!(file.set_len(1000).is_err());
    assert!(file.set_len(before.len() + 1).is_err());
    file.set_len(before.len()).unwrap();
    let past = file.write_at(&[0], before.len()).unwrap_err();
    assert_eq!(past.raw_os_error(), Some(28), "{past}");
    assert_eq!(path.metadata().unwrap().len(), before.len());
    // Times can be set and permissions cannot; a write updates the modification time.
    let old = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000_000);
    file.set_modified(old).unwrap();
    assert_eq!(path.metadata().unwrap().modified().unwrap(), old);
    file.write_all_at(&[0], 0).unwrap();
    assert!(path.metadata().unwrap().modified().unwrap() > old);
    assert!(fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).is_err());
    assert!(File::create(mounted.path().join("other")).is_err());
    assert!(fs::create_dir(mounted.path().join("other")).is_err());
    assert!(fs::remove_file(&path).is_err());
    assert!(fs::rename(&path, mounted.path().join("other")).is_err());
}

#[trial("holes and zeros read as zeros", needs(fuse))]
fn holes_read_as_zeros() {
    let copied = CopiedVolume::of("xts-128");
    let mut model = copied.plaintext();
    let mounted = copied.mount();
    let file = open_volume(&mounted);
    let mut warm = vec![0; model.len()];
    FileExt::read_exact_at(&file, &mut warm, 0).unwrap();
    let hole = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    for (mode, start, len) in [
        (hole, 0x4_9001, 0x3000),
        (FallocateFlags::ZERO_RANGE, 0x4_F0FF, 0x1234),
        (hole, 3, 5),
    ] {
        rustix::fs::fallocate(&file, mode, start, len).unwrap();
        model[start as usize..(start + len) as usize].fill(0);
    }
    let beyond = rustix::fs::fallocate(&file, FallocateFlags::ZERO_RANGE, 0, 1 << 30);
    assert!(beyond.is_err());
    assert!(rustix::fs::fallocate(&file, FallocateFlags::empty(), 0, 4096).is_err());
    let mut read = vec![0; model.len()];
    FileExt::read_exact_at(&file, &mut read, 0).unwrap();
    assert!(read == model);
    drop(file);
    mounted.unmount();
    assert!(copied.plaintext() == model);
}

/// The exit status and the messages of a command that fails.
fn failure(command: &mut Command) -> (Option<i32>, String) {
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    (output.status.code(), said)
}

#[trial("the source is locked", needs(fuse))]
fn the_source_is_held() {
    let copied = CopiedVolume::of("xts-128");
    let other = tempfile::tempdir().unwrap();
    let mount = |extra: &[&str]| {
        let mut command = fve();
        command.args(["mount", "--volume"]);
        command.arg(&copied.path).arg(other.path());
        command.arg("--startup-key").arg(copied.entry.bek());
        failure(command.args(extra))
    };
    let mounted = copied.mount();
    for extra in [&["--read-write"][..], &[]] {
        let (status, said) = mount(extra);
        assert_eq!(status, Some(5), "{said}");
        assert!(said.contains("is in use"), "{said}");
    }
    let (status, said) = failure(fve().arg("info").arg(&copied.path));
    assert_eq!(status, Some(0));
    assert!(said.contains("may be writing"), "{said}");
    open_volume(&mounted).write_all_at(b"x", 1).unwrap();
    mounted.unmount();
    // All locks are released when the command returns.
    writable_file(&copied.path, key_of(&copied.entry)).unwrap();

    // Two mounts may read the same file, and then no mount may write to it.
    let bek = copied.entry.bek();
    let options = ["--startup-key", bek.to_str().unwrap()];
    let reading = Mounted::volume(&copied.path, &options);
    let second = Mounted::volume(&copied.path, &options);
    let (status, said) = mount(&["--read-write"]);
    assert_eq!(status, Some(5), "{said}");
    drop((reading, second));
}

#[trial("refusals have the right exit status", needs(fuse))]
fn refusals_have_a_status() {
    let mount = |path: &Path, arguments: &[&str]| {
        let directory = tempfile::tempdir().unwrap();
        let mut command = fve();
        command.args(["mount", "--volume"]);
        command.arg(path).arg(directory.path());
        failure(command.arg("--read-write").args(arguments))
    };
    for (name, word) in [
        ("decryption-paused", "conversion is unfinished"),
        ("encrypt-on-write", "encrypt-on-write"),
        ("decrypted", "decrypted"),
    ] {
        let copied = CopiedVolume::of(name);
        let before = fs::read(&copied.path).unwrap();
        // Reported before a credential is asked for.
        let (status, said) = mount(&copied.path, &[]);
        assert_eq!(status, Some(3), "{said}");
        assert!(said.contains(word) && said.contains("help:"), "{said}");
        assert!(fs::read(&copied.path).unwrap() == before);
    }
    let copied = CopiedVolume::of("xts-128");
    let (status, said) = mount(&copied.path, &["--accept-damaged-metadata"]);
    assert_eq!(status, Some(2), "{said}");
    let (status, said) = mount(&copied.path, &["--startup-key", "/dev/null"]);
    assert_eq!(status, Some(4), "{said}");
    let mut damaged = fs::read(&copied.path).unwrap();
    damaged[0x6_0090] ^= 1;
    fs::write(&copied.path, damaged).unwrap();
    let (status, said) = mount(&copied.path, &[]);
    assert_eq!(status, Some(6), "{said}");
    assert!(said.contains("copy 3"), "{said}");
}

/// A mount served by this process, of a disk that fails on demand.
#[trial("errors of the disk reach the writer", needs(fuse))]
fn disk_errors_reach_the_writer() {
    let (bytes, _) = volume_with_clear_key(Method::AES_XTS_128, 512);
    let disk = Disk::new(bytes);
    let volume = Arc::new(writable(disk.clone()).unwrap());
    let directory = tempfile::tempdir().unwrap();
    let options = MountOptions::new("disk");
    let mount = Mount::read_write(volume, directory.path(), &options).unwrap();
    let server = std::thread::spawn(move || mount.serve());
    let path = directory.path().join("volume");
    let file = File::options().read(true).write(true).open(&path).unwrap();
    disk.full.store(true, Ordering::SeqCst);
    let full = file.write_at(&[1; 100], 0).unwrap_err();
    assert_eq!(full.kind(), std::io::ErrorKind::StorageFull);
    disk.full.store(false, Ordering::SeqCst);
    file.write_all_at(&[1; 100], 0).unwrap();
    disk.fails_to_flush.store(true, Ordering::SeqCst);
    assert!(file.sync_all().is_err());
    disk.fails_to_flush.store(false, Ordering::SeqCst);
    assert!(file.sync_all().is_err(), "the failure was forgotten");
    drop(file);
    let (status, said) = failure(fve().arg("unmount").arg(directory.path()));
    assert_eq!(status, Some(5), "{said}");
    assert!(said.contains("not everything"), "{said}");
    assert!(server.join().unwrap().is_err(), "the server ended in peace");
    let _ = unmount(directory.path());
}

/// Files of many sizes, in some directories.
fn fill(root: &Path, seed: u64) -> Vec<(PathBuf, String)> {
    let mut random = Random::new(seed);
    let mut files = Vec::new();
    for directory in 0..6 {
        let directory = PathBuf::from(format!("directory {directory}/Größe"));
        fs::create_dir_all(root.join(&directory)).unwrap();
        for number in 0..12 {
            let len = [0, 1, 511, 4096, 70_001, 300_000][random.below(6) as usize];
            let content = random.bytes(len);
            let path = directory.join(format!("file-{number}.bin"));
            fs::write(root.join(&path), &content).unwrap();
            files.push((path, sha256(content.as_slice()).unwrap()));
        }
    }
    // Space that is freed and used again.
    for (path, _) in files.drain(..10) {
        fs::remove_file(root.join(path)).unwrap();
    }
    files
}

#[trial(
    "NTFS filled by ntfs-3g, read by dislocker",
    needs(fuse, ntfs_tools, dislocker_file)
)]
fn ntfs_tree() {
    for (method, sector_size) in [("aes-xts-128", 512), ("aes-cbc-256-elephant", 4096)] {
        let directory = tempfile::tempdir().unwrap();
        let volume = ntfs::make(directory.path(), method, sector_size, 16 << 20);
        let before = fs::read(&volume.path).unwrap();
        let key = volume.startup_key.to_str().unwrap();
        let mounted = Mounted::volume(&volume.path, &["--read-write", "--startup-key", key]);
        let files = {
            let files = Mounted::ntfs_for_writing(&mounted.volume_file());
            fill(files.path(), 11)
        };
        if installed("ntfsfix") {
            run(Command::new("ntfsfix").arg("-n").arg(mounted.volume_file()));
        }
        mounted.unmount();

        // The image that other programs decrypt can be read with ntfs-3g.
        let plaintext = directory.path().join("plaintext.img");
        let ours = volume.plaintext();
        peers_agree(&volume.entry, &volume.path, &ours);
        fs::write(&plaintext, &ours).unwrap();
        let seen = Mounted::ntfs(&plaintext);
        for (path, hash) in &files {
            let content = File::open(seen.path().join(path)).unwrap();
            assert_eq!(sha256(content).unwrap(), *hash, "{}", path.display());
        }
        drop(seen);
        // The metadata is unchanged, wherever ntfs-3g wrote.
        let after = fs::read(&volume.path).unwrap();
        let opened = testdata::open(&volume.path);
        for copy in opened.metadata().unwrap().copies {
            let region = copy as usize..copy as usize + 0x1_0000;
            assert!(before[region.clone()] == after[region]);
        }
        assert!(before[..0x2000] == after[..0x2000]);
    }
}

/// A file system that is created through the mount, around the metadata, and filled completely.
#[trial(
    "FAT made and filled, read by dislocker",
    needs(fuse, fat_tools, dislocker_file)
)]
fn fat_tree() {
    let copied = CopiedVolume::of("cbc-256");
    let mounted = copied.mount();
    let path = mounted.volume_file();
    let bad = tempfile::NamedTempFile::new().unwrap();
    let mut list = String::new();
    for range in copied.reserved() {
        for block in range.start / 1024..range.end.div_ceil(1024).min(448) {
            list += &format!("{block}\n");
        }
    }
    fs::write(bad.path(), list).unwrap();
    run(Command::new("mkfs.fat")
        .args(["-F", "12", "-s", "1", "-l"])
        .arg(bad.path())
        .arg(&path));
    let mut content = Vec::new();
    {
        let file = open_volume(&mounted);
        let system = fatfs::FileSystem::new(file, fatfs::FsOptions::new()).unwrap();
        let mut random = Random::new(3);
        let mut full = false;
        let mut out = system.root_dir().create_file("BIG.BIN").unwrap();
        while !full {
            let piece = random.bytes(512);
            match out.write_all(&piece) {
                Ok(()) => content.extend(piece),
                Err(_) => full = true,
            }
        }
        out.flush().unwrap();
        drop(out);
        system.unmount().unwrap();
    }
    assert!(content.len() > 100_000, "{}", content.len());
    if installed("fsck.fat") {
        run(Command::new("fsck.fat").arg("-n").arg(&path));
    }
    mounted.unmount();
    let plaintext = std::io::Cursor::new(copied.dislocker());
    let system = fatfs::FileSystem::new(plaintext, fatfs::FsOptions::new()).unwrap();
    let mut read = Vec::new();
    let mut file = system.root_dir().open_file("BIG.BIN").unwrap();
    file.read_to_end(&mut read).unwrap();
    assert!(read[..content.len()] == content);
}

#[trial("a loop device writes and trims", needs(fuse, loop_devices))]
fn loop_device() {
    let copied = CopiedVolume::of("xts-256");
    let mut model = copied.plaintext();
    let mounted = copied.mount();
    {
        let device = LoopDevice::writable(&mounted.volume_file()).unwrap();
        let mut options = File::options();
        let mut file = options.read(true).write(true).open(device.path()).unwrap();
        let mut random = Random::new(8);
        for _ in 0..40 {
            let range = free_range(&mut random, model.len() as u64, &copied.reserved());
            // The device writes whole pages, which must not touch reserved areas.
            let page = range.start - range.start % 4096..range.end.next_multiple_of(4096);
            let touches = |other: &Range<u64>| other.start < page.end && page.start < other.end;
            if copied.reserved().iter().any(touches) {
                continue;
            }
            let place = &mut model[as_usize(&range)];
            place.copy_from_slice(&random.bytes(place.len()));
            file.seek(SeekFrom::Start(range.start)).unwrap();
            file.write_all(place).unwrap();
        }
        file.sync_all().unwrap();
        drop(file);
        // The loop device sends the same request for a discard and for zeroing.
        for (option, start, len) in [("-f", 0x4_9000, 0x2000), ("-z", 0x4_D000, 0x1000)] {
            run(Command::new("blkdiscard")
                .arg(option)
                .args(["-o", &start.to_string(), "-l", &len.to_string()])
                .arg(device.path()));
            model[start..start + len].fill(0);
        }
        let mut read = vec![0; model.len()];
        File::open(device.path())
            .unwrap()
            .read_exact(&mut read)
            .unwrap();
        assert!(read == model);
    }
    mounted.unmount();
    assert!(copied.plaintext() == model);
}

#[trial(
    "a block device is opened exclusively, and not if it is write-protected",
    needs(fuse, loop_devices)
)]
fn block_device() {
    let copied = CopiedVolume::of("xts-256");
    let mut model = copied.plaintext();
    let device = LoopDevice::writable(&copied.path).unwrap();
    let bek = copied.entry.bek();
    let options = ["--read-write", "--startup-key", bek.to_str().unwrap()];
    let mounted = Mounted::volume(device.path(), &options);
    let status = |path: &Path| {
        let mut add = fve();
        add.args(["protector", "add", "--clear-key", "--startup-key"]);
        let output = add.arg(&bek).arg(path).output().unwrap();
        (
            output.status.code(),
            String::from_utf8(output.stderr).unwrap(),
        )
    };
    // The device is opened exclusively, and the file below it is locked.
    for path in [device.path(), &copied.path] {
        let (code, told) = status(path);
        assert!(code == Some(5) && told.contains("is in use"), "{told}");
    }
    let range = free_range(&mut Random::new(9), model.len() as u64, &copied.reserved());
    model[as_usize(&range)].fill(0x5A);
    let file = File::options()
        .write(true)
        .open(mounted.volume_file())
        .unwrap();
    file.write_all_at(&model[as_usize(&range)], range.start)
        .unwrap();
    file.sync_all().unwrap();
    drop(file);
    mounted.unmount();
    device.protect().unwrap();
    let before = fs::read(&copied.path).unwrap();
    let (code, told) = status(device.path());
    assert!(code == Some(5) && told.contains("read-only"), "{told}");
    drop(device);
    assert!(fs::read(&copied.path).unwrap() == before);
    assert!(copied.plaintext() == model);
}
