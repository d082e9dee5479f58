//! A server whose key and certificate OpenSSL makes. OpenSSL also decrypts the requests, so that the
//! client is not tested against this crate's own server.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use fve::network::Request;
use fve::network::certificate::Certificate;
use fve::network::client::{InProcess, Received, Schedule};
use fve::network::crypto::{Decryptor, open_request, seal_reply};
use fve::secret::SecretBytes;

/// A certificate and its private key, for OpenSSL.
#[derive(Clone)]
pub struct Authority {
    pub certificate: PathBuf,
    pub key: PathBuf,
}

impl Authority {
    /// Makes both in this directory.
    pub fn make(directory: &Path, name: &str) -> Self {
        let authority = Self {
            certificate: directory.join(format!("{name}.cer")),
            key: directory.join(format!("{name}.key")),
        };
        let output = Command::new("openssl")
            .args([
                "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "30",
            ])
            .args(["-subj", "/CN=Network Unlock test", "-sha256"])
            .args(["-addext", "keyUsage=critical,keyEncipherment"])
            .args(["-addext", "extendedKeyUsage=1.3.6.1.4.1.311.67.1.1"])
            .arg("-keyout")
            .arg(&authority.key)
            .arg("-out")
            .arg(&authority.certificate)
            .output()
            .expect("openssl");
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "openssl req: {stderr}");
        authority
    }

    pub fn certificate(&self) -> Certificate {
        Certificate::parse(&std::fs::read(&self.certificate).expect("certificate")).expect("parse")
    }

    /// Certificate and key in one file, as the server reads them.
    pub fn bundle(&self) -> PathBuf {
        let mut both = std::fs::read(&self.certificate).expect("certificate");
        both.extend(std::fs::read(&self.key).expect("key"));
        let path = self.key.with_extension("pem");
        std::fs::write(&path, both).expect("bundle");
        path
    }

    /// An in-process transport to this server.
    pub fn in_process(&self) -> InProcess<impl fve::network::client::Responder + use<>> {
        let key = self.clone();
        let schedule = Schedule::new(Duration::ZERO, vec![Duration::from_secs(20)]);
        InProcess::with_schedule(
            move |request: &Request, _: usize| {
                assert_eq!(request.thumbprint, key.certificate().thumbprint());
                let keys = open_request(&key, &request.key_protector);
                let reply = keys.as_ref().and_then(seal_reply);
                let from = "the server".to_owned();
                reply
                    .map(|reply| (Duration::ZERO, Received::Reply { reply, from }))
                    .into_iter()
                    .collect()
            },
            schedule,
        )
    }
}

impl Decryptor for Authority {
    fn decrypt(&self, block: &[u8; 256]) -> Option<SecretBytes> {
        let mut openssl = Command::new("openssl")
            .args(["pkeyutl", "-decrypt", "-pkeyopt", "rsa_padding_mode:pkcs1"])
            .arg("-inkey")
            .arg(&self.key)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("openssl");
        openssl
            .stdin
            .take()
            .expect("standard input")
            .write_all(block)
            .expect("write");
        let output = openssl.wait_with_output().expect("openssl");
        output
            .status
            .success()
            .then(|| SecretBytes::new(output.stdout))
    }
}
