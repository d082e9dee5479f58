//! What went wrong with a token, in words.

use super::message::Fault;
use crate::child::ChildFailure;
use crate::error::{Failure, Reason};
use crate::shown::Escaped;

/// The failure for a fault. Texts of the library are escaped.
pub(super) fn failure(fault: Fault) -> Failure {
    match fault {
        Fault::NoModule(why) => {
            let why = Escaped(&why);
            Failure::new(Reason::NoModule, format!("the PKCS#11 library cannot be loaded: {why}"))
                .with_remedy("name the library: pkcs11:…?module-path=/usr/lib/x86_64-linux-gnu/opensc-pkcs11.so; the default is that of p11-kit")
        }
        Fault::NoToken => Failure::new(Reason::NoToken, "no token matches the URI")
            .with_remedy("insert the card; 'p11tool --list-tokens' or 'pkcs11-tool -L' lists the tokens"),
        Fault::SeveralTokens(labels) => {
            let names = labels.iter().map(|label| format!("'{}'", Escaped(label)));
            let names = names.collect::<Vec<_>>().join(", ");
            let message = format!("the URI matches several tokens: {names}");
            Failure::new(Reason::SeveralTokens, message).with_remedy("name one: pkcs11:token=NAME")
        }
        Fault::WrongPin => Failure::new(Reason::WrongPin, "the token refuses the PIN")
            .with_remedy("check the PIN: the token locks itself after a few wrong ones"),
        Fault::PinLocked => Failure::new(
            Reason::PinLocked,
            "the token locked itself after too many wrong PINs",
        )
        .with_remedy("ask the issuer to unlock it, or use another protector"),
        Fault::PinExpired => Failure::new(Reason::PinExpired, "the PIN of the token has expired")
            .with_remedy("change the PIN with the program of the token's vendor, or with 'pkcs11-tool --change-pin'"),
        Fault::Canceled => Failure::new(
            Reason::LoginCanceled,
            "the PIN was not entered on the reader: the operation was canceled there",
        )
        .with_remedy("run the command again and enter the PIN on the reader, or use another protector"),
        Fault::Removed => failed("it was removed from the reader")
            .with_remedy("insert the card, leave it in the reader, and run the command again"),
        Fault::NotPermitted => failed("it does not permit to decrypt with this key after one login")
            .with_remedy("use a key that may decrypt and whose PIN is not needed for every use, or another protector"),
        Fault::Returned(code) => {
            let (function, name) = (Escaped(&code.function), Escaped(&code.name));
            failed(&format!("{function} returned {name}"))
        }
        Fault::Invalid(what) => {
            let what = Escaped(&what);
            Failure::new(Reason::TokenFailed, format!("the PKCS#11 library is faulty: {what}"))
                .with_remedy("update the library or name another one with module-path, or use another protector")
        }
    }
}

/// The failure for an answer that does not belong to the request.
pub(super) fn impossible() -> Failure {
    failure(Fault::Invalid("its answer cannot be understood".to_owned()))
}

/// The failure when the process of the library gives no answer.
pub(super) fn lost(why: ChildFailure) -> Failure {
    let text = match &why {
        ChildFailure::TimedOut(time) => {
            let seconds = time.as_secs_f32();
            return Failure::new(
                Reason::TokenFailed,
                format!("the PKCS#11 library did not finish within {seconds} seconds"),
            )
            .with_remedy("check the card and the reader, and run the command again, or use another protector");
        }
        ChildFailure::Malformed => return impossible(),
        ChildFailure::Panicked => "its answer made the client panic".to_owned(),
        ChildFailure::Exited(status) => format!("it ended its process with status {status}"),
        ChildFailure::Signal(signal) => format!("it crashed with signal {signal}"),
        ChildFailure::OutOfMemory => "it needed more memory than it may have".to_owned(),
        ChildFailure::StackOverflow => "its recursion was too deep".to_owned(),
        _ => {
            let message = "the PKCS#11 library could not be run in a process of its own";
            return Failure::new(Reason::TokenFailed, message).with_source(why);
        }
    };
    failure(Fault::Invalid(text))
}

fn failed(why: &str) -> Failure {
    Failure::new(Reason::TokenFailed, format!("the token failed: {why}"))
}
