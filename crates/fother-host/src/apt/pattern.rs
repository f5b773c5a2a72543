//! The patterns of apt_preferences(5): plain text, shell globs and `/regular expressions/`, without case. Pure.

use regex_automata::{
    nfa::thompson::{self, pikevm::PikeVM},
    util::syntax,
};

const PATTERN_BYTES_MAX: usize = 1024;
const PROGRAM_BYTES_MAX: usize = 1 << 20;

/// A pattern ready to match.
#[derive(Clone, Debug)]
pub enum Pattern {
    /// A glob, lower-case; plain text is a glob without signs.
    Glob(Vec<u8>),
    /// The text between two slashes.
    Regex(Box<PikeVM>),
}

impl Pattern {
    /// Reads a pattern.
    ///
    /// # Errors
    /// Where it is too long or no regular expression.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.len() > PATTERN_BYTES_MAX {
            return Err(format!("the pattern is longer than {PATTERN_BYTES_MAX} bytes"));
        }
        let Some(regex) = text.strip_prefix('/').and_then(|rest| rest.strip_suffix('/')) else {
            return Ok(Self::Glob(text.to_ascii_lowercase().into_bytes()));
        };
        let compiled = PikeVM::builder()
            .syntax(syntax::Config::new().case_insensitive(true).unicode(false).utf8(false))
            .thompson(thompson::Config::new().utf8(false).nfa_size_limit(Some(PROGRAM_BYTES_MAX)))
            .build(regex);
        compiled.map(|vm| Self::Regex(Box::new(vm))).map_err(|error| error.to_string())
    }

    /// Whether the whole text (glob) or a part of it (regular expression) matches.
    #[must_use]
    pub fn matches(&self, text: &str) -> bool {
        match self {
            Self::Glob(glob) => glob_matches(glob, text.to_ascii_lowercase().as_bytes()),
            Self::Regex(vm) => vm.is_match(&mut vm.create_cache(), text),
        }
    }
}

/// fnmatch(3) without flags, with one point to return to: linear in practice, never exponential.
fn glob_matches(glob: &[u8], text: &[u8]) -> bool {
    let (mut at, mut pos) = (0, 0);
    let mut retry: Option<(usize, usize)> = None;
    loop {
        let matched = match glob.get(at) {
            None if pos == text.len() => return true,
            Some(b'*') => {
                retry = Some((at + 1, pos));
                at += 1;
                continue;
            }
            Some(_) if pos < text.len() => one(&glob[at..], text[pos]),
            _ => None,
        };
        match (matched, retry) {
            (Some(width), _) => (at, pos) = (at + width, pos + 1),
            (None, Some((after, from))) if from < text.len() => {
                retry = Some((after, from + 1));
                (at, pos) = (after, from + 1);
            }
            (None, _) => return false,
        }
    }
}

/// Bytes of the pattern that match one byte of text; `None` if it does not match.
fn one(glob: &[u8], byte: u8) -> Option<usize> {
    match glob {
        [b'?', ..] => Some(1),
        [b'\\', escaped, ..] => (*escaped == byte).then_some(2),
        [b'[', rest @ ..] => match class(rest, byte) {
            Some((width, hit)) => hit.then_some(width + 1),
            None => (byte == b'[').then_some(1),
        },
        [plain, ..] => (*plain == byte).then_some(1),
        [] => None,
    }
}

/// A bracket expression after its `[`: its width and whether the byte is in it; `None` if it is not closed.
fn class(rest: &[u8], byte: u8) -> Option<(usize, bool)> {
    let negated = matches!(rest.first(), Some(b'!' | b'^'));
    let start = usize::from(negated);
    let end = start + 1 + rest.get(start + 1..)?.iter().position(|b| *b == b']')?;
    let set = &rest[start..end];
    let mut hit = false;
    let mut at = 0;
    while at < set.len() {
        if at + 2 < set.len() && set[at + 1] == b'-' {
            hit |= (set[at]..=set[at + 2]).contains(&byte);
            at += 3;
        } else {
            hit |= set[at] == byte;
            at += 1;
        }
    }
    Some((end + 1, hit != negated))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn globs_match_as_fnmatch_does() {
        let fits = |pattern: &str, text: &str| Pattern::parse(pattern).unwrap().matches(text);
        for (pattern, text) in [
            ("*", ""),
            ("lib*-dev", "libssl-dev"),
            ("a?c", "abc"),
            ("[a-c]x", "bx"),
            ("[!a]x", "bx"),
            ("Debian", "debian"),
            ("5.2*", "5.20-1"),
            ("*a*b", "xaab"),
        ] {
            assert!(fits(pattern, text), "{pattern} {text}");
        }
        for (pattern, text) in [("lib*-dev", "libssl"), ("a?c", "ac"), ("[!a]x", "ax"), ("debian", "debian2"), ("", "x")] {
            assert!(!fits(pattern, text), "{pattern} {text}");
        }
    }

    #[test]
    fn regular_expressions_match_parts() {
        assert!(Pattern::parse("/^lib(ssl|Z)/").unwrap().matches("libz1"));
        assert!(!Pattern::parse("/^ssl/").unwrap().matches("libssl"));
        assert!(Pattern::parse("/(/").is_err());
    }

    #[test]
    fn a_hostile_glob_ends() {
        assert!(!Pattern::parse(&"*a".repeat(400)).unwrap().matches(&"b".repeat(4000)));
    }
}
