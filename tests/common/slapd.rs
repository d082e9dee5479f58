//! OpenLDAP's server with the parts of Active Directory's schema that BitLocker uses and a new
//! certificate. It is stopped when its value is dropped.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::output::run;

/// The DN below which all entries are.
pub const SUFFIX: &str = "dc=example,dc=org";
/// The user who may read recovery passwords.
pub const HELP_DESK: &str = "cn=helpdesk,dc=example,dc=org";
/// A user who may read everything except recovery passwords.
pub const OTHER_USER: &str = "cn=other,dc=example,dc=org";
/// The password of both users.
pub const SECRET: &str = "Login-Secret-4711";

/// The class of recovery information, its attributes and their limits as in Active Directory
/// (docs/format-recovery.md §2.2), and a minimal class for computers.
const SCHEMA: &str = "\
attributetype ( 1.2.840.113556.1.4.1964 NAME 'msFVE-RecoveryPassword' EQUALITY caseIgnoreMatch SYNTAX 1.3.6.1.4.1.1466.115.121.1.15{256} SINGLE-VALUE )
attributetype ( 1.2.840.113556.1.4.1965 NAME 'msFVE-RecoveryGuid' EQUALITY octetStringMatch ORDERING octetStringOrderingMatch SUBSTR octetStringSubstringsMatch SYNTAX 1.3.6.1.4.1.1466.115.121.1.40{128} SINGLE-VALUE )
attributetype ( 1.2.840.113556.1.4.1998 NAME 'msFVE-VolumeGuid' EQUALITY octetStringMatch SYNTAX 1.3.6.1.4.1.1466.115.121.1.40{128} SINGLE-VALUE )
attributetype ( 1.2.840.113556.1.4.1999 NAME 'msFVE-KeyPackage' EQUALITY octetStringMatch SYNTAX 1.3.6.1.4.1.1466.115.121.1.40{102400} SINGLE-VALUE )
attributetype ( 1.2.840.113556.1.4.221 NAME 'sAMAccountName' EQUALITY caseIgnoreMatch SYNTAX 1.3.6.1.4.1.1466.115.121.1.15{256} SINGLE-VALUE )
objectclass ( 1.2.840.113556.1.5.253 NAME 'msFVE-RecoveryInformation' SUP top STRUCTURAL MUST ( cn $ msFVE-RecoveryPassword $ msFVE-RecoveryGuid ) MAY ( msFVE-VolumeGuid $ msFVE-KeyPackage ) )
objectclass ( 1.2.840.113556.1.3.30 NAME 'computer' SUP top STRUCTURAL MUST cn MAY sAMAccountName )
";

/// A running server.
pub struct Slapd {
    directory: tempfile::TempDir,
    server: Child,
    pub ldap: String,
    pub ldaps: String,
}

impl Slapd {
    /// Starts a server with these entries (LDIF, without the domain and the users). Without `tls`,
    /// it has no encryption.
    pub fn with(entries: &str, tls: bool) -> Self {
        let directory = tempfile::tempdir().expect("directory");
        let place = directory.path();
        fs::create_dir(place.join("db")).expect("db");
        if tls {
            certificates(place);
        }
        let config = place.join("slapd.conf");
        fs::write(&config, configuration(place, tls)).expect("configuration");
        let data = place.join("data.ldif");
        let user = |name: &str| {
            format!("dn: {name}\nobjectClass: person\nsn: x\nuserPassword: {SECRET}\n\n")
        };
        let head = format!(
            "dn: {SUFFIX}\nobjectClass: organization\nobjectClass: dcObject\no: x\ndc: example\n\n"
        );
        let data_text = [head, user(HELP_DESK), user(OTHER_USER), entries.to_owned()].concat();
        fs::write(&data, data_text).expect("data");
        run(Command::new(program("slapadd"))
            .args(["-q", "-f"])
            .arg(&config)
            .arg("-l")
            .arg(&data));
        let (plain, secure) = (free_port(), free_port());
        let ldap = format!("ldap://127.0.0.1:{plain}");
        let ldaps = format!("ldaps://127.0.0.1:{secure}");
        let listen = if tls {
            format!("{ldap} {ldaps}")
        } else {
            ldap.clone()
        };
        let server = Command::new(program("slapd"))
            .arg("-f")
            .arg(&config)
            .args(["-h", &listen, "-d", "0"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("slapd");
        let server = Self {
            directory,
            server,
            ldap,
            ldaps,
        };
        let started = Instant::now();
        while TcpStream::connect(("127.0.0.1", plain)).is_err() {
            assert!(
                started.elapsed() < Duration::from_secs(30),
                "slapd does not answer"
            );
            std::thread::sleep(Duration::from_millis(50));
        }
        server
    }

    /// The certificate authority of the server's certificate.
    pub fn ca(&self) -> PathBuf {
        self.directory.path().join("ca.pem")
    }

    /// Another certificate authority, which has signed nothing.
    pub fn other_ca(&self) -> PathBuf {
        self.directory.path().join("other.pem")
    }

    /// A file with the users' password.
    pub fn password(&self) -> PathBuf {
        let path = self.directory.path().join("password");
        fs::write(&path, SECRET).expect("password");
        path
    }

    /// The LDIF output of ldapsearch, run as the help desk user.
    pub fn ldapsearch(&self, filter: &str) -> String {
        let mut search = Command::new("ldapsearch");
        search.args(["-x", "-LLL", "-H", &self.ldaps, "-D", HELP_DESK, "-y"]);
        search.arg(self.password()).args(["-b", SUFFIX, filter]);
        let output = run(search.env("LDAPTLS_CACERT", self.ca()));
        String::from_utf8(output).expect("UTF-8")
    }
}

impl Drop for Slapd {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

/// The path of a program. Debian installs the server in /usr/sbin, which is not on every user's
/// `$PATH`.
pub fn program(name: &str) -> PathBuf {
    let path = Path::new("/usr/sbin").join(name);
    if path.exists() {
        path
    } else {
        PathBuf::from(name)
    }
}

fn configuration(place: &Path, tls: bool) -> String {
    let place = place.display();
    // The server refuses unencrypted passwords, so every login in the tests uses TLS.
    let tls = if tls {
        format!(
            "TLSCACertificateFile {place}/ca.pem\nTLSCertificateFile {place}/server.pem\nTLSCertificateKeyFile {place}/server.key\nsecurity simple_bind=128\n"
        )
    } else {
        String::new()
    };
    format!(
        "include /etc/ldap/schema/core.schema\n{SCHEMA}modulepath /usr/lib/ldap\nmoduleload back_mdb\n{tls}\
         sizelimit size.soft=600 size.hard=600 size.prtotal=unlimited\n\
         database mdb\nsuffix {SUFFIX}\ndirectory {place}/db\nmaxsize 67108864\n\
         access to attrs=userPassword by anonymous auth by * none\n\
         access to attrs=msFVE-RecoveryPassword by dn.exact=\"{HELP_DESK}\" read by * none\n\
         access to * by users read by * none\n"
    )
}

/// Creates a certificate authority, the server's certificate, and another certificate authority.
pub fn certificates(place: &Path) {
    /// Options of `openssl req` for a new key without a password.
    const NEW_KEY: [&str; 5] = [
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:prime256v1",
        "-nodes",
    ];
    let openssl = |arguments: &[&str]| {
        run(Command::new("openssl").args(arguments).current_dir(place));
    };
    for name in ["ca", "other"] {
        let (key, certificate) = (format!("{name}.key"), format!("{name}.pem"));
        let files = ["-keyout", &key, "-out", &certificate];
        let subject = ["-days", "2", "-subj", "/CN=Test CA"];
        openssl(&[&["req", "-x509"][..], &NEW_KEY, &files, &subject].concat());
    }
    let files = ["-keyout", "server.key", "-out", "server.csr"];
    openssl(&[&["req"][..], &NEW_KEY, &files, &["-subj", "/CN=server"]].concat());
    let extensions = "subjectAltName=IP:127.0.0.1,DNS:localhost\nbasicConstraints=CA:FALSE\n";
    fs::write(place.join("extensions"), extensions).expect("extensions");
    openssl(&[
        "x509",
        "-req",
        "-in",
        "server.csr",
        "-CA",
        "ca.pem",
        "-CAkey",
        "ca.key",
        "-CAcreateserial",
        "-days",
        "2",
        "-extfile",
        "extensions",
        "-out",
        "server.pem",
    ]);
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("port");
    listener.local_addr().expect("port").port()
}
