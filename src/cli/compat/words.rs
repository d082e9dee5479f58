//! The words of an old command line, in the order and with the abbreviations of getopt_long(3), which all of
//! these tools use. Each word knows its place, so that a secret can be overwritten there.

use std::ffi::{OsStr, OsString};
use std::ops::Range;
use std::os::unix::ffi::OsStrExt;

use zeroize::Zeroizing;

/// A word of the command line, or a part of one.
#[derive(Clone)]
pub(super) struct Word {
    /// The number of the argument, and where it is in that.
    pub(super) number: usize,
    pub(super) range: Range<usize>,
    pub(super) bytes: Zeroizing<Vec<u8>>,
}

impl Word {
    pub(super) fn new(number: usize, bytes: &[u8]) -> Self {
        Self {
            number,
            range: 0..bytes.len(),
            bytes: Zeroizing::new(bytes.to_vec()),
        }
    }

    /// The part from this byte on.
    pub(super) fn from(&self, start: usize) -> Self {
        self.part(start..self.bytes.len())
    }

    pub(super) fn part(&self, range: Range<usize>) -> Self {
        let bytes = self.bytes.get(range.clone()).unwrap_or_default();
        Self {
            number: self.number,
            range: self.range.start + range.start..self.range.start + range.end,
            bytes: Zeroizing::new(bytes.to_vec()),
        }
    }

    /// The parts between commas.
    pub(super) fn separated(&self) -> Vec<Self> {
        let mut parts = Vec::new();
        let mut start = 0;
        for piece in self.bytes.split(|byte| *byte == b',') {
            let end = start + piece.len();
            if !piece.is_empty() {
                parts.push(self.part(start..end));
            }
            start = end + 1;
        }
        parts
    }

    /// What is before the first `=`, and what is after it.
    pub(super) fn name_and_value(&self) -> (Zeroizing<String>, Option<Self>) {
        let at = self.bytes.iter().position(|byte| *byte == b'=');
        let name = self.part(0..at.unwrap_or(self.bytes.len()));
        (name.text(), at.map(|at| self.from(at + 1)))
    }

    pub(super) fn text(&self) -> Zeroizing<String> {
        Zeroizing::new(String::from_utf8_lossy(&self.bytes).into_owned())
    }

    pub(super) fn as_os(&self) -> &OsStr {
        OsStr::from_bytes(&self.bytes)
    }

    pub(super) fn os(&self) -> OsString {
        self.as_os().to_owned()
    }
}

/// Whether an option has a value.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Takes {
    Nothing,
    Value,
    /// A value that is attached to it, or none.
    Maybe,
}

/// An option: its letter, its long name if it has one, and its value.
pub(super) type Form = (char, &'static str, Takes);

/// What was given.
#[derive(Clone, Default)]
pub(super) struct Given {
    /// The letters of the options in their order, each with its value.
    pub(super) options: Vec<(char, Option<Word>)>,
    /// The other words before `--`.
    pub(super) words: Vec<Word>,
    /// Everything after `--`.
    pub(super) rest: Vec<Word>,
}

/// Why a command line cannot be parsed. It repeats nothing that may be a secret.
pub(super) type Problem = String;

impl Given {
    pub(super) fn parse(forms: &[Form], arguments: &[Word]) -> Result<Self, Problem> {
        let mut given = Self::default();
        let mut left = arguments.iter();
        while let Some(word) = left.next() {
            match word.bytes.as_slice() {
                b"--" => {
                    given.rest = left.cloned().collect();
                    break;
                }
                [b'-', b'-', ..] => given.long(forms, &word.from(2), &mut left)?,
                [b'-', _, ..] => given.cluster(forms, &word.from(1), &mut left)?,
                _ => given.words.push(word.clone()),
            }
        }
        Ok(given)
    }

    pub(super) fn has(&self, letter: char) -> bool {
        self.options.iter().any(|(given, _)| *given == letter)
    }

    pub(super) fn count(&self, letter: char) -> usize {
        let given = self.options.iter();
        given.filter(|(given, _)| *given == letter).count()
    }

    /// The options with their values, each letter as it was given last.
    pub(super) fn last_of_each(&self) -> impl Iterator<Item = (char, Option<&Word>)> {
        let numbered = self.options.iter().enumerate();
        numbered.filter_map(|(number, (letter, value))| {
            let mut later = self.options.iter().skip(number + 1);
            let is_last = later.all(|(other, _)| other != letter);
            is_last.then_some((*letter, value.as_ref()))
        })
    }

    /// All values of an option.
    pub(super) fn values(&self, letter: char) -> impl Iterator<Item = &Word> {
        let given = self.options.iter();
        given.filter_map(move |(given, value)| value.as_ref().filter(|_| *given == letter))
    }

    /// The last value of an option.
    pub(super) fn value(&self, letter: char) -> Option<&Word> {
        self.values(letter).last()
    }

    /// Letters after one dash, of which the last may have a value.
    fn cluster<'a>(
        &mut self,
        forms: &[Form],
        word: &Word,
        left: &mut impl Iterator<Item = &'a Word>,
    ) -> Result<(), Problem> {
        let mut at = 0;
        while let Some(letter) = word.bytes.get(at).map(|byte| char::from(*byte)) {
            at += 1;
            let known = forms.iter().find(|(known, ..)| *known == letter);
            let Some((_, _, takes)) = known else {
                return Err(match letter.is_ascii_alphanumeric() {
                    true => format!("there is no option -{letter}"),
                    false => "there is no such option".to_owned(),
                });
            };
            let rest = (at < word.bytes.len()).then(|| word.from(at));
            let value = match takes {
                Takes::Nothing => {
                    self.options.push((letter, None));
                    continue;
                }
                Takes::Maybe => rest,
                Takes::Value => Some(match rest {
                    Some(rest) => rest,
                    None => {
                        let next = left.next().cloned();
                        next.ok_or_else(|| format!("the option -{letter} needs a value"))?
                    }
                }),
            };
            self.options.push((letter, value));
            break;
        }
        Ok(())
    }

    /// A long name, which may be shortened as long as it is clear.
    fn long<'a>(
        &mut self,
        forms: &[Form],
        word: &Word,
        left: &mut impl Iterator<Item = &'a Word>,
    ) -> Result<(), Problem> {
        let (name, value) = word.name_and_value();
        let fitting = forms.iter().filter(|(_, long, _)| !long.is_empty());
        let mut fitting: Vec<_> = fitting
            .filter(|(_, long, _)| long.starts_with(name.as_str()))
            .collect();
        if let Some(exact) = fitting
            .iter()
            .copied()
            .find(|(_, long, _)| *long == name.as_str())
        {
            fitting = vec![exact];
        }
        let [(letter, long, takes)] = fitting.as_slice() else {
            return Err(match fitting.is_empty() {
                true => "there is no such long option".to_owned(),
                false => {
                    let names: Vec<_> = fitting.iter().map(|(_, long, _)| *long).collect();
                    format!("several options begin so: --{}", names.join(", --"))
                }
            });
        };
        let value = match (takes, value) {
            (Takes::Nothing, Some(_)) => return Err(format!("the option --{long} takes no value")),
            (Takes::Value, None) => {
                let next = left.next().cloned();
                Some(next.ok_or_else(|| format!("the option --{long} needs a value"))?)
            }
            (_, value) => value,
        };
        self.options.push((*letter, value));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FORMS: &[Form] = &[
        ('p', "recovery-password", Takes::Maybe),
        ('u', "user-password", Takes::Maybe),
        ('r', "readonly", Takes::Nothing),
        ('s', "stateok", Takes::Nothing),
        ('V', "volume", Takes::Value),
        ('v', "verbosity", Takes::Nothing),
    ];

    fn parse(words: &[&str]) -> Result<Given, Problem> {
        let numbered = words.iter().enumerate();
        let words: Vec<_> = numbered
            .map(|(number, word)| Word::new(number, word.as_bytes()))
            .collect();
        Given::parse(FORMS, &words)
    }

    #[test]
    fn letters_are_clustered_and_a_value_is_attached_or_the_next_word() {
        let given = parse(&["-rsV", "disk", "-p123-456", "-u", "m", "--", "-o", "ro"]).unwrap();
        assert!(given.has('r') && given.has('s') && !given.has('v'));
        assert_eq!(given.value('V').unwrap().text().as_str(), "disk");
        let digits = given.value('p').unwrap();
        assert_eq!((digits.number, digits.range.clone()), (2, 2..9));
        assert_eq!(digits.text().as_str(), "123-456");
        assert!(given.has('u') && given.value('u').is_none());
        assert_eq!(given.words[0].text().as_str(), "m");
        assert_eq!(given.rest.len(), 2);
    }

    #[test]
    fn long_names_may_be_shortened() {
        let given = parse(&["--user=a=b", "--vol", "disk", "--read"]).unwrap();
        assert_eq!(given.value('u').unwrap().text().as_str(), "a=b");
        assert_eq!(given.value('u').unwrap().range, 7..10);
        assert_eq!(given.value('V').unwrap().text().as_str(), "disk");
        assert!(given.has('r'));
        assert!(parse(&["--v"]).is_err());
    }

    #[test]
    fn a_problem_repeats_no_word() {
        for words in [
            &["-Zgeheim"][..],
            &["--geheim"],
            &["-V"],
            &["--readonly=geheim"],
        ] {
            let problem = parse(words).err().unwrap();
            assert!(!problem.contains("geheim"), "{problem}");
        }
    }

    #[test]
    fn parts_between_commas_know_their_places() {
        let word = Word::new(4, b"rw,user-password=a b,,nofail");
        let parts = word.separated();
        assert_eq!(parts.len(), 3);
        let (name, value) = parts[1].name_and_value();
        let value = value.unwrap();
        assert_eq!(
            (name.as_str(), value.text().as_str()),
            ("user-password", "a b")
        );
        assert_eq!((value.number, value.range.clone()), (4, 17..20));
    }
}
