//! The plan of the source tree: which module may know which, and what the library may not say.

mod modules;
mod strings;

use std::fs;
use std::path::Path;

use self::modules::{Modules, circles, sources};
use self::strings::strings;

/// What each module of the library may use. A module stands below all that may use it.
const ALLOWED: &[(&str, &[&str])] = &[
    // The ground: no module of the library may be without these.
    ("guid", &[]),
    ("shown", &[]),
    ("threads", &[]),
    ("secret", &[]),
    ("format", &["guid", "secret"]),
    ("error", &["format", "guid", "shown"]),
    ("input", &["error", "secret", "shown"]),
    ("output", &["error", "shown"]),
    // Bytes, algorithms, digits.
    ("source", &["error", "guid", "output", "shown"]),
    ("crypto", &["error", "guid", "secret", "threads"]),
    ("recovery_password", &["error", "guid", "secret"]),
    // Helpers that reach outside.
    (
        "tpm",
        &["crypto", "error", "format", "input", "secret", "shown"],
    ),
    ("network", &["crypto", "error", "guid", "secret", "shown"]),
    (
        "escrow",
        &["error", "guid", "recovery_password", "secret", "shown"],
    ),
    // The way from a credential to the plaintext.
    (
        "unlock",
        &[
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
            "crypto", "error", "format", "guid", "secret", "source", "threads", "unlock",
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
    // What is done with volumes.
    ("serve", &["error", "shown", "source", "threads", "volume"]),
    ("repair", &["error", "format", "guid", "source", "volume"]),
    (
        "analysis",
        &[
            "crypto", "error", "format", "guid", "source", "tpm", "unlock", "volume",
        ],
    ),
    (
        "create",
        &[
            "crypto", "enroll", "error", "format", "guid", "output", "secret", "source", "threads",
            "volume",
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
];

#[test]
fn every_module_knows_only_those_below_it() {
    let modules = Modules::read();
    for name in modules.names().filter_map(|name| name.first()) {
        let known = name == "cli" || ALLOWED.iter().any(|(module, _)| module == name);
        assert!(known, "the module {name} has no place in the plan");
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
    assert!(across > 200, "the search finds only {across} imports");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_module_stands_above_all_that_it_may_use() {
    for (at, (name, allowed)) in ALLOWED.iter().enumerate() {
        for used in *allowed {
            let below = ALLOWED[..at].iter().any(|(other, _)| other == used);
            assert!(
                below,
                "{name} may use {used}, which does not stand below it"
            );
        }
    }
}

#[test]
fn no_modules_import_each_other_in_a_circle() {
    let circles = circles(&Modules::read().imports());
    assert!(circles.is_empty(), "{}", circles.join("\n"));
}

/// The compiler keeps it to the public interface only as long as it is not in the library.
#[test]
fn the_command_line_is_no_part_of_the_library() {
    let read = |name: &str| {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src").join(name);
        fs::read_to_string(path).expect("source")
    };
    assert!(!read("lib.rs").contains("mod cli"));
    assert!(read("main.rs").contains("mod cli;"));
}

/// A name may hold what a terminal acts on: messages show it by `shown()`.
#[test]
fn no_message_shows_a_path_as_it_is() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut wrong = Vec::new();
    for path in sources(&root) {
        let text = fs::read_to_string(&path).expect("source");
        let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or("");
        if code.contains(".display()") {
            wrong.push(path);
        }
    }
    assert!(wrong.is_empty(), "{wrong:?}");
}

/// Most test programs have a harness of their own (`tests/common/harness.rs`): what is marked with
/// `#[test]` there is never run.
#[test]
fn no_test_is_left_out() {
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

/// Other programs, whose options the library's advice may name.
const OTHER_PROGRAMS: &[&str] = &["blockdev", "p11tool", "pkcs11-tool"];

/// A program that uses the library may have another command line, or none: errors carry a
/// `Remedy`, and `src/cli/advice.rs` names the option or the command.
#[test]
fn no_string_of_the_library_names_an_option_or_a_command() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let commands = commands();
    assert!(
        commands.len() > 10,
        "the commands are not found: {commands:?}"
    );
    let mut wrong = Vec::new();
    let mut seen = 0;
    for path in sources(&root) {
        let inside = path.strip_prefix(&root).expect("below src");
        if inside.starts_with("cli") || inside == Path::new("main.rs") {
            continue;
        }
        let text = fs::read_to_string(&path).expect("source");
        let code = text.split("#[cfg(test)]\nmod tests").next().unwrap_or("");
        for (line, string) in strings(code) {
            seen += 1;
            if let Some(name) = named(&string, &commands) {
                wrong.push(format!("{}:{line}: {name}: {string}", inside.display()));
            }
        }
    }
    assert!(seen > 1000, "the search finds nothing any more");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The words that follow `fve` on a command line: `network-unlock`.
fn commands() -> Vec<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/cli/command.rs");
    let text = fs::read_to_string(path).expect("source");
    let variants = text.lines().filter_map(|line| {
        let (name, arguments) = line.trim().strip_suffix("),")?.split_once('(')?;
        (arguments.strip_suffix("Args") == Some(name)).then_some(name)
    });
    let kebab = |name: &str| {
        let mut word = String::new();
        for c in name.chars() {
            if c.is_ascii_uppercase() && !word.is_empty() {
                word.push('-');
            }
            word.push(c.to_ascii_lowercase());
        }
        word
    };
    variants.map(kebab).collect()
}

/// The option or command of ours that a string names.
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
