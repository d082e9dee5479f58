//! The structure of the source tree: which module may use which, and what must not occur in
//! strings, comments and documents.

mod english;
mod growth;
mod modules;
mod strings;

use std::fs;
use std::path::Path;

use self::modules::{Modules, cycles, sources, without_tests};
use self::strings::strings;

/// The modules that each module of the library may use. A module comes after all that it may use.
const ALLOWED: &[(&str, &[&str])] = &[
    // Used by nearly all others.
    ("guid", &[]),
    ("nbd", &[]),
    ("privileges", &[]),
    ("shown", &[]),
    ("threads", &[]),
    ("secret", &[]),
    ("format", &["guid", "secret"]),
    ("error", &["format", "guid", "shown"]),
    ("input", &["error", "secret", "shown"]),
    ("output", &["error", "shown"]),
    ("child", &["privileges"]),
    // Bytes, algorithms, recovery passwords.
    ("source", &["error", "guid", "nbd", "output", "shown"]),
    ("files", &["error", "format", "shown", "source"]),
    ("crypto", &["error", "guid", "secret", "threads"]),
    ("recovery_password", &["error", "guid", "secret"]),
    // Access to the TPM, the network and directories.
    (
        "tpm",
        &["crypto", "error", "format", "input", "secret", "shown"],
    ),
    ("network", &["crypto", "error", "guid", "secret", "shown"]),
    (
        "escrow",
        &[
            "child",
            "error",
            "guid",
            "recovery_password",
            "secret",
            "shown",
        ],
    ),
    // From a credential to the plaintext.
    (
        "unlock",
        &[
            "child",
            "crypto",
            "error",
            "escrow",
            "format",
            "guid",
            "input",
            "network",
            "output",
            "recovery_password",
            "secret",
            "shown",
            "threads",
            "tpm",
        ],
    ),
    (
        "volume",
        &[
            "crypto", "error", "files", "format", "guid", "secret", "source", "threads", "unlock",
        ],
    ),
    (
        "enroll",
        &[
            "crypto",
            "error",
            "format",
            "guid",
            "network",
            "output",
            "recovery_password",
            "secret",
            "tpm",
            "unlock",
        ],
    ),
    // Operations on volumes.
    (
        "serve",
        &[
            "error", "files", "format", "guid", "nbd", "secret", "shown", "source", "threads",
            "volume",
        ],
    ),
    ("repair", &["error", "format", "guid", "source", "volume"]),
    (
        "analysis",
        &[
            "crypto", "error", "files", "format", "guid", "source", "tpm", "unlock", "volume",
        ],
    ),
    (
        "create",
        &[
            "crypto", "enroll", "error", "files", "format", "guid", "output", "secret", "shown",
            "source", "threads", "volume",
        ],
    ),
    (
        "manage",
        &[
            "crypto",
            "enroll",
            "error",
            "format",
            "guid",
            "recovery_password",
            "secret",
            "source",
            "tpm",
            "unlock",
            "volume",
        ],
    ),
    // The entry of child processes, which knows all that they do.
    ("child_main", &["child", "escrow", "unlock"]),
];

#[test]
fn every_module_uses_only_allowed_modules() {
    let modules = Modules::read();
    for name in modules.names().filter_map(|name| name.first()) {
        let known = name == "cli" || ALLOWED.iter().any(|(module, _)| module == name);
        assert!(known, "the module {name} is missing in ALLOWED");
    }
    let imports = modules.imports();
    let mut wrong = Vec::new();
    let mut across = 0;
    for import in &imports {
        let [from, to] = [&import.from, &import.to].map(|name| name[0].as_str());
        if from == to {
            continue;
        }
        across += 1;
        let allowed = ALLOWED.iter().find(|(name, _)| *name == from);
        if !allowed.is_some_and(|(_, allowed)| allowed.contains(&to)) {
            wrong.push(format!("{}: {from} uses {to}", import.place));
        }
    }
    assert!(across > 200, "only {across} imports were found");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_module_comes_after_those_that_it_may_use() {
    for (at, (name, allowed)) in ALLOWED.iter().enumerate() {
        for used in *allowed {
            let below = ALLOWED[..at].iter().any(|(other, _)| other == used);
            assert!(
                below,
                "{name} may use {used}, which does not come before it"
            );
        }
    }
}

#[test]
fn modules_have_no_import_cycles() {
    let cycles = cycles(&Modules::read().imports());
    assert!(cycles.is_empty(), "{}", cycles.join("\n"));
}

/// The compiler limits the command line to the public interface only if it is not in the library.
#[test]
fn the_command_line_is_not_in_the_library() {
    let read = |name: &str| {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src").join(name);
        fs::read_to_string(path).expect("source")
    };
    assert!(!read("lib.rs").contains("mod cli"));
    assert!(read("main.rs").contains("mod cli;"));
}

/// A file name may contain terminal escape sequences: messages print paths with `shown()`.
#[test]
fn messages_escape_paths() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut wrong = Vec::new();
    for path in sources(&root) {
        let text = fs::read_to_string(&path).expect("source");
        let code = without_tests(&text);
        if code.contains(".display()") {
            wrong.push(path);
        }
    }
    assert!(wrong.is_empty(), "{wrong:?}");
}

/// Most test programs use the harness in `tests/common/harness.rs`, which does not run functions
/// with `#[test]`.
#[test]
fn every_test_is_run() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let manifest = fs::read_to_string(root.join("Cargo.toml")).expect("Cargo.toml");
    let tests = root.join("tests");
    let mut wrong = Vec::new();
    for path in sources(&tests) {
        let inside = path.strip_prefix(&tests).expect("below tests");
        let program = inside.components().next().expect("a component").as_os_str();
        let program = program.to_str().expect("text").trim_end_matches(".rs");
        let text = fs::read_to_string(&path).expect("source");
        let marked = text.lines().any(|line| line.trim() == "#[test]");
        if marked && manifest.contains(&format!("[[test]]\nname = \"{program}\"\nharness = false"))
        {
            wrong.push(path);
        }
    }
    assert!(wrong.is_empty(), "#[trial] instead of #[test]: {wrong:?}");
}

/// Other programs, whose options messages of the library may name.
const OTHER_PROGRAMS: &[&str] = &["blockdev", "p11tool", "pkcs11-tool"];

/// Other programs that use the library have other options and commands. Errors carry a `Remedy`,
/// and `src/cli/advice.rs` names the option or the command.
#[test]
fn strings_of_the_library_name_no_option_or_command() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let commands = commands();
    assert!(
        commands.len() > 10,
        "only these commands were found: {commands:?}"
    );
    let mut wrong = Vec::new();
    let mut seen = 0;
    for path in sources(&root) {
        let inside = path.strip_prefix(&root).expect("below src");
        if inside.starts_with("cli") || inside == Path::new("main.rs") {
            continue;
        }
        let text = fs::read_to_string(&path).expect("source");
        let code = without_tests(&text);
        for (line, string) in strings(code) {
            seen += 1;
            if let Some(name) = named(&string, &commands) {
                wrong.push(format!("{}:{line}: {name}: {string}", inside.display()));
            }
        }
    }
    assert!(seen > 1000, "only {seen} strings were found");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Where sources read environment variables, or name those that are read elsewhere.
const READ_ENVIRONMENT: &[&str] = &["env::var", "Environment::Only", "environment: Some"];

/// Capital words in these sources that are no variables which fve reads: values and devices, and a variable
/// that is set for another program.
const NOT_READ: &[&str] = &[
    "ADDRESS", "FILE", "NAME", "HEX", "LC_ALL", "PIN", "TCTI", "TPM",
];

/// What the user can set in the environment must be in the manual.
#[test]
fn the_manual_lists_every_environment_variable_that_is_read() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let manual = fs::read_to_string(root.join("cli/manual.rs")).expect("source");
    let (_, list) = manual
        .split_once("const ENVIRONMENT:")
        .expect("the list of the manual");
    let (list, _) = list.split_once("\n];").expect("its end");
    let listed: Vec<_> = strings(list)
        .into_iter()
        .flat_map(|(_, string)| string.split(", ").map(str::to_owned).collect::<Vec<_>>())
        .collect();
    let is_name = |string: &str| {
        let is_part = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_';
        string.len() > 2 && string.chars().all(is_part) && !NOT_READ.contains(&string)
    };
    let (mut wrong, mut seen) = (Vec::new(), 0);
    for path in sources(&root) {
        let text = fs::read_to_string(&path).expect("source");
        let code = without_tests(&text);
        if !READ_ENVIRONMENT.iter().any(|marker| code.contains(marker)) {
            continue;
        }
        for (line, string) in strings(code) {
            if is_name(&string) {
                seen += 1;
                if !listed.contains(&string) {
                    wrong.push(format!("{}:{line}: {string}", path.display()));
                }
            }
        }
    }
    assert!(seen > 15, "only {seen} variables were found");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The names of the commands, such as `network-unlock`.
fn commands() -> Vec<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/cli/command.rs");
    let text = fs::read_to_string(path).expect("source");
    let named = text.lines().filter_map(|line| {
        // `"network-unlock" NetworkUnlock(NetworkUnlockArgs),`
        let (word, variant) = line.trim().strip_prefix('"')?.split_once("\" ")?;
        variant.ends_with("Args),").then(|| word.to_owned())
    });
    named.collect()
}

/// An option or command of fve that a string names.
fn named(string: &str, commands: &[String]) -> Option<String> {
    let is_option = |word: &str| {
        let name = word.strip_prefix("--");
        name.is_some_and(|name| name.starts_with(|c: char| c.is_ascii_lowercase() || c == '{'))
    };
    let mut before = "";
    for word in string.split_whitespace() {
        let bare = word.trim_matches(|c: char| !c.is_ascii_alphanumeric() && c != '-' && c != '{');
        if is_option(bare) && !OTHER_PROGRAMS.contains(&before) {
            return Some(bare.to_owned());
        }
        if before == "fve" && commands.iter().any(|command| command == bare) {
            return Some(format!("fve {bare}"));
        }
        before = bare;
    }
    None
}

#[test]
fn finds_names_of_options_and_commands_in_strings_only() {
    let names = |code| -> Vec<_> {
        let strings = strings(code).into_iter();
        strings
            .filter_map(|(_, text)| named(&text, &["info".to_owned()]))
            .collect()
    };
    assert_eq!(
        names(r##"f("give --tpm"); g('"', "\"'fve info' shows it", r#"(--x)"#, "--{}")"##),
        ["--tpm", "fve info", "--x", "--{"]
    );
    assert!(
        names("// \"--tpm\"\nf::<'a>(\"p11tool --list-tokens\", \"this fve was built -- so\")")
            .is_empty()
    );
}
