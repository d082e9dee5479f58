#![no_main]
use fve::format::block::MetadataBlock;
use libfuzzer_sys::fuzz_target;

// With a wrong checksum, the block would be refused early, so the checksum is corrected first.
fuzz_target!(|bytes: &[u8]| {
    let mut bytes = bytes.to_vec();
    if let [_, _, _, _, _, _, _, _, low, high, ..] = bytes.as_slice() {
        let size = usize::from(u16::from_le_bytes([*low, *high])) * 16;
        if let Some(block) = bytes.get(..size) {
            let crc = crc32fast::hash(block).to_le_bytes();
            if let Some(stored) = bytes.get_mut(size + 4..size + 8) {
                stored.copy_from_slice(&crc);
            }
        }
    }
    if let Ok(block) = MetadataBlock::parse(&bytes, 0x1000) {
        for protector in block.protectors() {
            let _ = (protector.kind(), protector.sealed_vmk(), protector.certificate());
            let _ = (protector.recovery_key_backup(), protector.reboots_left());
        }
        let _ = (block.sealed_fvek(), block.description(), block.last_written());
        let _ = format!("{block:?}");
    }
});
