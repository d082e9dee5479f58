#![no_main]
use fve::crypto::hash::HashAlgorithm;
use fve::format::event_log::EventLog;
use fve::tpm::forecast;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(log) = EventLog::parse(bytes) {
        let _ = log.secure_boot();
        let _ = forecast::replay(&log, HashAlgorithm::Sha256);
        let _ = forecast::signers(&log, HashAlgorithm::Sha1);
    }
});
