mod common;
use fve::secret::{SecretText, Vmk};
use fve::source::FileSource;
use fve::unlock::{
    KeyProtector, clear_key::Suspended, password::Password, raw_key::RawVmk,
    startup_key::StartupKey,
};
use fve::volume::{UnlockOptions, Volume};
use std::io::Read;
use std::sync::Arc;
fn main() {
    for v in common::corpus::volumes().unwrap() {
        let t = std::time::Instant::now();
        let vol = Volume::open(Arc::new(FileSource::open(&v.path).unwrap())).unwrap();
        println!("{} {:?}", v.name, vol.status());
        let mut creds: Vec<(String, Box<dyn KeyProtector>)> = vec![];
        for c in &v.credentials {
            match c.kind.as_str() {
                "password" => creds.push((
                    c.kind.clone(),
                    Box::new(Password::new(&SecretText::new(c.value.clone()))),
                )),
                "startup-key-file" => creds.push((
                    c.kind.clone(),
                    Box::new(StartupKey::read(&common::corpus::unpacked(&c.value)).unwrap()),
                )),
                "none (clear key)" => creds.push((c.kind.clone(), Box::new(Suspended))),
                _ => {}
            }
        }
        if let Some(h) = &v.vmk_hex {
            let b: Vec<u8> = (0..32)
                .map(|i| u8::from_str_radix(&h[2 * i..2 * i + 2], 16).unwrap())
                .collect();
            creds.push((
                "vmk".into(),
                Box::new(RawVmk::new(Vmk::from_slice(&b).unwrap())),
            ));
        }
        for (k, c) in creds {
            match vol.unlock(&[c], &UnlockOptions::default()) {
                Ok(u) => {
                    let h = common::sha256(u.cursor().take(u.available())).unwrap();
                    println!(
                        "   {k}: {} {} {:?} {:?}",
                        h == v.expected_sha256,
                        u.available() == v.plaintext_size,
                        u.size(),
                        u.warnings()
                    );
                }
                Err(e) => println!("   {k}: ERR {e}"),
            }
        }
        println!("   {:?}", t.elapsed());
    }
}
