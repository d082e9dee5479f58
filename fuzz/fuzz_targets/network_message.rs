#![no_main]
use fve::network::message::dhcp4::{Reply4, Request4};
use fve::network::message::dhcp6::{Reply6, Request6};
use libfuzzer_sys::fuzz_target;

// An accepted message, encoded and parsed again, gives the same message.
fuzz_target!(|bytes: &[u8]| {
    if let Ok(request) = Request4::parse(bytes) {
        assert_eq!(Request4::parse(&request.encode()).as_ref(), Ok(&request));
    }
    if let Ok(reply) = Reply4::parse(bytes) {
        let again = Reply4::parse(&reply.encode());
        assert_eq!(again.map(|reply| reply.sealed), Ok(reply.sealed));
    }
    if let Ok(request) = Request6::parse(bytes) {
        // The encoded request may be refused: it may be longer than the limit.
        if let Ok(again) = Request6::parse(&request.encode()) {
            assert_eq!(again, request);
        }
    }
    if let Ok(reply) = Reply6::parse(bytes)
        && let Ok(again) = Reply6::parse(&reply.encode())
    {
        assert_eq!(again, reply);
    }
});
