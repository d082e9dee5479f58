//! Tests of `fve recovery lookup` and `--recovery-lookup`: saved recovery passwords in files of
//! every format, and in a real directory server over TLS, where the results are compared with those
//! of ldapsearch.
//!
//! Tests whose tools are missing are reported as ignored; `FVE_REQUIRE_TOOLS=1` makes that a
//! failure.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};

use crate::common::fve;
use crate::common::slapd::{self, HELP_DESK, OTHER_USER, SECRET, SUFFIX, Slapd};
use crate::common::testdata::{self, Entry, Kind};
use crate::common::trials::{self, Missing, installed, trial};
use libtest_mimic::Failed;
use serde_json::Value;

/// The recovery password of another volume, and its ID.
const OTHER: &str = "471207-278498-422125-177177-561902-537405-468006-693451";
const OTHER_ID: &str = "5BC8FBBC-BDE5-C099-4164-D8399F767C45";

fn directory_server() -> Option<Missing> {
    let tools = ["slapd", "slapadd", "ldapsearch", "openssl"];
    let lacking = |tool: &&str| !installed(tool) && !slapd::program(tool).is_absolute();
    trials::feature("directory", cfg!(feature = "directory")).or_else(|| {
        let tool = tools.iter().find(|tool| lacking(tool))?;
        Some(Missing::Tool(format!("{tool} is not installed")))
    })
}

// A volume with two recovery passwords.

fn volume() -> Entry {
    testdata::volume("two-recovery-passwords")
}

/// IDs and recovery passwords, in the order of the index.
fn saved(volume: &Entry) -> Vec<(String, String)> {
    let keys = volume.credentials.iter();
    let keys: Vec<_> = keys
        .filter(|key| key.kind == Kind::RecoveryPassword)
        .map(|key| (key.protector.to_uppercase(), key.value.clone()))
        .collect();
    assert_eq!(keys.len(), 2);
    keys
}

fn lookup(arguments: &[&str]) -> Output {
    fve()
        .args(["recovery", "lookup"])
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .expect("fve")
}

/// Runs `fve recovery lookup --json`. Returns the exit status and the document, which may have
/// digits of passwords only with `--show`.
fn json(arguments: &[&str]) -> (i32, Value) {
    let output = lookup(&[arguments, &["--json"]].concat());
    let text = String::from_utf8(output.stdout).unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    if !arguments.contains(&"--show") {
        no_digits(&text);
        no_digits(&said);
    }
    let document =
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}{said}"));
    (output.status.code().unwrap(), document)
}

/// A single block would already reveal a part of a password.
fn no_digits(text: &str) {
    let known = saved(&volume());
    let all = known.iter().map(|(_, password)| password.as_str());
    for block in all.chain([OTHER]).flat_map(|password| password.split('-')) {
        assert!(!text.contains(block), "{text}");
    }
    assert!(!text.contains(SECRET), "{text}");
}

fn ids(found: &Value) -> Vec<&str> {
    let found = found["found"].as_array().expect("found");
    found
        .iter()
        .map(|entry| entry["id"].as_str().unwrap_or("none"))
        .collect()
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

// Files.

#[trial("finds a key file of Windows by eight digits of its ID")]
fn key_file() -> Result<(), Failed> {
    let file = testdata::directory().join("ntfs-xts-128.recovery.txt");
    let ntfs = testdata::volume("ntfs-xts-128");
    let key = ntfs.credential(Kind::RecoveryPassword);
    let id = key.protector.to_uppercase();
    let (status, found) = json(&[text(&file), "--id", &id[..8]]);
    assert_eq!((status, ids(&found)), (0, vec![id.as_str()]));
    assert!(found["found"][0]["password"].is_null());
    let (_, found) = json(&[text(&file), "--id", &format!("{{{id}}}"), "--show"]);
    assert_eq!(found["found"][0]["password"], key.value.as_str());
    let output = lookup(&[text(&file), "--id", &id[..8].to_lowercase()]);
    let said = String::from_utf8(output.stdout)?;
    assert!(said.contains(&id), "{said}");
    assert!(key.value.split('-').all(|block| !said.contains(block)));
    Ok(())
}

#[trial("recognizes LDIF, CSV and JSON by their content")]
fn exports() -> Result<(), Failed> {
    let directory = tempfile::tempdir()?;
    let [(first, password), (second, other)] = &saved(&volume())[..] else {
        panic!("two");
    };
    let file = |name: &str, content: &str| {
        let path = directory.path().join(name);
        fs::write(&path, content).unwrap();
        path
    };
    let small = first.to_lowercase();
    let graph = file(
        "graph.json",
        &format!(
            r#"{{"@odata.context":"https://graph/v1.0/$metadata","value":[{{"id":"{OTHER_ID}","deviceId":"11111111-2222-3333-4444-555555555555","volumeType":1,"key":"{OTHER}"}},{{"deviceId":"{second}","createdDateTime":"2021-06-15T13:38:09Z","key":"{password}","id":"{small}"}}]}}"#
        ),
    );
    let (status, found) = json(&[text(&graph), "--id", first]);
    assert_eq!((status, ids(&found)), (0, vec![first.as_str()]));
    assert_eq!(found["found"][0]["saved"], "2021-06-15T13:38:09Z");
    let table = file(
        "export.csv",
        &format!(
            "\u{FEFF}\"Machine\";\"RecoveryKeyId\";\"RecoveryKey\";\"LastUpdateTime\"\r\n\"PC02\";\"{OTHER_ID}\";\"{OTHER}\";\"x\"\r\n\"PC01\";\"{first}\";\"{password}\";\"2024-05-06\"\r\n\"pc01.example.org\";\"{second}\";\"{other}\";\"2024-05-07\"\r\n"
        ),
    );
    let (status, found) = json(&[text(&table), "--computer", "PC01"]);
    assert_eq!(
        (status, ids(&found)),
        (0, vec![first.as_str(), second.as_str()])
    );
    assert_eq!(found["found"][0]["saved"], "2024-05-06");
    // The format of csvde: names of entries, and octets in hex.
    let octets = hex(&disk(first));
    let csvde = file(
        "csvde.csv",
        &format!(
            "DN,objectClass,msFVE-RecoveryPassword,msFVE-RecoveryGuid\n\"CN=2023-10-10T10:00:00-08:00{{{first}}},CN=PC01,DC=x\",msFVE-RecoveryInformation,{password},X'{octets}'\n"
        ),
    );
    let (status, found) = json(&[text(&csvde), "--id", &first[..8], "--show"]);
    assert_eq!((status, ids(&found)), (0, vec![first.as_str()]));
    assert_eq!(found["found"][0]["computer"], "PC01");
    assert_eq!(found["found"][0]["password"], password.as_str());
    let ldif = file("ad.ldif", &entry("PC01", first, password));
    for query in [["--id", &first[..8]], ["--computer", "pc01$"]] {
        let (status, found) = json(&[text(&ldif), query[0], query[1]]);
        assert_eq!(
            (status, ids(&found)),
            (0, vec![first.as_str()]),
            "{query:?}"
        );
    }
    // UTF-16, as `Export-Csv -Encoding Unicode` writes.
    let utf16: Vec<u8> = fs::read_to_string(&table)?
        .encode_utf16()
        .flat_map(u16::to_le_bytes)
        .collect();
    fs::write(&table, utf16)?;
    let (status, found) = json(&[text(&table), "--id", &second[..8]]);
    assert_eq!((status, ids(&found)), (0, vec![second.as_str()]));
    // All files at once.
    let (_, found) = json(&[text(directory.path()), "--id", OTHER_ID]);
    assert_eq!(ids(&found), [OTHER_ID, OTHER_ID]);
    Ok(())
}

/// An LDIF entry below a computer, with a folded line and base64.
fn entry(computer: &str, id: &str, password: &str) -> String {
    format!(
        "dn: cn=2023-10-10T10:00:00-08:00{{{id}}},cn={computer},{SUFFIX}\nobjectClass: msFVE-RecoveryInformation\nmsFVE-RecoveryPassword: {}\n {}\nmsFVE-RecoveryGuid:: {}\nmsFVE-VolumeGuid:: {}\n\n",
        &password[..20],
        &password[20..],
        base64(&disk(id)),
        base64(&[7; 16]),
    )
}

fn computer(name: &str) -> String {
    format!("dn: cn={name},{SUFFIX}\nobjectClass: computer\nsAMAccountName: {name}$\n\n")
}

/// The bytes of an ID in the order on disk and in the directory.
fn disk(id: &str) -> [u8; 16] {
    id.parse::<fve::Guid>().unwrap().to_disk()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for three in bytes.chunks(3) {
        let held = three
            .iter()
            .fold(0u32, |held, byte| held << 8 | u32::from(*byte));
        let held = held << (8 * (3 - three.len()));
        for digit in 0..4 {
            let value = (held >> (18 - 6 * digit)) as usize & 63;
            text.push(if digit <= three.len() {
                char::from(DIGITS[value])
            } else {
                '='
            });
        }
    }
    text
}

/// A different well-formed recovery password for every number.
fn password(number: usize) -> String {
    let blocks: Vec<_> = (0..8)
        .map(|block| format!("{:06}", 11 * ((number * 31 + block * 7919) % 65536)))
        .collect();
    blocks.join("-")
}

fn id(number: usize) -> String {
    format!("{:08X}-1234-4321-8888-{number:012X}", 0x1000_0000 + number)
}

#[trial("unlocks with one of thousands of files without printing it")]
fn thousands() -> Result<(), Failed> {
    let directory = tempfile::tempdir()?;
    for number in 0..2000 {
        let below = directory.path().join(format!("{}", number % 10));
        fs::create_dir_all(&below)?;
        let name = format!("BitLocker Recovery Key {}.TXT", id(number));
        let content = format!(
            "Identifier:\r\n\r\n\t{}\r\n\r\nRecovery Key:\r\n\r\n\t{}\r\n",
            id(number),
            password(number)
        );
        fs::write(below.join(name), content)?;
    }
    fs::write(directory.path().join("noise.bin"), vec![0xA5; 3 << 20])?;
    let volume = volume();
    // The password of the second key protector; only the file name says which one it is.
    let (id, password) = &saved(&volume)[1];
    let name = format!("7/BitLocker-Wiederherstellungsschlüssel {id}.TXT");
    fs::write(
        directory.path().join(name),
        format!("Schlüssel: {password}\n"),
    )?;
    let output = unlock(&volume.file, &[text(directory.path())]);
    let said = String::from_utf8(output.stdout)?;
    let complained = String::from_utf8(output.stderr)?;
    assert_eq!(output.status.code(), Some(0), "{complained}");
    assert!(said.contains(id.as_str()), "{said}");
    no_digits(&said);
    no_digits(&complained);
    Ok(())
}

fn unlock(source: &Path, place: &[&str]) -> Output {
    fve()
        .arg("unlock")
        .arg(source)
        .arg("--recovery-lookup")
        .args(place)
        .stdin(Stdio::null())
        .output()
        .expect("fve")
}

#[trial("finds the passwords of a volume, and says which are still on it")]
fn of_volume() -> Result<(), Failed> {
    let directory = tempfile::tempdir()?;
    let volume = volume();
    let keys = saved(&volume);
    let mut ldif = entry("PC01", OTHER_ID, OTHER);
    for (id, password) in &keys {
        ldif += &entry("PC01", id, password);
    }
    let path = directory.path().join("ad.ldif");
    fs::write(&path, ldif)?;
    let (status, found) = json(&[text(&path), "--volume", text(&volume.file)]);
    assert_eq!(status, 0);
    let mut own: Vec<_> = keys.iter().map(|(id, _)| id.as_str()).collect();
    assert_eq!(ids(&found), own);
    let (_, found) = json(&[
        text(&path),
        "--computer",
        "PC01",
        "--volume",
        text(&volume.file),
    ]);
    let on: Vec<_> = found["found"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| entry["on_volume"] == true)
        .collect();
    own.insert(0, OTHER_ID);
    assert_eq!((ids(&found), on), (own, vec![false, true, true]));
    Ok(())
}

#[trial("ends with status 1 if nothing is found")]
fn nothing() -> Result<(), Failed> {
    let directory = tempfile::tempdir()?;
    fs::write(directory.path().join("a"), "nothing here")?;
    let (status, found) = json(&[text(directory.path()), "--id", OTHER_ID]);
    assert_eq!((status, ids(&found)), (1, vec![]));
    let volume = volume();
    let output = unlock(&volume.file, &[text(directory.path())]);
    assert_eq!(output.status.code(), Some(4));
    let said = String::from_utf8(output.stderr)?;
    assert!(
        said.contains("contains no recovery password for this key protector"),
        "{said}"
    );
    // A password without an ID is tried as well.
    fs::write(directory.path().join("b"), &saved(&volume)[0].1)?;
    let (status, _) = json(&[text(directory.path()), "--volume", text(&volume.file)]);
    assert_eq!(status, 1);
    let output = unlock(&volume.file, &[text(directory.path())]);
    assert_eq!(output.status.code(), Some(0));
    Ok(())
}

#[trial("checks the command line")]
fn usage() -> Result<(), Failed> {
    for arguments in [
        &["/tmp"][..],
        &["--id", OTHER_ID],
        &["/tmp", "--id", "5BC8"],
        &["/tmp", "--id", "5BC8FBBC)(cn=*"],
        &["/tmp", "--id", OTHER_ID, "--computer", "PC01"],
    ] {
        assert_eq!(lookup(arguments).status.code(), Some(2), "{arguments:?}");
    }
    assert_eq!(
        lookup(&["/nowhere/at/all", "--id", OTHER_ID]).status.code(),
        Some(5)
    );
    Ok(())
}

#[trial("an unreadable file does not hide others")]
fn unreadable() -> Result<(), Failed> {
    let directory = tempfile::tempdir()?;
    let large = fs::File::create(directory.path().join("a-large"))?;
    large.set_len(100 << 20)?;
    fs::write(directory.path().join("b"), format!("{OTHER_ID} {OTHER}"))?;
    std::os::unix::fs::symlink("/dev/zero", directory.path().join("c"))?;
    let (status, found) = json(&[text(directory.path()), "--id", OTHER_ID]);
    assert_eq!((status, ids(&found)), (0, vec![OTHER_ID]));
    let notes = found["notes"].as_array().unwrap();
    assert_eq!(notes.len(), 1, "{notes:?}");
    assert!(notes[0].as_str().unwrap().contains("a-large"));
    Ok(())
}

// The directory.

fn server() -> Slapd {
    let mut entries = [computer("PC01"), computer("PC02"), computer("PC03")].concat();
    entries += &entry("PC02", OTHER_ID, OTHER);
    for (id, password) in saved(&volume()) {
        entries += &entry("PC01", &id, &password);
    }
    // With the same first eight digits.
    entries += &entry("PC02", "5BC8FBBC-0000-0000-0000-000000000001", &password(1));
    Slapd::with(&entries, true)
}

/// Options to log in.
fn login(server: &Slapd, user: &str) -> Vec<String> {
    let file = |path: PathBuf| path.into_os_string().into_string().unwrap();
    [
        "--lookup-user".to_owned(),
        user.to_owned(),
        "--lookup-password-file".to_owned(),
        file(server.password()),
        "--lookup-ca-file".to_owned(),
        file(server.ca()),
    ]
    .to_vec()
}

fn ask(server: &Slapd, url: &str, user: &str, query: &[&str]) -> (i32, Value) {
    let login = login(server, user);
    let mut arguments = vec![url];
    arguments.extend(login.iter().map(String::as_str));
    arguments.extend(query);
    json(&arguments)
}

#[trial(
    "the directory is asked by ID, computer and volume",
    needs(directory_server)
)]
fn by_all() -> Result<(), Failed> {
    let server = server();
    all_queries(&server, &server.ldaps)
}

#[trial("StartTLS works like LDAPS", needs(directory_server))]
fn start_tls() -> Result<(), Failed> {
    let server = server();
    all_queries(&server, &server.ldap)
}

fn all_queries(server: &Slapd, url: &str) -> Result<(), Failed> {
    let volume = volume();
    let keys = saved(&volume);
    let own: Vec<_> = keys.iter().map(|(id, _)| id.as_str()).collect();
    let ask = |query: &[&str]| ask(server, url, HELP_DESK, query);
    let (status, found) = ask(&["--id", OTHER_ID, "--show"]);
    assert_eq!((status, ids(&found)), (0, vec![OTHER_ID]));
    let entry = &found["found"][0];
    assert_eq!(entry["password"], OTHER);
    assert_eq!(entry["computer"], "PC02");
    assert_eq!(entry["saved"], "2023-10-10T10:00:00-08:00");
    assert_eq!(entry["volume"], "07070707-0707-0707-0707-070707070707");
    let (_, found) = ask(&["--id", &own[0][..8]]);
    assert_eq!(ids(&found), own[..1]);
    // Eight digits with which two IDs begin.
    let (_, found) = ask(&["--id", "5bc8fbbc"]);
    assert_eq!(ids(&found).len(), 2);
    let (_, found) = ask(&["--id", "5bc8fbbc-0000"]);
    assert_eq!(ids(&found).len(), 1);
    let (_, found) = ask(&["--computer", "pc01.example.org"]);
    assert_eq!(sorted(ids(&found)), sorted(own.clone()));
    let (_, found) = ask(&["--volume", text(&volume.file)]);
    assert_eq!(sorted(ids(&found)), sorted(own));
    for query in [
        ["--computer", "PC03"],
        ["--computer", "*)(cn=*"],
        ["--id", "00000000"],
    ] {
        let (status, found) = ask(&query);
        assert_eq!((status, ids(&found)), (1, vec![]), "{query:?}");
    }
    let base = format!("cn=PC01,{SUFFIX}");
    let (status, found) = ask(&["--id", OTHER_ID, "--lookup-base", &base]);
    assert_eq!((status, ids(&found)), (1, vec![]));
    let (status, _) = ask(&["--id", OTHER_ID, "--lookup-base", "dc=other"]);
    assert_eq!(status, 5);
    Ok(())
}

fn sorted(mut list: Vec<&str>) -> Vec<&str> {
    list.sort_unstable();
    list
}

#[trial(
    "the directory opens a volume, and nothing is shown",
    needs(directory_server)
)]
fn unlocks() -> Result<(), Failed> {
    let server = server();
    let volume = volume();
    let login = login(&server, HELP_DESK);
    let mut place = vec![server.ldaps.as_str()];
    place.extend(login.iter().map(String::as_str));
    let output = unlock(&volume.file, &place);
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8(said)?;
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert!(said.contains("recovery lookup"), "{said}");
    no_digits(&said);
    // The error says that the server cannot be reached.
    place[0] = "ldaps://127.0.0.1:1";
    let output = unlock(&volume.file, &place);
    let said = String::from_utf8(output.stderr)?;
    assert_eq!(output.status.code(), Some(4), "{said}");
    assert!(said.contains("cannot query ldaps://127.0.0.1:1"), "{said}");
    Ok(())
}

#[trial(
    "what ldapsearch writes is read, and says the same",
    needs(directory_server)
)]
fn agrees_with_ldapsearch() -> Result<(), Failed> {
    let server = server();
    let directory = tempfile::tempdir()?;
    let path = directory.path().join("ldapsearch.ldif");
    let octets: String = disk(OTHER_ID)
        .iter()
        .map(|byte| format!("\\{byte:02x}"))
        .collect();
    // The filter that fve uses for an ID, given to ldapsearch.
    fs::write(
        &path,
        server.ldapsearch(&format!("(msFVE-RecoveryGuid={octets})")),
    )?;
    let (status, found) = json(&[text(&path), "--id", OTHER_ID, "--show"]);
    assert_eq!((status, ids(&found)), (0, vec![OTHER_ID]));
    assert_eq!(found["found"][0]["password"], OTHER);
    fs::write(
        &path,
        server.ldapsearch("(objectClass=msFVE-RecoveryInformation)"),
    )?;
    let (_, theirs) = json(&[text(&path), "--computer", "PC01"]);
    let (_, ours) = ask(&server, &server.ldaps, HELP_DESK, &["--computer", "PC01"]);
    assert_eq!(sorted(ids(&theirs)), sorted(ids(&ours)));
    assert_eq!(ids(&ours).len(), 2);
    Ok(())
}

#[trial("reads all pages beyond the server's limit", needs(directory_server))]
fn pages() -> Result<(), Failed> {
    const MANY: usize = 1300;
    let mut entries = computer("PC-MANY");
    for number in 0..MANY {
        entries += &entry("PC-MANY", &id(number), &password(number));
    }
    let server = Slapd::with(&entries, true);
    let (status, found) = ask(
        &server,
        &server.ldaps,
        HELP_DESK,
        &["--computer", "PC-MANY"],
    );
    assert_eq!((status, ids(&found).len()), (0, MANY));
    Ok(())
}

#[trial(
    "servers and users that are not trusted are refused",
    needs(directory_server)
)]
fn refusals() -> Result<(), Failed> {
    let server = server();
    let volume = volume();
    let query = ["--volume", text(&volume.file)];
    // A user who may not read passwords gets none, and a note says why.
    let (status, found) = ask(&server, &server.ldaps, OTHER_USER, &query);
    assert_eq!((status, ids(&found)), (1, vec![]));
    assert!(
        found["notes"].to_string().contains("have no password that"),
        "{found}"
    );
    // No user, an unknown user, and a wrong password.
    let (password, wrong) = (server.password(), server.password().with_file_name("wrong"));
    fs::write(&wrong, "wrong")?;
    let (ca, other_ca) = (server.ca(), server.other_ca());
    for (user, password, ca, status) in [
        (None, &password, &ca, 4),
        (Some("cn=missing,dc=example,dc=org"), &password, &ca, 4),
        (Some(HELP_DESK), &wrong, &ca, 4),
        // A certificate of another authority, also with StartTLS.
        (Some(HELP_DESK), &password, &other_ca, 5),
    ] {
        for url in [&server.ldaps, &server.ldap] {
            let mut arguments = vec![url.as_str(), "--id", OTHER_ID];
            arguments.extend([
                "--lookup-password-file",
                text(password),
                "--lookup-ca-file",
                text(ca),
            ]);
            arguments.extend(user.into_iter().flat_map(|user| ["--lookup-user", user]));
            let output = lookup(&arguments);
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            assert_eq!(output.status.code(), Some(status), "{user:?} {url}: {said}");
            no_digits(&said);
        }
    }
    // Without the option, the certificates of the system apply, and none of them signed this one.
    let output = lookup(&[
        &server.ldaps,
        "--id",
        OTHER_ID,
        "--lookup-user",
        HELP_DESK,
        "--lookup-password-file",
        text(&password),
    ]);
    assert_eq!(output.status.code(), Some(5));
    Ok(())
}

/// A server without TLS gets no password, although it would accept one.
#[trial("sends no password unencrypted", needs(directory_server))]
fn in_the_open() -> Result<(), Failed> {
    let server = Slapd::with(&computer("PC01"), false);
    let password = server.password();
    let output = lookup(&[
        &server.ldap,
        "--id",
        OTHER_ID,
        "--lookup-user",
        HELP_DESK,
        "--lookup-password-file",
        text(&password),
    ]);
    assert_eq!(
        output.status.code(),
        Some(5),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}

#[trial("no log has a password", needs(directory_server))]
fn logs() -> Result<(), Failed> {
    let server = server();
    let login = login(&server, HELP_DESK);
    let output = fve()
        .args([
            "-vvv",
            "recovery",
            "lookup",
            &server.ldaps,
            "--computer",
            "PC01",
        ])
        .args(&login)
        .output()?;
    assert!(output.status.success());
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    no_digits(&said);
    assert!(said.contains("looking up"), "{said}");
    let output = fve()
        .arg("-vvv")
        .arg("unlock")
        .arg(volume().file)
        .args(["--recovery-lookup", &server.ldaps])
        .args(&login)
        .output()?;
    assert!(output.status.success());
    no_digits(&String::from_utf8_lossy(&output.stderr));
    Ok(())
}
