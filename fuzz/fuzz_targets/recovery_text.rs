#![no_main]
use fve::recovery_password::{Options, check_bytes};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(check) = check_bytes(bytes, &Options::default().with_ocr(true)) {
        for password in &check.passwords {
            let _ = (password.to_password(), password.expose_normalized());
            let _ = password.expose_suggestions(3);
        }
    }
});
