#![no_main]
use fve::network::policy::Policy;
use libfuzzer_sys::fuzz_target;

// What is valid says the same when it is written and read again.
fuzz_target!(|bytes: &[u8]| {
    if let Ok(policy) = Policy::parse(bytes) {
        let again = Policy::parse(policy.to_string().as_bytes()).expect("its own writing");
        assert_eq!(policy.rules(), again.rules());
    }
});
