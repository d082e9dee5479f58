//! Sources that fail, and several views of the same disk: an error of the source is reported as
//! such, data that could not be read influences no choice and no write, and an outdated view
//! changes nothing.

// A list with a single unreadable range is intended.
#![allow(clippy::single_range_in_vec_init)]

use std::collections::BTreeSet;
use std::io::{self, Read, Seek};
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use crate::common;
use crate::common::testdata::{self, Kind};
use crate::common::trials::trial;
use crate::common::writing::{self, plaintext_of};
use fve::create::{NewProtector, NewVolume, WriteJob};
use fve::crypto::sector::Method;
use fve::error::{Error, Result, Unwritable};
use fve::format::bek::BekFile;
use fve::format::protector::{KeyProtector, ProtectorKind};
use fve::guid::Guid;
use fve::manage::{Backup, Change, Managed, Rotation, RotationStage};
use fve::secret::SecretText;
use fve::source::{Cursor, Place, ReadAt, WriteAt, locate};
use fve::unlock::Password;
use fve::unlock::RawFvek;
use fve::unlock::RecoveryPasswords;
use fve::unlock::StartupKey;
use fve::unlock::{Answer, Context, Credential, NO_CREDENTIAL};
use fve::volume::{Disk, UnlockOptions, Unlocked, Volume, Writable};
use proptest::prelude::*;

/// An operation on a medium.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operation {
    Read,
    Write,
    Flush,
}

/// An operation that fails.
#[derive(Debug, Clone, Copy)]
struct Fault {
    operation: Operation,
    /// How many operations of this kind still succeed.
    after: usize,
    /// For a write: its first half is written. For a flush: the unflushed data is lost.
    leaves_a_mark: bool,
    forever: bool,
}

impl Fault {
    fn once(operation: Operation, after: usize) -> Option<Self> {
        Some(Self {
            operation,
            after,
            leaves_a_mark: false,
            forever: false,
        })
    }
}

/// A medium in memory that fails on demand.
#[derive(Default)]
struct Medium(Mutex<State>);

#[derive(Default)]
struct State {
    bytes: Vec<u8>,
    durable: Vec<u8>,
    fault: Option<Fault>,
    unreadable: Vec<Range<u64>>,
    writes: usize,
}

impl Medium {
    fn new(bytes: Vec<u8>) -> Arc<Self> {
        Arc::new(Self(Mutex::new(State {
            durable: bytes.clone(),
            bytes,
            ..State::default()
        })))
    }

    fn bytes(&self) -> Vec<u8> {
        self.0.lock().unwrap().bytes.clone()
    }

    /// Number of attempted writes.
    fn writes(&self) -> usize {
        self.0.lock().unwrap().writes
    }

    fn fail(&self, fault: Option<Fault>) {
        self.0.lock().unwrap().fault = fault;
    }

    fn unreadable(&self, ranges: &[Range<u64>]) {
        self.0.lock().unwrap().unreadable = ranges.to_vec();
    }
}

impl State {
    /// The fault, if this operation fails.
    fn strikes(&mut self, operation: Operation) -> Option<Fault> {
        let fault = self
            .fault
            .as_mut()
            .filter(|fault| fault.operation == operation)?;
        if fault.after > 0 {
            fault.after -= 1;
            return None;
        }
        let struck = *fault;
        if !struck.forever {
            self.fault = None;
        }
        Some(struck)
    }
}

fn timeout() -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, "the server does not answer")
}

impl ReadAt for Medium {
    fn size(&self) -> u64 {
        self.0.lock().unwrap().bytes.len() as u64
    }

    fn read_exact_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        let mut state = self.0.lock().unwrap();
        let end = offset + buf.len() as u64;
        let touched = |range: &Range<u64>| range.start < end && offset < range.end;
        if state.strikes(Operation::Read).is_some() || state.unreadable.iter().any(touched) {
            return Err(timeout());
        }
        state.bytes.read_exact_at(offset, buf)
    }
}

impl WriteAt for Medium {
    fn write_all_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let mut state = self.0.lock().unwrap();
        state.writes += 1;
        let fault = state.strikes(Operation::Write);
        let len = match fault {
            Some(fault) if fault.leaves_a_mark => bytes.len() / 2,
            Some(_) => 0,
            None => bytes.len(),
        };
        state.bytes[offset as usize..][..len].copy_from_slice(&bytes[..len]);
        fault.map_or(Ok(()), |_| Err(timeout()))
    }

    fn flush(&self) -> io::Result<()> {
        let mut state = self.0.lock().unwrap();
        match state.strikes(Operation::Flush) {
            None => {
                state.durable = state.bytes.clone();
                Ok(())
            }
            Some(fault) => {
                if fault.leaves_a_mark {
                    state.bytes = state.durable.clone();
                }
                Err(timeout())
            }
        }
    }
}

type Key = Box<dyn Credential>;

fn options() -> UnlockOptions {
    UnlockOptions::default()
}

/// Whether the credential unlocks the current metadata. After a failed change, another copy may
/// differ, and its credentials unlock the volume as well.
fn opens(image: Vec<u8>, key: Key) -> bool {
    let volume = Volume::from_source(Arc::new(image)).unwrap();
    let counts = volume.metadata().unwrap().position;
    let opened = volume.unlock_master_key(&[key], &options());
    opened.is_ok_and(|key| key.position() == counts)
}

/// The same for each of the three copies, as if all were equal to it.
fn opens_any_copy(image: &[u8], key: impl Fn() -> Key) -> bool {
    let volume = Volume::from_source(Arc::new(image.to_vec())).unwrap();
    let places: Vec<_> = volume.copies().0.iter().map(|copy| copy.offset).collect();
    let places: Vec<_> = places.iter().map(|place| *place as usize).collect();
    places.iter().any(|from| {
        let region = image[*from..from + 0x1_0000].to_vec();
        let mut image = image.to_vec();
        for to in &places {
            image[*to..to + 0x1_0000].copy_from_slice(&region);
        }
        opens(image, key())
    })
}

/// A startup key and its key protector.
fn startup_key() -> (NewProtector, Vec<u8>) {
    let protector = NewProtector::new_startup_key().unwrap();
    let file = protector.startup_key_file(None).unwrap().unwrap();
    let content = file.content.expose().to_vec();
    (protector, content)
}

fn credential(bek: &[u8]) -> Key {
    Box::new(StartupKey::new(BekFile::parse(bek).unwrap()))
}

/// A small volume with one startup key: its bytes, the key and its identifier.
fn small_volume() -> (Vec<u8>, Vec<u8>, Guid) {
    let (protector, key) = startup_key();
    let id = protector.id();
    let mut volume = NewVolume::new(Method::AES_XTS_128, 512, writing::placement()).unwrap();
    volume.protect(protector);
    let plaintext = vec![0; writing::SIZE];
    let medium = Medium::new(plaintext.clone());
    let cancelled = AtomicBool::new(false);
    volume
        .write_to(&plaintext, medium.as_ref(), &job(&cancelled))
        .unwrap();
    (medium.bytes(), key, id)
}

fn job(cancelled: &AtomicBool) -> WriteJob<'_> {
    WriteJob::new().cancelled_by(cancelled)
}

fn manage(medium: &Arc<Medium>, key: Key) -> Result<Managed> {
    Managed::open(medium.clone(), &[key], &options())
}

/// Offsets of the metadata copies of a volume.
fn regions(image: &[u8]) -> Vec<Range<u64>> {
    let volume = Volume::from_source(Arc::new(image.to_vec())).unwrap();
    let copies = volume.metadata().unwrap().copies;
    copies.map(|at| at..at + 0x1_0000).to_vec()
}

#[trial]
fn the_types_of_the_library_are_send_and_sync() {
    fn check<T: Send + Sync>() {}
    check::<Volume>();
    check::<Unlocked>();
    check::<Writable>();
    check::<Managed>();
    check::<Rotation>();
    check::<NewVolume>();
    check::<Backup>();
    check::<Error>();
    check::<fve::source::Cursor<Arc<Unlocked>>>();
    #[cfg(feature = "fuse")]
    check::<fve::serve::fuse::Mount>();
}

#[trial]
fn an_outdated_view_cannot_change_the_volume() {
    let sample = testdata::volume("ntfs-xts-128");
    let medium = Medium::new(std::fs::read(&sample.file).unwrap());
    let startup_key = || -> Key { Box::new(StartupKey::read(sample.bek()).unwrap()) };
    let old = || sample.credential(Kind::RecoveryPassword).protector();
    let mut first = manage(&medium, startup_key()).unwrap();
    let mut second = manage(&medium, startup_key()).unwrap();
    let rotation = Rotation::new(&first, &[]).unwrap();
    let digits = rotation.password().expose_digits().expose().to_owned();
    let new = || -> Key {
        let password = fve::recovery_password::RecoveryPassword::parse(&digits).unwrap();
        Box::new(RecoveryPasswords::new(&password))
    };
    rotation
        .carry_out(&mut first, |_, _| Ok::<_, Error>(()))
        .unwrap();
    let rotated = medium.bytes();
    assert!(!opens(rotated.clone(), old()));

    let (protector, _) = self::startup_key();
    for change in [Change::new(), Change::new().enroll(protector)] {
        assert!(matches!(second.preview(&change), Err(Error::Stale { .. })));
        let error = second.commit(&change).unwrap_err();
        assert!(matches!(error, Error::Stale { .. }), "{error}");
        assert!(
            error
                .remedy()
                .unwrap()
                .to_string()
                .contains("read the volume again")
        );
    }
    let rotation = Rotation::new(&second, &[]).unwrap();
    let escrowed = AtomicBool::new(false);
    let result = rotation.carry_out(&mut second, |_, _| {
        escrowed.store(true, Ordering::Relaxed);
        Ok::<_, Error>(())
    });
    let error = result.unwrap_err();
    assert_eq!(error.stage, RotationStage::Prepare);
    assert!(matches!(error.into_cause(), Error::Stale { .. }));
    assert!(!escrowed.load(Ordering::Relaxed));
    assert!(medium.bytes() == rotated, "something was written");

    // A new view can make changes, and the old password stays removed.
    second.reload(&[startup_key()], &options()).unwrap();
    second.commit(&Change::new()).unwrap();
    assert!(opens(medium.bytes(), new()));
    assert!(!opens_any_copy(&medium.bytes(), old));
    let result = first.commit(&Change::new());
    assert!(matches!(result, Err(Error::Stale { .. })));
}

#[trial]
fn does_not_overwrite_a_metadata_copy_written_by_another_program() {
    let (image, key, _) = small_volume();
    for at in regions(&image).iter().map(|range| range.start).chain([0]) {
        // In a part of the region, or of the sector, that no checksum covers.
        let at = if at == 0 { 0x1B0 } else { at as usize + 0xFF00 };
        let medium = Medium::new(image.clone());
        let mut managed = manage(&medium, credential(&key)).unwrap();
        medium.0.lock().unwrap().bytes[at] ^= 1;
        let result = managed.commit(&Change::new());
        assert!(matches!(result, Err(Error::Stale { .. })), "{at:#x}");
        assert_eq!(medium.writes(), 0);
    }
}

#[trial]
fn a_volume_that_was_read_before_a_change_cannot_be_managed() {
    let (image, key, _) = small_volume();
    let medium = Medium::new(image);
    let volume = Volume::from_source(medium.clone()).unwrap();
    let master_key = volume
        .unlock_master_key(&[credential(&key)], &options())
        .unwrap();
    let mut other = manage(&medium, credential(&key)).unwrap();
    other.commit(&Change::new()).unwrap();
    let managed = Managed::new(medium, volume, master_key);
    assert!(matches!(managed, Err(Error::Stale { .. })));
}

#[trial]
fn the_next_change_does_not_undo_one_that_failed_halfway() {
    let (image, old, id) = small_volume();
    let (keeper, kept) = startup_key();
    let medium = Medium::new(image);
    let mut managed = manage(&medium, credential(&old)).unwrap();
    managed.commit(&Change::new().enroll(keeper)).unwrap();
    let before = medium.bytes();
    let mut gone = 0;
    for operation in [Operation::Read, Operation::Write, Operation::Flush] {
        for after in 0.. {
            let medium = Medium::new(before.clone());
            let mut managed = manage(&medium, credential(&kept)).unwrap();
            let backup = Backup::of(managed.volume()).unwrap();
            assert!(managed.is_as_in(&backup));
            medium.fail(Fault::once(operation, after));
            let result = managed.commit(&Change::new().remove(id));
            let struck = medium.0.lock().unwrap().fault.is_none();
            medium.fail(None);
            if !struck {
                assert!(result.is_ok() && after > 2, "{operation:?} {after}");
                break;
            }
            let Err(error) = result else {
                // The change was already complete.
                assert!(!opens_any_copy(&medium.bytes(), || credential(&old)));
                continue;
            };
            assert!(
                matches!(error, Error::Io { .. }),
                "{operation:?} {after}: {error}"
            );
            let left = medium.bytes();
            let removed = !opens(left.clone(), credential(&old));
            gone += usize::from(removed);
            let (protector, _) = startup_key();
            for change in [Change::new(), Change::new().enroll(protector)] {
                let again = managed.commit(&change);
                if left == before {
                    continue;
                }
                assert!(
                    matches!(again, Err(Error::Stale { .. })),
                    "{operation:?} {after}"
                );
                assert!(medium.bytes() == left, "something was written");
            }
            // A new view makes all three copies equal to the current one.
            managed.reload(&[credential(&kept)], &options()).unwrap();
            managed.commit(&Change::new()).unwrap();
            let healed = medium.bytes();
            assert_eq!(opens_any_copy(&healed, || credential(&old)), !removed);
        }
    }
    assert!(gone > 1, "no fault came late enough: {gone}");
}

#[trial]
fn writes_nothing_if_the_disk_cannot_be_compared() {
    let (image, key, _) = small_volume();
    for region in regions(&image).into_iter().chain([0..512]) {
        let medium = Medium::new(image.clone());
        let mut managed = manage(&medium, credential(&key)).unwrap();
        medium.unreadable(&[region]);
        let error = managed.commit(&Change::new()).unwrap_err();
        let kept =
            matches!(&error, Error::Io { source, .. } if source.kind() == io::ErrorKind::TimedOut);
        assert!(kept, "{error}");
        assert_eq!(medium.writes(), 0);
        // The state is known, so the change continues when the medium works again.
        medium.unreadable(&[]);
        managed.commit(&Change::new()).unwrap();
    }
}

#[trial]
fn views_of_the_data_stay_valid_when_the_vmk_is_replaced() {
    let (image, key, id) = small_volume();
    let medium = Medium::new(image);
    let view = Volume::from_source(medium.clone()).unwrap();
    let view = view.unlock(&[credential(&key)], &options()).unwrap();
    let writable = writing::writable_with(medium.clone(), credential(&key)).unwrap();
    let (protector, new) = startup_key();
    let mut managed = manage(&medium, credential(&key)).unwrap();
    let report = managed.commit(&Change::new().enroll(protector).remove(id));
    assert!(report.unwrap().rekeyed);
    writable
        .write_all_at(0x5_0000, b"written after the change")
        .unwrap();
    writable.write_all_at(0, b"\xEB\x52\x90NTFS    ").unwrap();
    writable.flush().unwrap();
    // Changing data does not make the view of the metadata outdated.
    managed.commit(&Change::new()).unwrap();
    let after = Volume::from_source(Arc::new(medium.bytes())).unwrap();
    assert!(after.copies().faults().is_empty());
    let after = after.unlock(&[credential(&new)], &options()).unwrap();
    let plaintext = plaintext_of(&after);
    assert!(plaintext[0x5_0000..].starts_with(b"written after the change"));
    assert!(plaintext == plaintext_of(&view));
}

#[trial]
fn a_restored_backup_invalidates_older_views() {
    let (image, key, _) = small_volume();
    let medium = Medium::new(image);
    let mut managed = manage(&medium, credential(&key)).unwrap();
    let backup = Backup::of(managed.volume()).unwrap();
    managed.commit(&Change::new()).unwrap();
    let target: Arc<dyn WriteAt> = medium.clone();
    let before = medium.bytes();
    let all = regions(&before);
    for unreadable in [&[0..512][..], &all] {
        medium.unreadable(unreadable);
        let error = backup
            .restore(&target, fve::unlock::NO_CREDENTIAL)
            .unwrap_err();
        assert!(matches!(error, Error::Io { .. }), "{error}");
        assert!(medium.bytes() == before);
    }
    medium.unreadable(&[]);
    backup.restore(&target, fve::unlock::NO_CREDENTIAL).unwrap();
    assert!(matches!(
        managed.commit(&Change::new()),
        Err(Error::Stale { .. })
    ));
}

/// A disk with two volumes, in partitions of an MBR.
fn disk_with_two_volumes() -> (Vec<u8>, [u64; 2]) {
    let (first, ..) = small_volume();
    let (second, ..) = small_volume();
    let start = |number: usize| 2048 + number * writing::SIZE / 512;
    let mut disk = vec![0; 512 * start(0)];
    for number in 0..2 {
        let entry = 0x1BE + number * 16;
        disk[entry + 4] = 7;
        disk[entry + 8..][..4].copy_from_slice(&(start(number) as u32).to_le_bytes());
        disk[entry + 12..][..4].copy_from_slice(&(writing::SIZE as u32 / 512).to_le_bytes());
    }
    disk[510..512].copy_from_slice(&[0x55, 0xAA]);
    disk.extend(first);
    disk.extend(second);
    (disk, [start(0) as u64 * 512, start(1) as u64 * 512])
}

#[trial]
fn a_path_opens_the_only_volume_on_its_disk_but_not_one_of_several() {
    let (mut disk, starts) = disk_with_two_volumes();
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), &disk).unwrap();
    match Volume::open(file.path()) {
        Err(Error::Ambiguous { candidates, .. }) => assert_eq!(candidates.len(), 2),
        Err(error) => panic!("{error}"),
        Ok(_) => panic!("chose a volume"),
    }
    let first = disk[starts[0] as usize..][..writing::SIZE].to_vec();
    let first = Volume::from_source(Arc::new(first)).unwrap();
    // Without its boot record, the second is not a candidate.
    disk[starts[1] as usize..][..512].fill(0);
    std::fs::write(file.path(), &disk).unwrap();
    let found = Volume::open(file.path()).unwrap();
    let id = |volume: &Volume| volume.metadata().unwrap().dataset.id;
    assert_eq!(id(&found), id(&first));
}

#[trial]
fn a_disk_lists_and_opens_every_volume_on_it() {
    let (disk, starts) = disk_with_two_volumes();
    let medium = Medium::new(disk);
    let disk = Disk::from_source(medium.clone());
    let candidates = disk.volumes().unwrap();
    assert_eq!(candidates.len(), 2);
    for (number, candidate) in (1..).zip(&candidates) {
        assert_eq!(candidate.partition, Some(number));
        assert_eq!(candidate.offset, starts[number as usize - 1] as i64);
        assert_eq!(candidate.len, Some(writing::SIZE as u64));
        let volume = disk.open_volume(candidate).unwrap();
        let id = volume.metadata().unwrap().dataset.id;
        assert_eq!(candidate.identifier(), Some(id));
        assert_eq!(volume.source_size(), writing::SIZE as u64);
    }
    assert!(disk.partitions().unwrap().unwrap().is_complete);

    // A partition that cannot be read may hold a volume: it is listed, and opening it is an error.
    medium.unreadable(&[starts[0]..starts[0] + 512]);
    let candidates = disk.volumes().unwrap();
    assert_eq!(candidates.len(), 2);
    let error = candidates[0].read_error().unwrap();
    assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    assert_eq!(candidates[0].identifier(), None);
    let first = disk.open_volume(&candidates[0]);
    assert!(matches!(first, Err(Error::Io { .. })));
    disk.open_volume(&candidates[1]).unwrap();

    // A volume that fills its disk is the only candidate.
    medium.unreadable(&[]);
    let mut second = vec![0; writing::SIZE];
    medium.read_exact_at(starts[1], &mut second).unwrap();
    let disk = Disk::from_source(second);
    let candidates = disk.volumes().unwrap();
    assert_eq!(candidates.len(), 1);
    assert_eq!((candidates[0].partition, candidates[0].offset), (None, 0));
    disk.open_volume(&candidates[0]).unwrap();
    assert!(
        Disk::from_source(vec![0; 4096])
            .volumes()
            .unwrap()
            .is_empty()
    );
}

#[trial]
fn a_program_can_keep_a_cursor_that_owns_its_volume() {
    struct Reader {
        cursor: Cursor<Arc<Unlocked>>,
    }
    let (image, plaintext) = writing::volume_with_clear_key(Method::AES_XTS_128, 512);
    let volume = Volume::from_source(image).unwrap();
    let unlocked = volume.unlock(NO_CREDENTIAL, &UnlockOptions::new()).unwrap();
    let mut reader = Reader {
        cursor: Cursor::new(Arc::new(unlocked)),
    };
    let mut other = reader.cursor.clone();
    let mut first = Vec::new();
    reader.cursor.read_to_end(&mut first).unwrap();
    assert!(first == plaintext);
    other.seek(io::SeekFrom::End(-100)).unwrap();
    let mut last = [0; 100];
    other.read_exact(&mut last).unwrap();
    assert_eq!(last[..], plaintext[plaintext.len() - 100..]);
}

#[trial]
fn a_volume_that_cannot_be_read_is_not_replaced_by_another() {
    let (disk, starts) = disk_with_two_volumes();
    let medium = Medium::new(disk);
    let whole = locate(medium.clone(), Place::Auto, &Volume::probe);
    assert!(matches!(whole, Err(Error::Ambiguous { .. })));
    medium.unreadable(&[starts[0]..starts[0] + 512]);
    match locate(medium.clone(), Place::Auto, &Volume::probe) {
        Err(Error::Ambiguous {
            what, candidates, ..
        }) => {
            assert!(what.contains("cannot be read"), "{what}");
            assert_eq!(candidates[0].partition, Some(1));
            let error = candidates[0].read_error().unwrap();
            assert!(error.to_string().contains("does not answer"), "{error}");
            assert_eq!(candidates[1].partition, Some(2));
            assert!(candidates[1].identifier().is_some());
        }
        Err(error) => panic!("{error}"),
        Ok(located) => panic!("chose partition {:?}", located.partition),
    }
    let second = locate(medium.clone(), Place::Partition(2), &Volume::probe).unwrap();
    assert_eq!(second.start, starts[1]);
    let first = locate(medium.clone(), Place::Partition(1), &Volume::probe);
    assert!(
        matches!(first, Err(Error::Io { source, .. }) if source.kind() == io::ErrorKind::TimedOut)
    );
    // A volume with unreadable metadata is still a candidate.
    medium.unreadable(&[starts[0] + 512..starts[1]]);
    let result = locate(medium.clone(), Place::Auto, &Volume::probe);
    assert!(matches!(result, Err(Error::Ambiguous { candidates, .. }) if candidates.len() == 2));
    medium.unreadable(&[0..512]);
    let result = locate(medium, Place::Auto, &Volume::probe);
    assert!(matches!(result, Err(Error::Io { .. })));
}

#[trial]
fn unreadable_metadata_is_not_reported_as_damaged() {
    let (image, key, _) = small_volume();
    let all = regions(&image);
    let check = |error: Error| {
        let Error::Io { what, source, .. } = &error else {
            panic!("{error:?}")
        };
        assert_eq!(source.kind(), io::ErrorKind::TimedOut);
        assert!(source.to_string().contains("does not answer"), "{source}");
        assert!(what.contains("copy 2"), "{what}");
        assert_eq!(error.remedy(), None);
    };
    let medium = Medium::new(image.clone());
    medium.unreadable(&all);
    let volume = Volume::from_source(medium.clone()).unwrap();
    check(volume.metadata().unwrap_err());
    check(volume.unlock(&[credential(&key)], &options()).unwrap_err());
    check(volume.check_writable().unwrap_err());
    // Damaged copies do not mean that an unreadable copy is damaged.
    let mut damaged = image.clone();
    for region in [&all[0], &all[2]] {
        damaged[region.start as usize + 0x70] ^= 1;
    }
    let medium = Medium::new(damaged.clone());
    medium.unreadable(&all[1..2]);
    let volume = Volume::from_source(medium).unwrap();
    check(volume.metadata().unwrap_err());
    let fault = &volume.copies().faults()[1];
    assert!(fault.is_read_error());
    let source = fault.unread.as_ref().unwrap();
    assert_eq!(source.kind(), io::ErrorKind::TimedOut);
    // If all copies can be read and none is sound, the metadata is damaged.
    damaged[all[1].start as usize + 0x70] ^= 1;
    let volume = Volume::from_source(Arc::new(damaged)).unwrap();
    assert!(matches!(volume.metadata(), Err(Error::Damaged { .. })));
    // If the source ends before them, it is truncated.
    let cut = image[..all[0].start as usize].to_vec();
    let volume = Volume::from_source(Arc::new(cut)).unwrap();
    assert!(matches!(
        volume.metadata(),
        Err(Error::Io { source, .. }) if source.kind() == io::ErrorKind::UnexpectedEof
    ));
}

#[trial]
fn one_copy_that_cannot_be_read_is_a_warning() {
    let (image, key, _) = small_volume();
    for region in regions(&image) {
        let medium = Medium::new(image.clone());
        medium.unreadable(&[region]);
        let volume = Volume::from_source(medium.clone()).unwrap();
        let unlocked = volume.unlock(&[credential(&key)], &options()).unwrap();
        assert_eq!(unlocked.warnings().len(), 1);
        assert!(unlocked.warnings()[0].contains("cannot be read"));
        match volume.check_writable() {
            Err(Error::Unwritable(reason @ Unwritable::DamagedCopies(_))) => {
                let help = Error::Unwritable(reason).remedy().unwrap().to_string();
                assert!(help.contains("connection"), "{help}");
            }
            other => panic!("{other:?}"),
        }
        // A change rewrites it, and succeeds if it can be read again by then.
        let mut managed = manage(&medium, credential(&key)).unwrap();
        medium.unreadable(&[]);
        let report = managed.commit(&Change::new()).unwrap();
        assert_eq!(report.repaired.len(), 1);
        let volume = Volume::from_source(medium).unwrap();
        assert!(volume.copies().faults().is_empty());
    }
}

#[trial]
fn an_unreadable_first_sector_does_not_reject_a_sector_key() {
    let (image, key, _) = small_volume();
    let volume = Volume::from_source(Arc::new(image.clone())).unwrap();
    let block = volume.metadata().unwrap();
    let moved = block.header_source;
    let _ = key;
    let medium = Medium::new(image);
    medium.unreadable(&[moved..moved + 512]);
    let volume = Volume::from_source(medium).unwrap();
    let raw = RawFvek::new(fve::secret::SecretBytes::new(vec![7; 32]));
    let error = volume.unlock(&[Box::new(raw)], &options()).unwrap_err();
    assert!(matches!(error, Error::Io { .. }), "{error}");
}

#[trial]
fn a_suspended_volume_opens_without_any_credential() {
    let sample = testdata::volume("suspended");
    let volume = sample.open();
    let wrong = Password::new(&SecretText::new("not the password".to_owned()));
    let error = volume.unlock(&[Box::new(wrong)], &options()).unwrap_err();
    assert!(
        error
            .remedy()
            .unwrap()
            .to_string()
            .contains("without a credential")
    );
    let unlocked = volume
        .unlock(fve::unlock::NO_CREDENTIAL, &options())
        .unwrap();
    let opened_by = unlocked.opened_by().protector.unwrap();
    assert_eq!(opened_by.1, ProtectorKind::ClearKey);
    let hash = common::sha256(unlocked.cursor()).unwrap();
    assert_eq!(hash, sample.plaintext_sha256);
    volume
        .unlock_master_key(fve::unlock::NO_CREDENTIAL, &options())
        .unwrap();
    // But not if another key protector was selected, or if there is no clear key.
    let mut other = options();
    let password = sample
        .credentials
        .iter()
        .find(|key| key.kind != Kind::ClearKey);
    other.protector = password.map(|key| key.protector.parse().unwrap());
    let result = volume.unlock(fve::unlock::NO_CREDENTIAL, &other);
    assert!(matches!(result, Err(Error::NothingToTry { .. })));
    let protected = testdata::volume("ntfs-xts-128").open();
    let result = protected.unlock(fve::unlock::NO_CREDENTIAL, &options());
    assert!(matches!(result, Err(Error::NothingToTry { .. })));
}

#[trial]
fn a_new_volume_exists_only_after_it_was_written_completely() {
    let (protector, key) = startup_key();
    let mut volume = NewVolume::new(Method::AES_XTS_128, 512, writing::placement()).unwrap();
    volume.protect(protector);
    let plaintext = vec![0; writing::SIZE];
    let cancelled = AtomicBool::new(false);
    let is_volume = |bytes: Vec<u8>| {
        Volume::from_source(Arc::new(bytes))
            .is_ok_and(|volume| volume.unlock(&[credential(&key)], &options()).is_ok())
    };
    let mut exceptions = 0;
    for (operation, forever) in [
        (Operation::Write, false),
        (Operation::Flush, false),
        (Operation::Write, true),
        (Operation::Flush, true),
    ] {
        for after in 0.. {
            let medium = Medium::new(vec![0; writing::SIZE]);
            let fault = Fault {
                operation,
                after,
                leaves_a_mark: false,
                forever,
            };
            medium.fail(Some(fault));
            let made = volume.write_to(&plaintext, medium.as_ref(), &job(&cancelled));
            let there = is_volume(medium.bytes());
            let Err(error) = made else {
                assert!(there);
                break;
            };
            assert!(matches!(error, Error::Io { .. }));
            let said = error.to_string().contains("may be complete nevertheless");
            assert!(!there || said, "{operation:?} {after}: {error}");
            exceptions += usize::from(said);
        }
    }
    // The last write and the last flush, on a medium that then fails permanently.
    assert_eq!(exceptions, 2);
}

/// A source with this sector size.
struct Sectors(Vec<u8>, u32);

impl ReadAt for Sectors {
    fn size(&self) -> u64 {
        self.0.size()
    }
    fn sector_size(&self) -> Option<u32> {
        Some(self.1)
    }
    fn read_exact_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        self.0.read_exact_at(offset, buf)
    }
}

#[trial]
fn sectors_of_an_impossible_size_are_an_error() {
    let bytes: Vec<u8> = (0..0x1_0000u32).map(|i| (i % 253) as u8).collect();
    for size in [0, 1, 511, 513, 3 * 512, 8192, u32::MAX] {
        let result = Unlocked::plain(Arc::new(Sectors(bytes.clone(), size)));
        assert!(matches!(result, Err(Error::Unsupported { .. })), "{size}");
        let (disk, starts) = disk_with_two_volumes();
        let disk = Arc::new(Sectors(disk, size));
        let located = locate(disk, Place::Partition(2), &Volume::probe).unwrap();
        assert_eq!(located.start, starts[1]);
    }
    for size in [512, 4096] {
        let plain = Unlocked::plain(Arc::new(Sectors(bytes.clone(), size))).unwrap();
        assert_eq!(plain.available(), bytes.len() as u64);
        assert!(plaintext_of(&plain) == bytes);
    }
}

/// A source whose reads are interrupted this many times before each succeeds.
struct Interrupted {
    bytes: Vec<u8>,
    times: usize,
    count: AtomicUsize,
}

impl ReadAt for Interrupted {
    fn size(&self) -> u64 {
        self.bytes.size()
    }
    fn read_exact_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        if self.count.fetch_add(1, Ordering::Relaxed) % (self.times.saturating_add(1)) < self.times
        {
            return Err(io::ErrorKind::Interrupted.into());
        }
        self.bytes.read_exact_at(offset, buf)
    }
}

#[trial]
fn endless_interruptions_of_a_source_are_an_error() {
    let (image, key, _) = small_volume();
    let source = |times| {
        Arc::new(Interrupted {
            bytes: image.clone(),
            times,
            count: AtomicUsize::new(0),
        })
    };
    // Some interruptions are harmless.
    let volume = Volume::from_source(source(3)).unwrap();
    assert!(volume.copies().faults().is_empty());
    let unlocked = volume.unlock(&[credential(&key)], &options()).unwrap();
    let mut read = Vec::new();
    unlocked.cursor().read_to_end(&mut read).unwrap();
    assert_eq!(read.len(), writing::SIZE);
    // Endless interruptions are an error of another kind, so that callers do not retry forever.
    let unlocked = Unlocked::plain(source(usize::MAX - 1)).unwrap();
    let error = unlocked.cursor().read_to_end(&mut Vec::new()).unwrap_err();
    assert_ne!(error.kind(), io::ErrorKind::Interrupted);
    assert!(error.to_string().contains("interrupted"), "{error}");
    let opened = Volume::from_source(source(usize::MAX - 1));
    assert!(
        matches!(opened, Err(Error::Io { source, .. }) if source.kind() != io::ErrorKind::Interrupted)
    );
    let result = locate(source(usize::MAX - 1), Place::Auto, &Volume::probe);
    assert!(matches!(result, Err(Error::Io { .. })));
}

#[trial]
fn names_a_partial_sector_and_a_character_device() {
    let (image, ..) = small_volume();
    let piece: Arc<dyn ReadAt> = Arc::new(image[..300].to_vec());
    let error = locate(piece, Place::Auto, &Volume::probe).err().unwrap();
    let message = error.to_string();
    assert!(
        message.contains("beginning of a BitLocker volume, cut off after 300 bytes"),
        "{message}"
    );
    let error = fve::source::open("/dev/null").err().unwrap().to_string();
    assert!(error.contains("/dev/null is a character device"), "{error}");
    assert!(error.contains("not a file or block device"), "{error}");
}

#[trial]
fn reports_a_startup_key_file_that_cannot_be_read() {
    let (image, key, _) = small_volume();
    let directory = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink("nowhere", directory.path().join("LOST.BEK")).unwrap();
    std::fs::write(directory.path().join("other.BEK"), b"no key at all").unwrap();
    let error = StartupKey::read(directory.path()).unwrap_err();
    assert!(matches!(&error, Error::Io { .. }), "{error}");
    assert!(error.to_string().contains("LOST.BEK"), "{error}");
    // With the right key as well, the volume is unlocked; with only the wrong one, the error names
    // the file.
    let (_, wrong) = startup_key();
    std::fs::write(directory.path().join("wrong.bek"), wrong).unwrap();
    let volume = Volume::from_source(Arc::new(image)).unwrap();
    let keys = StartupKey::read(directory.path()).unwrap();
    let error = volume.unlock(&[Box::new(keys)], &options()).unwrap_err();
    assert!(error.to_string().contains("LOST.BEK"), "{error}");
    std::fs::write(directory.path().join("right.bek"), key).unwrap();
    let keys = StartupKey::read(directory.path()).unwrap();
    volume.unlock(&[Box::new(keys)], &options()).unwrap();
}

/// An action of a program with one of its two views.
#[derive(Debug, Clone)]
enum Step {
    /// Adds a startup key.
    Add,
    /// Removes the key with this number from those of the view.
    Remove(usize),
    /// Adds a key and removes one.
    Replace(usize),
    /// Commits an empty change.
    Nothing,
    /// Reads the volume again.
    Reload,
}

fn steps() -> impl Strategy<Value = Vec<(usize, Step, Option<Fault>)>> {
    let step = prop_oneof![
        3 => Just(Step::Add),
        4 => (0usize..4).prop_map(Step::Remove),
        2 => (0usize..4).prop_map(Step::Replace),
        2 => Just(Step::Nothing),
        3 => Just(Step::Reload),
    ];
    let operation = prop_oneof![
        Just(Operation::Read),
        Just(Operation::Write),
        Just(Operation::Flush)
    ];
    let fault = (operation, 0usize..160, any::<bool>(), any::<bool>()).prop_map(
        |(operation, after, leaves_a_mark, forever)| Fault {
            operation,
            // A change has three writes and flushes, or up to six with repairs, and more reads.
            after: if operation == Operation::Read {
                after
            } else {
                after % 6
            },
            leaves_a_mark,
            forever,
        },
    );
    prop::collection::vec((0usize..2, step, prop::option::weighted(0.6, fault)), 1..14)
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 48,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[trial]
    fn no_sequence_of_changes_and_faults_restores_a_removed_credential(steps in steps()) {
        run(steps);
    }
}

/// All keys that were ever added, by key protector.
type Keys = Vec<(Guid, Vec<u8>)>;

fn key_of(keys: &Keys, id: Guid) -> Key {
    let (_, key) = keys.iter().find(|(other, _)| *other == id).unwrap();
    credential(key)
}

/// The key protectors whose keys unlock the volume.
fn open_ones(image: &[u8], keys: &Keys) -> BTreeSet<String> {
    let opening = keys
        .iter()
        .filter(|(_, key)| opens(image.to_vec(), credential(key)));
    opening.map(|(id, _)| id.to_string()).collect()
}

fn run(steps: Vec<(usize, Step, Option<Fault>)>) {
    let (image, key, id) = small_volume();
    let medium = Medium::new(image);
    let mut keys: Keys = vec![(id, key.clone())];
    let mut views = [0, 1].map(|_| manage(&medium, credential(&key)).unwrap());
    // The key protectors that may unlock the volume: those after the last successful change, and
    // those of later failed changes.
    let mut states = vec![BTreeSet::from([id.to_string()])];
    let mut removed: Vec<Guid> = Vec::new();
    for (view, step, fault) in steps {
        let view = &mut views[view];
        let before = medium.bytes();
        let writes = medium.writes();
        let ids: Vec<_> = view.protectors().iter().map(|one| one.id).collect();
        if matches!(step, Step::Reload) {
            // Unlock with any key that works now.
            let now = open_ones(&before, &keys);
            let one = keys.iter().find(|(id, _)| now.contains(&id.to_string()));
            let key = credential(&one.expect("a key that opens the volume").1);
            medium.fail(fault);
            let _ = view.reload(&[key], &options());
            medium.fail(None);
            assert_eq!(medium.writes(), writes);
            continue;
        }
        let mut change = Change::new();
        let mut wanted: BTreeSet<_> = ids.iter().map(ToString::to_string).collect();
        let mut goes = None;
        if let Step::Remove(number) | Step::Replace(number) = step {
            let id = ids[number % ids.len()];
            change = change.remove(id);
            wanted.remove(&id.to_string());
            goes = Some(id);
        }
        if let Step::Add | Step::Replace(_) = step {
            let (protector, key) = startup_key();
            keys.push((protector.id(), key));
            wanted.insert(protector.id().to_string());
            change = change.enroll(protector);
        }
        medium.fail(fault);
        let result = view.commit(&change);
        medium.fail(None);
        match result {
            Ok(_) => {
                states = vec![wanted];
                removed.extend(goes);
            }
            Err(Error::Io { .. }) if medium.writes() > writes => states.push(wanted),
            Err(Error::Io { .. } | Error::Stale { .. } | Error::Unchangeable { .. }) => {
                assert_eq!(medium.writes(), writes);
                assert!(medium.bytes() == before);
            }
            Err(error) => panic!("{error:?}"),
        }
        let now = medium.bytes();
        let opening = open_ones(&now, &keys);
        assert!(
            states.contains(&opening),
            "{opening:?} is none of {states:?}"
        );
        for id in &removed {
            assert!(
                !opens_any_copy(&now, || key_of(&keys, *id)),
                "{id} opens a copy"
            );
        }
    }
}

/// A service that holds keys and does not answer.
struct Silent;

impl Credential for Silent {
    fn name(&self) -> &str {
        "key service"
    }

    fn try_on(&self, _: &KeyProtector, _: &Context<'_>) -> Answer {
        let source = io::Error::from(io::ErrorKind::TimedOut);
        Answer::Abort(Error::io("cannot ask the key service", source))
    }
}

#[trial]
fn a_service_that_does_not_answer_is_not_a_wrong_key() {
    let sample = testdata::volume("ntfs-xts-128");
    let right = sample.credential(Kind::Password).protector();
    let volume = sample.open();
    let credentials: [&dyn Credential; 2] = [&Silent, &right];
    match volume.unlock(&credentials, &options()) {
        Err(Error::Io { source, .. }) => assert_eq!(source.kind(), io::ErrorKind::TimedOut),
        Err(error) => panic!("{error}"),
        Ok(_) => panic!("another credential was tried"),
    }
    // If an earlier credential unlocks the volume, the service is not asked.
    let credentials: [&dyn Credential; 2] = [&right, &Silent];
    volume.unlock(&credentials, &options()).unwrap();
}
