#![no_main]
use fve::network::policy::Policy;
use libfuzzer_sys::fuzz_target;

// A valid policy, written and parsed again, gives the same rules.
fuzz_target!(|bytes: &[u8]| {
    if let Ok(policy) = Policy::parse(bytes) {
        let again = Policy::parse(policy.to_string().as_bytes()).expect("its own writing");
        assert_eq!(policy.rules(), again.rules());
    }
});
