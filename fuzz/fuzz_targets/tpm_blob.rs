#![no_main]
use fve::format::tpm_blob::SealedObject;
use fve::tpm::Policy;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(object) = SealedObject::parse(bytes) {
        let _ = (object.pcrs(), Policy::solve(&object));
    }
});
