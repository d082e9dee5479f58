//! Tests of recovery passwords: known vectors, files of every origin, typing errors, and that no
//! digits are printed. Vectors and rules are those of docs/format-recovery-password.md §1.

use crate::common::trials::trial;
use aes::Aes256;
use ccm::aead::{Aead, KeyInit};
use ccm::consts::{U12, U16};
use fve::error::Error;
use fve::recovery_password::check_block;
use fve::recovery_password::{
    BlockVerdict, CharacterClass, Check, Correction, Note, Options, Outcome, PasswordCheck,
    PasswordVerdict, Placeholder, RecoveryPassword, check_bytes, check_text, scan, scan_bytes,
};
use fve::recovery_password::{Encoding, MAX_BYTES, SourceNote};
use fve::secret::RecoveryKey;
use hex_literal::hex;
use proptest::prelude::*;
use sha2::{Digest, Sha256};

/// The example of the libbde document (docs/format-recovery-password.md §1.12).
const A: &str = "471207-278498-422125-177177-561902-537405-468006-693451";
const A_KEY: [u8; 16] = hex!("55a7e662e795eb3e8ac7d7be32a641f6");
/// Seven blocks of zeros and the greatest block (docs/format-recovery-password.md §1.12).
const B: &str = "000000-000000-000000-000000-000000-000000-000000-720885";
/// Unlocks cryptsetup's image bitlk-aes-xts-128 (docs/format-recovery-password.md §1.12).
const C: &str = "235818-357951-253979-013365-241120-245575-342914-591910";

const ID: &str = "5BC8FBBC-BDE5-C099-4164-D8399F767C45";
const OTHER_ID: &str = "063EA4E1-220C-4293-BA01-4754620A96E7";

fn parse(text: &str) -> RecoveryPassword {
    RecoveryPassword::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn digits(password: &RecoveryPassword) -> String {
    password.expose_digits().expose().to_owned()
}

fn check(text: &str) -> Check {
    check_text(text, &Options::default())
}

fn first(check: &Check) -> &PasswordCheck {
    check.primary().expect("a password in the text")
}

/// The digits and IDs of all passwords in a file.
fn passwords(bytes: &[u8]) -> Vec<(String, Option<String>)> {
    let scan = scan_bytes(bytes, &Options::default()).unwrap();
    let found = scan.found.iter();
    found
        .map(|found| {
            let password = found
                .to_password()
                .unwrap_or_else(|error| panic!("{error}"));
            (
                digits(&password),
                found.identifier.map(|id| format!("{id:X}")),
            )
        })
        .collect()
}

fn one(password: &str, id: Option<&str>) -> Vec<(String, Option<String>)> {
    vec![(password.to_owned(), id.map(str::to_owned))]
}

mod vectors {
    use super::*;

    /// 2^20 rounds (docs/format-recovery-password.md §1.1), written again for these tests.
    fn stretch(key: &[u8; 16], salt: &[u8; 16]) -> [u8; 32] {
        let mut input = [0; 88];
        input[32..64].copy_from_slice(&Sha256::digest(key));
        input[64..80].copy_from_slice(salt);
        for counter in 0..1_u64 << 20 {
            input[80..].copy_from_slice(&counter.to_le_bytes());
            let last = Sha256::digest(input);
            input[..32].copy_from_slice(&last);
        }
        input[..32].try_into().unwrap()
    }

    fn open(key: &[u8; 32], nonce: [u8; 12], mac: [u8; 16], text: &[u8]) -> Vec<u8> {
        let sealed = [text, &mac].concat();
        ccm::Ccm::<Aes256, U16, U12>::new(&(*key).into())
            .decrypt(&nonce.into(), sealed.as_slice())
            .unwrap()
    }

    #[trial]
    fn password_a_is_the_example_of_libbde() {
        let password = parse(A);
        let key = password.to_key();
        assert_eq!(*key.expose(), A_KEY);
        assert_eq!(digits(&password), A);
        assert_eq!(digits(&RecoveryPassword::from_key(&key)), A);
        assert_eq!(
            Sha256::digest(key.expose()).as_slice(),
            hex!("a4c9244478110805015c94d1b001a933ada2ab0b716bac342bb86c844b63491f")
        );
        assert_eq!(
            stretch(key.expose(), &hex!("000102030405060708090a0b0c0d0e0f")),
            hex!("5e39d3e56a4e477fb569bb49b3e8c3b2c9d864ee5d75bd658b8e2720e49000d4")
        );
    }

    #[trial]
    fn password_b_has_the_least_and_the_greatest_block() {
        let key = parse(B).to_key();
        assert_eq!(*key.expose(), hex!("0000000000000000000000000000ffff"));
        assert_eq!(
            stretch(key.expose(), &[0; 16]),
            hex!("07ec41e1878cb1360118991895fa83942108ad4c46c662886ac0aa0f2cb702e3")
        );
    }

    #[trial]
    fn password_c_opens_the_key_of_a_real_volume_which_holds_the_password() {
        let key = parse(C).to_key();
        let stretched = stretch(key.expose(), &hex!("2ba080989af9b50c203aaebd0b40d498"));
        assert_eq!(
            stretched,
            hex!("1a39f926dab83e947fa85125b91e556e9ecc2bc5968924e03de234878d1fd4bd")
        );
        let vmk = open(
            &stretched,
            hex!("c049ba6f3632d50106000000"),
            hex!("0cf85869dd1a2a024c48d0f6aa00b997"),
            &hex!(
                "005e2014c039b7de88e6906efdbe83055dcb5c097dbe3fe86860ef7bae367a13178587cd8cd11af5713d0bb7"
            ),
        );
        assert_eq!(
            vmk,
            hex!(
                "2c0000000100000003200000e5862465920b1190605ae29547623fb9c0dbafab073c85634bfb0f8a4b8cf46b"
            )
        );
        let stored = open(
            vmk[12..].try_into().unwrap(),
            hex!("c049ba6f3632d50104000000"),
            hex!("f51a8cf0196e74c8b856542bdcf875f9"),
            &hex!("04b54f99ed8a4e6ce6cffab8c963382a9aa02e02196784b736c1eb52"),
        );
        assert_eq!(
            stored,
            hex!("1c0000000100000000100000be531d7f315abf04a0553557c67932d2")
        );
        assert_eq!(stored[12..], *key.expose());
        let kept = RecoveryKey::from_slice(&stored[12..]).unwrap();
        assert_eq!(digits(&RecoveryPassword::from_key(&kept)), C);
    }

    #[trial]
    fn each_block_of_the_table_gets_its_verdict() {
        for valid in ["000000", "000011", "720885", "000022", "000033"] {
            assert_eq!(check_block(valid), BlockVerdict::Valid, "{valid}");
        }
        // 999999 is a multiple of 11: both values have the right form, but are out of range.
        for beyond in ["720896", "999999"] {
            assert_eq!(check_block(beyond), BlockVerdict::OutOfRange, "{beyond}");
        }
        assert_eq!(check_block("000001"), BlockVerdict::NotMultipleOf11);
        assert_eq!(check_block("12345"), BlockVerdict::TooShort { digits: 5 });
        assert_eq!(check_block(" 471207 "), BlockVerdict::Valid);
        assert_eq!(check_block("4712070"), BlockVerdict::TooLong { digits: 7 });
        assert_eq!(check_block(""), BlockVerdict::Empty);
        assert_eq!(
            check_block("47120?"),
            BlockVerdict::Incomplete { fillings: 1 }
        );
    }
}

mod tolerance {
    use super::*;

    /// The password with other separators.
    fn with(separator: &str) -> String {
        A.replace('-', separator)
    }

    #[trial]
    fn accepts_any_separator_or_none() {
        let separators = [
            "-",
            " ",
            "",
            "--",
            " - ",
            "\t",
            "\r\n",
            "\n",
            ".",
            "/",
            ":",
            ",",
            ";",
            ", ",
            "_",
            "\u{2010}",
            "\u{2011}",
            "\u{2012}",
            "–",
            "—",
            "―",
            "−",
            "\u{AD}",
            "\u{A0}",
            "\u{200B}",
            "\u{2009}",
            "\u{202F}",
            "\u{3000}",
            "－",
            "-\u{FEFF}",
            "-\r\n    ",
            "ー",
            " – ",
        ];
        for separator in separators {
            assert_eq!(digits(&parse(&with(separator))), A, "{separator:?}");
        }
    }

    #[trial]
    fn reads_what_other_tools_refuse() {
        for text in [
            format!("  {A}"),
            format!("{A}\r\n"),
            format!("\u{FEFF}{A}\r\n"),
            format!("-{A}-"),
            format!("\"{A}\""),
            format!("**{A}**"),
            format!("Is it {A}?"),
            format!("<RecoveryPassword>{A}</RecoveryPassword>"),
            format!("{{\"key\":\"\\n{A}\\n\"}}"),
            // Two blocks on a line, as people write them, and four.
            "471207-278498\n422125-177177\n561902-537405\n468006-693451\n".to_owned(),
            "471207 278498 422125 177177\n561902 537405 468006 693451".to_owned(),
            // Grouped by three digits, and by twelve.
            "471 207 278 498 422 125 177 177 561 902 537 405 468 006 693 451".to_owned(),
            "471207278498 422125177177 561902537405 468006693451".to_owned(),
            // A separator in the wrong place.
            "4712072-78498-422125-177177-561902-537405-468006-693451".to_owned(),
            // A quoted and folded mail; an LDIF line folded after 76 characters.
            "> 471207-278498-422125-177177-\n> 561902-537405-468006-693451".to_owned(),
            "msFVE-RecoveryPassword: 471207-278498-422125-177177-561902-537405-468006-693\n 451\n"
                .to_owned(),
            "key: 471207-278498-422125-177177-561902-=\r\n537405-468006-693451".to_owned(),
        ] {
            assert_eq!(digits(&parse(&text)), A, "{text:?}");
        }
    }

    #[trial]
    fn accepts_digits_of_any_script_but_not_superscripts() {
        let in_script = |zero: char| -> String {
            let shifted = |c: char| match c.to_digit(10) {
                Some(digit) => char::from_u32(u32::from(zero) + digit).unwrap(),
                None => c,
            };
            A.chars().map(shifted).collect()
        };
        for zero in ['０', '٠', '۰', '०', '০', '๐', '𝟎', '𝟶'] {
            assert_eq!(digits(&parse(&in_script(zero))), A, "{zero}");
            let check = check(&in_script(zero));
            assert!(first(&check).notes.contains(&Note::OtherScript));
        }
        let check = check(&A.replacen('2', "²", 1));
        let BlockVerdict::NotDigits { foreign } = &first(&check).blocks[0].verdict else {
            panic!("a superscript was taken for a digit");
        };
        assert_eq!(foreign.len(), 1);
        assert_eq!(
            (foreign[0].position, foreign[0].class),
            (4, CharacterClass::Numeral)
        );
    }

    #[trial]
    fn a_dropped_leading_zero_is_put_back_with_a_note_but_not_by_parse() {
        let text = C.replace("013365", "13365");
        let check = check(&text);
        assert_eq!(check.result, Outcome::WellFormed);
        assert_eq!(first(&check).notes, [Note::LeadingZero { block: 4 }]);
        assert_eq!(digits(&first(&check).to_password().unwrap()), C);
        let error = RecoveryPassword::parse(&text).unwrap_err();
        assert_eq!(error.to_string(), "block 4 has 5 digits instead of 6");
    }

    #[trial]
    fn notes_say_what_was_changed() {
        let notes = |text: &str| first(&check(text)).notes.clone();
        assert_eq!(notes(A), []);
        assert_eq!(notes(&with(" ")), [Note::Separators]);
        assert_eq!(notes(&with("")), [Note::RunTogether]);
        assert_eq!(notes(&with("\n")), [Note::Separators, Note::SeveralLines]);
    }

    #[trial]
    fn unreadable_digits_make_a_password_incomplete_and_possibilities_are_counted() {
        // One unreadable digit is certain, two leave at most ten possibilities
        // (docs/format-recovery-password.md §1.8).
        for (text, fillings) in [
            (A.replacen("471207", "47120?", 1), 1..=1),
            (A.replacen("471207", "47_207", 1), 1..=1),
            (A.replacen("471207", "x71207", 1), 1..=1),
            (A.replacen("471207", "4*1*07", 1), 1..=10),
            (A.replacen("471207", "4712[03][17]", 1), 1..=4),
            (A.replacen("471207", "xxxxxx", 1), 65536..=65536),
            (A.replacen("471207", "[14]71207", 1), 1..=1),
        ] {
            let check = check(&text);
            assert_eq!(check.result, Outcome::Incomplete, "{text}");
            assert_eq!(first(&check).verdict, PasswordVerdict::Incomplete);
            let BlockVerdict::Incomplete { fillings: found } = first(&check).blocks[0].verdict
            else {
                panic!("{text}");
            };
            assert!(fillings.contains(&found), "{text}: {found}");
            assert_eq!(first(&check).password_candidates, u64::from(found));
            let suggestions = first(&check).expose_suggestions(usize::MAX);
            assert_eq!(suggestions.len(), found as usize);
            assert!(
                suggestions.iter().any(|s| digits(&s.password) == A),
                "{text}"
            );
        }
    }

    #[trial]
    fn underscores_separate_blocks_or_mark_unreadable_digits() {
        assert_eq!(digits(&parse(&with("_"))), A);
        let text = with("_").replacen("278498", "27849", 1);
        assert_eq!(
            first(&check(&text)).blocks[1].verdict,
            BlockVerdict::TooShort { digits: 5 }
        );
        let text = with("").replacen("1207", "12_7", 1);
        assert_eq!(check(&text).result, Outcome::Incomplete);
    }

    #[trial]
    fn prose_is_not_a_password() {
        for text in [
            "",
            "hello",
            "* x ? _ [17] xxxxxx ****** ??????",
            "size 1920x1080, 0x1234, call 555-123-4567 on 2024-01-15 at 10:20:30",
            "http://go.microsoft.com/fwlink/?LinkID=254282",
            ID,
            "12345678-1234-1234-1234-123456789012",
        ] {
            assert_eq!(check(text).result, Outcome::NotFound, "{text}");
            assert_eq!(
                RecoveryPassword::parse(text).unwrap_err().verdict,
                PasswordVerdict::NotFound
            );
        }
    }
}

mod verdicts {
    use super::*;

    #[trial]
    fn each_kind_of_bad_block_is_named() {
        for (block, word, sentence) in [
            (
                "471217",
                "not-multiple-of-11",
                "block 1 is not divisible by 11; a digit is mistyped",
            ),
            (
                "720896",
                "out-of-range",
                "block 1 is 720896 or more, too large for a block",
            ),
            ("4712", "too-short", "block 1 has 4 digits instead of 6"),
            ("4712077", "too-long", "block 1 has 7 digits instead of 6"),
            (
                "4712O7",
                "not-digits",
                "block 1 has characters that are not digits: a letter at position 5",
            ),
            (
                "abcdef",
                "not-digits",
                "block 1 has characters that are not digits: a letter at position 1, a letter at \
                 position 2, a letter at position 3, a letter at position 4, a letter at position \
                 5, a letter at position 6",
            ),
            (
                "47120?",
                "incomplete",
                "block 1 has unreadable digits that can be filled in 1 way",
            ),
        ] {
            let text = A.replacen("471207", block, 1);
            let check = check(&text);
            assert_eq!(first(&check).blocks.len(), 8, "{text}");
            assert_eq!(first(&check).blocks[0].verdict.word(), word);
            assert!(
                first(&check).blocks[1..]
                    .iter()
                    .all(|b| b.verdict.is_valid())
            );
            let error = RecoveryPassword::parse(&text).unwrap_err();
            assert_eq!(error.to_string(), sentence);
        }
    }

    #[trial]
    fn finds_an_empty_block_between_two_hyphens() {
        let check = check(&A.replacen("278498-", "-", 1));
        assert_eq!(first(&check).blocks[1].verdict, BlockVerdict::Empty);
        assert_eq!(first(&check).blocks[1].candidates.wildcard, 65536);
    }

    #[trial]
    fn too_few_and_too_many_blocks_are_counted() {
        for (text, blocks) in [
            (&A[..A.len() - 7], 7),
            (&A[..20], 3),
            ("471207", 1),
            ("4712", 1),
            (&format!("{A}-471207"), 9),
            (&format!("Recovery Key: {}", &A[..27]), 4),
        ] {
            let check = check(text);
            assert_eq!(
                first(&check).verdict,
                PasswordVerdict::WrongBlockCount { blocks },
                "{text}"
            );
            assert_eq!(check.result, Outcome::Malformed);
            assert!(RecoveryPassword::parse(text).is_err());
        }
    }

    #[trial]
    fn a_block_beyond_the_range_is_never_wrapped_round() {
        // cryptsetup accepts 956714 for 235818, and unlocks the volume
        // (docs/format-recovery-password.md §1.11).
        let error = RecoveryPassword::parse(&C.replace("235818", "956714")).unwrap_err();
        assert_eq!(error.faults, [(1, BlockVerdict::OutOfRange)]);
    }

    #[trial]
    fn placeholders_and_repeated_blocks_are_noted() {
        let zeros = check(&B.replace("720885", "000000"));
        assert_eq!(first(&zeros).placeholder, Some(Placeholder::AllZero));
        assert_eq!(first(&zeros).repeats, [(1..=8).collect::<Vec<_>>()]);
        let example = check("111111-222222-333333-444444-555555-666666-777777-888888");
        let example = first(&example);
        assert_eq!(example.placeholder, Some(Placeholder::MicrosoftExample));
        let bad: Vec<_> = example
            .blocks
            .iter()
            .filter(|b| !b.verdict.is_valid())
            .collect();
        assert_eq!(bad.iter().map(|b| b.index).collect::<Vec<_>>(), [7, 8]);
        assert!(bad.iter().all(|b| b.verdict == BlockVerdict::OutOfRange));
        let unknown = check(&["xxxxxx"; 8].join("-"));
        assert_eq!(first(&unknown).placeholder, Some(Placeholder::NothingKnown));
        let twice = check(&A.replace("693451", "471207"));
        assert_eq!(twice.result, Outcome::WellFormed);
        assert_eq!(first(&twice).repeats, [[1, 8]]);
        assert!(first(&check(A)).repeats.is_empty());
    }

    #[trial]
    fn an_error_becomes_a_bad_credential_with_advice() {
        let error: Error = RecoveryPassword::parse(&A.replace("278498", "278499"))
            .unwrap_err()
            .into();
        assert_eq!(
            error.to_string(),
            "recovery password: block 2 is not divisible by 11; a digit is mistyped"
        );
        assert_eq!(
            error.remedy(),
            Some(fve::error::Remedy::CheckRecoveryPassword)
        );
    }

    #[trial]
    fn several_passwords_are_too_many_for_parse() {
        let error = RecoveryPassword::parse(&format!("{A}\n{C}")).unwrap_err();
        assert_eq!(error.verdict, PasswordVerdict::Several { passwords: 2 });
        assert_eq!(digits(&parse(&format!("{A}\nagain: {A}"))), A);
    }
}

mod suggestions {
    use super::*;

    fn suggested(text: &str, options: &Options) -> Vec<(String, Vec<(usize, Correction)>)> {
        let check = check_text(text, options);
        let suggestions = first(&check).expose_suggestions(1000);
        assert_eq!(
            first(&check).password_candidates,
            suggestions.len() as u64,
            "{text}"
        );
        let suggestions = suggestions.into_iter();
        suggestions
            .map(|s| (digits(&s.password), s.changes))
            .collect()
    }

    #[trial]
    fn a_swap_comes_before_replacements() {
        let found = suggested(&A.replace("278498", "278489"), &Options::default());
        assert_eq!(
            found[0],
            (A.to_owned(), vec![(2, Correction::Transposition)])
        );
        assert!(found.len() > 1);
    }

    #[trial]
    fn confused_digits_come_before_others() {
        // 7 instead of 1.
        let found = suggested(&A.replace("693451", "693457"), &Options::default());
        let at = found.iter().position(|(digits, _)| digits == A).unwrap();
        assert!(at < 2, "{at} of {}", found.len());
    }

    #[trial]
    fn a_swap_across_a_boundary_comes_first() {
        let text = A.replace("471207-278498", "471202-778498");
        let check = check(&text);
        assert_eq!(first(&check).boundary_swaps, [1]);
        let found = suggested(&text, &Options::default());
        let across = Correction::BoundaryTransposition;
        assert_eq!(found[0], (A.to_owned(), vec![(1, across), (2, across)]));
    }

    #[trial]
    fn corrects_missing_and_doubled_digits() {
        for (text, correction) in [
            (A.replace("278498", "27898"), Correction::Insertion),
            (A.replace("278498", "2784498"), Correction::Deletion),
            (
                A.replace('-', "").replacen("278498", "27898", 1),
                Correction::Insertion,
            ),
            (
                A.replace('-', "").replacen("278498", "2784498", 1),
                Correction::Deletion,
            ),
            (
                A.replace('-', "").replacen("278498", "2798", 1),
                Correction::Insertion,
            ),
            (
                A.replace('-', "").replacen("278498", "27844998", 1),
                Correction::Deletion,
            ),
        ] {
            let found = suggested(&text, &Options::default());
            let right = found.iter().find(|(digits, _)| digits == A);
            assert_eq!(right.unwrap().1, [(2, correction)], "{text}");
        }
    }

    #[trial]
    fn a_run_of_the_wrong_length_is_malformed_and_says_so() {
        for digits in [46, 47, 49, 50] {
            let text = format!("{}00", A.replace('-', ""));
            let check = check(&text[..digits]);
            assert_eq!(check.result, Outcome::Malformed, "{digits}");
            assert!(first(&check).notes.contains(&Note::RunLength { digits }));
            assert_eq!(first(&check).blocks.len(), 8);
        }
    }

    #[trial]
    fn corrections_of_two_bad_blocks_multiply() {
        let check = check(&A.replace("278498", "278499").replace("693451", "693452"));
        let counts: Vec<_> = first(&check)
            .blocks
            .iter()
            .map(|b| b.candidates.total())
            .collect();
        assert!(counts[1] > 0 && counts[7] > 0);
        assert_eq!(
            first(&check).password_candidates,
            u64::from(counts[1]) * u64::from(counts[7])
        );
    }

    #[trial]
    fn letters_of_a_scanner_are_read_only_in_suggestions() {
        let text = A.replace("278498", "27B49B").replace("471207", "47I2O7");
        let options = Options::default().with_ocr(true);
        assert_eq!(check_text(&text, &options).result, Outcome::Malformed);
        let found = suggested(&text, &options);
        let scanned = Correction::ScannerReading;
        assert_eq!(found[0], (A.to_owned(), vec![(1, scanned), (2, scanned)]));
        let without = suggested(&text, &Options::default());
        assert!(
            without
                .iter()
                .all(|(_, changes)| changes.iter().all(|(_, c)| *c != scanned))
        );
    }

    #[trial]
    fn only_the_best_suggestions_are_returned() {
        let check = check(&A.replace("278498", "??????").replace("471207", "??????"));
        assert_eq!(first(&check).password_candidates, 1 << 32);
        assert_eq!(first(&check).expose_suggestions(20).len(), 20);
        assert!(first(&check).expose_suggestions(0).is_empty());
    }

    #[trial]
    fn a_well_formed_password_has_no_suggestions() {
        let check = check(A);
        assert_eq!(first(&check).password_candidates, 0);
        assert!(first(&check).expose_suggestions(10).is_empty());
    }

    #[trial]
    fn gives_the_expected_check_digit_if_there_is_one() {
        let check = check(&A.replace("278498", "278499"));
        assert_eq!(first(&check).expose_expected_check_digit(2), Some(8));
        assert_eq!(first(&check).expose_expected_check_digit(0), None);
        assert_eq!(first(&check).expose_expected_check_digit(9), None);
    }
}

mod files {
    use super::*;

    fn english() -> String {
        format!(
            "BitLocker Drive Encryption recovery key \r\n\r\nTo verify that this is the correct \
             recovery key, compare the start of the following identifier with the identifier value \
             displayed on your PC.\r\n\r\nIdentifier:\r\n\r\n\t{ID}\r\n\r\nIf the above identifier \
             matches the one displayed by your PC, then use the following key to unlock your \
             drive.\r\n\r\nRecovery Key:\r\n\r\n\t{A}\r\n\r\nIf the above identifier doesn't match \
             the one displayed by your PC, then this isn't the right key to unlock your drive.\r\n\
             Try another recovery key, or refer to http://go.microsoft.com/fwlink/?LinkID=260589 \
             for additional assistance.\r\n"
        )
    }

    fn german() -> String {
        format!(
            "Wiederherstellungsschlüssel für die BitLocker-Laufwerkverschlüsselung \r\n\r\nUm zu \
             überprüfen, ob es sich um den richtigen Schlüssel handelt, vergleichen Sie den \
             Bezeichner.\r\n\r\nBezeichner:\r\n\r\n\t{ID}\r\n\r\nWiederherstellungsschlüssel:\r\n\
             \r\n\t{A}\r\n\r\nWeitere Hilfe: http://go.microsoft.com/fwlink/?LinkID=260589.\r\n"
        )
    }

    fn russian() -> String {
        format!(
            "Ключ восстановления шифрования диска BitLocker \r\n\r\nЧтобы проверить правильность \
             ключа восстановления, сравните начало следующего идентификатора.\r\n\r\n\
             Идентификатор:\r\n\r\n\t{ID}\r\n\r\nКлюч восстановления:\r\n\r\n\t{A}\r\n\r\nЕсли \
             идентификатор не совпадает, попробуйте другой ключ восстановления или обратитесь по \
             адресу http://go.microsoft.com/fwlink/?LinkID=260589.\r\n"
        )
    }

    fn utf16(text: &str, mark: bool, order: fn(u16) -> [u8; 2]) -> Vec<u8> {
        let mark = mark.then_some(0xFEFF);
        mark.into_iter()
            .chain(text.encode_utf16())
            .flat_map(order)
            .collect()
    }

    #[trial]
    fn reads_key_files_of_any_language_and_encoding() {
        for text in [english(), german(), russian()] {
            use SourceNote::{ByteOrderMark, NoByteOrderMark};
            let marked = [b"\xEF\xBB\xBF", text.as_bytes()].concat();
            let forms = [
                (
                    utf16(&text, true, u16::to_le_bytes),
                    Encoding::Utf16Le,
                    vec![ByteOrderMark],
                ),
                (
                    utf16(&text, true, u16::to_be_bytes),
                    Encoding::Utf16Be,
                    vec![ByteOrderMark],
                ),
                (
                    utf16(&text, false, u16::to_le_bytes),
                    Encoding::Utf16Le,
                    vec![NoByteOrderMark],
                ),
                (
                    utf16(&text, false, u16::to_be_bytes),
                    Encoding::Utf16Be,
                    vec![NoByteOrderMark],
                ),
                (marked, Encoding::Utf8, vec![ByteOrderMark]),
                (text.clone().into_bytes(), Encoding::Utf8, vec![]),
                (
                    text.replace("\r\n", "\n").into_bytes(),
                    Encoding::Utf8,
                    vec![],
                ),
            ];
            for (bytes, encoding, notes) in forms {
                assert_eq!(passwords(&bytes), one(A, Some(ID)));
                let check = check_bytes(&bytes, &Options::default()).unwrap();
                assert_eq!(
                    (check.encoding, check.source_notes),
                    (Some(encoding), notes)
                );
            }
        }
    }

    #[trial]
    fn reads_a_latin_1_file_with_en_dashes() {
        let text = german().replace(A, &A.replace('-', "–"));
        let ansi: Vec<u8> = text
            .chars()
            .map(|c| {
                if c == '–' {
                    0x96
                } else {
                    u8::try_from(u32::from(c)).unwrap()
                }
            })
            .collect();
        assert_eq!(passwords(&ansi), one(A, Some(ID)));
        let check = check_bytes(&ansi, &Options::default()).unwrap();
        assert_eq!(check.encoding, Some(Encoding::Latin1));
    }

    #[trial]
    fn reads_the_key_file_of_windows_7() {
        let text = format!(
            "BitLocker Drive Encryption Recovery Key \r\nThe recovery key is used to recover the \
             data on a BitLocker protected drive.\r\n\r\nTo verify that this is the correct recovery \
             key compare the identification with what is presented on the recovery screen.\r\n\r\n\
             Recovery key identification: {}\r\nFull recovery key identification: {ID}\r\n\r\n\
             BitLocker Recovery Key:\r\n{A}\r\n",
            &ID[..16]
        );
        assert_eq!(
            passwords(&utf16(&text, true, u16::to_le_bytes)),
            one(A, Some(ID))
        );
    }

    #[trial]
    fn manage_bde_output_assigns_each_password_to_its_protector() {
        let text = format!(
            "BitLocker Drive Encryption: Configuration Tool version 10.0.19041\r\n\
             Copyright (C) 2013 Microsoft Corporation. All rights reserved.\r\n\r\n\
             Volume C: [Windows]\r\nAll Key Protectors\r\n\r\n    TPM:\r\n      ID: \
             {{11111111-2222-3333-4444-555555555555}}\r\n      PCR Validation Profile:\r\n        \
             7, 11\r\n        (Uses Secure Boot for integrity validation)\r\n\r\n    Numerical \
             Password:\r\n      ID: {{{ID}}}\r\n      Password:\r\n        {A}\r\n\r\n    Numerical \
             Password:\r\n      ID: {{{OTHER_ID}}}\r\n      Password:\r\n        {C}\r\n\r\n    \
             External Key:\r\n      ID: {{99999999-2222-3333-4444-555555555555}}\r\n      External \
             Key File Name:\r\n        99999999-2222-3333-4444-555555555555.BEK\r\n"
        );
        let expected = [one(A, Some(ID)), one(C, Some(OTHER_ID))].concat();
        assert_eq!(passwords(text.as_bytes()), expected);
    }

    #[trial]
    fn reads_powershell_lists_even_if_the_console_folds_them() {
        let text = format!(
            "KeyProtectorId      : {{{ID}}}\nAutoUnlockProtector : \nKeyProtectorType    : \
             RecoveryPassword\nKeyFileName         : \nRecoveryPassword    : \
             471207-278498-422125-177177-561902-537405-468006-\n                      693451\n\
             KeyCertificateType  : \nThumbprint          : \n\nKeyProtectorId      : \
             {{{OTHER_ID}}}\nKeyProtectorType    : RecoveryPassword\nRecoveryPassword    : {C}\n"
        );
        let expected = [one(A, Some(ID)), one(C, Some(OTHER_ID))].concat();
        assert_eq!(passwords(text.as_bytes()), expected);
    }

    #[trial]
    fn tables_assign_ids_by_line_in_any_order_of_columns() {
        let expected = [one(A, Some(ID)), one(C, Some(OTHER_ID))].concat();
        for text in [
            format!("Id,Computer,Key\n{ID},PC-1,{A}\n{OTHER_ID},PC-2,{C}\n"),
            format!("Key;Id\r\n\"{A}\";\"{ID}\"\r\n\"{C}\";\"{OTHER_ID}\"\r\n"),
            format!("1\t2024-01-15\t{ID}\t{A}\n2\t2024-01-16\t{OTHER_ID}\t{C}\n"),
            format!(
                "12,2024-01-15 10:20:30,{A},{{{ID}}}\n13,2024-01-15 10:20:31,{C},{{{OTHER_ID}}}\n"
            ),
            format!("| {ID} | {A} |\n|{OTHER_ID}|{C}|\n"),
        ] {
            assert_eq!(passwords(text.as_bytes()), expected, "{text}");
        }
        let keys_only = format!("{A}\n{C}\n");
        let expected = [one(A, None), one(C, None)].concat();
        assert_eq!(passwords(keys_only.as_bytes()), expected);
        // Numbers in neighboring columns are not blocks.
        let numbers = format!("1,123456,{A},654321\n2,123457,{C},654322\n");
        assert_eq!(passwords(numbers.as_bytes()), expected);
    }

    #[trial]
    fn graph_json_assigns_the_id_of_the_protector_not_of_the_device() {
        let device = "2ff709c2-2c4b-4b6b-9a3f-1f2f3f4f5f6f";
        let text = format!(
            "{{\"@odata.context\":\"https://graph.microsoft.com/v1.0/$metadata\",\"id\":\"{}\",\
             \"createdDateTime\":\"2020-06-15T13:45:30Z\",\"deviceId\":\"{device}\",\
             \"volumeType\":\"1\",\"key\":\"{A}\"}}",
            ID.to_lowercase()
        );
        assert_eq!(passwords(text.as_bytes()), one(A, Some(ID)));
        let reversed = format!(
            "[{{\"key\":\"{A}\",\"id\":\"{ID}\"}},{{\"key\":\"{C}\",\"id\":\"{OTHER_ID}\"}}]"
        );
        let expected = [one(A, Some(ID)), one(C, Some(OTHER_ID))].concat();
        assert_eq!(passwords(reversed.as_bytes()), expected);
    }

    #[trial]
    fn reads_ldif_with_folded_lines() {
        let text = format!(
            "dn: CN=2023-10-10T10:00:00-08:00{{{OTHER_ID}}},CN=PC-1,OU=Clients,DC=example,DC=test\n\
             objectClass: msFVE-RecoveryInformation\nmsFVE-RecoveryPassword: \
             471207-278498-422125-177177-561902-537405-468006-693\n 451\nmsFVE-RecoveryGuid:: \
             oeQ+BgwikUK6AUdUYgqW5w==\n"
        );
        assert_eq!(passwords(text.as_bytes()), one(A, Some(OTHER_ID)));
    }

    #[trial]
    fn an_identifier_after_the_only_password_belongs_to_it() {
        let text = format!("my key\n{A}\nfor id {ID}\n");
        assert_eq!(passwords(text.as_bytes()), one(A, Some(ID)));
    }

    #[trial]
    fn a_damaged_key_file_is_explained() {
        let text = english().replace("278498", "27849");
        let check =
            check_bytes(&utf16(&text, true, u16::to_le_bytes), &Options::default()).unwrap();
        assert_eq!(check.result, Outcome::Malformed);
        assert_eq!(
            first(&check).identifier.unwrap().to_string(),
            ID.to_lowercase()
        );
        assert_eq!(
            first(&check).blocks[1].verdict,
            BlockVerdict::TooShort { digits: 5 }
        );
    }

    #[trial]
    fn more_than_a_mebibyte_is_refused() {
        assert!(scan_bytes(&vec![b' '; MAX_BYTES], &Options::default()).is_ok());
        let error = scan_bytes(&vec![b' '; MAX_BYTES + 1], &Options::default()).unwrap_err();
        assert!(error.to_string().contains("1048576"), "{error}");
    }

    #[trial]
    fn hostile_files_take_no_more_time_than_others() {
        let many: String = (0..MAX_BYTES as u64 / 56)
            .map(|nth| {
                let key = (u128::from(nth) << 80 | 0x1234_5678).to_le_bytes();
                digits(&RecoveryPassword::from_key(&RecoveryKey::from_bytes(&key))) + "\n"
            })
            .collect();
        let files = [
            "0 ",
            "1",
            "0-",
            "123456-",
            "??????-",
            "1?",
            "12345678-1234-",
            &many,
        ];
        // CPU time, because the machine may be busy with other work.
        let now = || rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
        let started = now();
        for text in files {
            let bytes = text.repeat(MAX_BYTES / text.len()); // all that is read
            let check = check_bytes(bytes.as_bytes(), &Options::default()).unwrap();
            if text == many {
                assert_eq!(check.passwords.len(), many.len() / 56);
            }
        }
        let took = now().tv_sec - started.tv_sec;
        assert!(took < 10, "{took} s");
    }
}

mod silence {
    use super::*;

    /// Whether printed text has the digits of a block.
    fn leaks(printed: &str) -> bool {
        A.split('-')
            .any(|block| printed.contains(block) || printed.contains(&block[..5]))
    }

    #[trial]
    fn nothing_printed_has_a_digit_of_the_password() {
        let bad = A.replace("278498", "278499").replace("561902", "56l902");
        for text in [
            A.to_owned(),
            bad,
            A.replace('-', ""),
            A.replace('-', "")[1..].to_owned(),
        ] {
            let scan = scan(&text, &Options::default());
            assert!(!leaks(&format!("{scan:?}")), "{scan:?}");
            let check = check(&text);
            assert!(!leaks(&format!("{check:?}")), "{check:?}");
            assert!(!leaks(&format!(
                "{:?}",
                first(&check).expose_suggestions(100)
            )));
            assert!(!leaks(&format!("{:?}", first(&check).expose_normalized())));
            match RecoveryPassword::parse(&text) {
                Ok(password) => assert!(!leaks(&format!("{password:?} {:?}", password.to_key()))),
                Err(error) => {
                    assert!(!leaks(&format!("{error} {error:?}")));
                    assert!(!leaks(&format!("{0} {0:?}", Error::from(error))));
                }
            }
        }
    }

    #[trial]
    fn shows_the_normalized_form_on_request() {
        let text = A
            .replace('-', " ")
            .replace("278498", "2784[17]8")
            .replace("177177", "17?1l7");
        assert_eq!(
            first(&check(&text)).expose_normalized().expose(),
            A.replace("278498", "2784[17]8").replace("177177", "17?1#7")
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[trial]
    fn checks_any_bytes_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        let check = check_bytes(&bytes, &Options::default().with_ocr(true)).unwrap();
        for password in &check.passwords {
            let _ = password.expose_suggestions(5);
            let _ = password.expose_normalized();
        }
    }

    #[trial]
    fn checks_any_text_of_digits_without_a_panic(
        text in "([0-9]{1,8}|[0-9]{44,52}|[?*_xOIl|\\[\\]]{1,3}|[-–,;: \r\n\t>=\"]{1,2}|\\[17\\]|5BC8FBBC-BDE5-C099-4164-D8399F767C45){0,40}"
    ) {
        for ocr in [false, true] {
            let check = check_text(&text, &Options::default().with_ocr(ocr));
            for password in &check.passwords {
                let suggestions = password.expose_suggestions(5);
                prop_assert!(suggestions.len() as u64 <= password.password_candidates);
                let _ = password.expose_normalized();
            }
        }
        let _ = RecoveryPassword::parse(&text);
    }

    #[trial]
    fn reads_a_password_with_any_separators(
        key in any::<[u8; 16]>(),
        separators in prop::collection::vec("[-–—− \u{A0}\t./:,]|\r\n|-\n| - ", 7),
    ) {
        let password = RecoveryPassword::from_key(&RecoveryKey::from_bytes(&key));
        let right = digits(&password);
        let mut separators = separators.iter();
        let text: String = right
            .chars()
            .map(|c| if c == '-' { separators.next().unwrap().clone() } else { c.to_string() })
            .collect();
        let read = RecoveryPassword::parse(&text);
        prop_assert!(read.is_ok(), "{:?}", text);
        prop_assert_eq!(*read.unwrap().to_key().expose(), key);
    }

    #[trial]
    fn finds_and_corrects_any_single_error(
        key in any::<[u8; 16]>(), at in 0..48_usize, digit in 0..10_u8,
    ) {
        let password = RecoveryPassword::from_key(&RecoveryKey::from_bytes(&key));
        let right = digits(&password);
        let place = at + at / 6;
        let mut wrong = right.clone();
        wrong.replace_range(place..=place, &digit.to_string());
        prop_assume!(wrong != right);
        let check = check(&wrong);
        prop_assert_eq!(check.result, Outcome::Malformed);
        let suggestions = first(&check).expose_suggestions(100);
        prop_assert!(suggestions.iter().any(|s| digits(&s.password) == right));
    }
}
