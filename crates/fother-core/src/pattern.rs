//! Regular expressions of a policy: bounded in length, in size and, by a matcher without backtracking, in time. Pure.

use regex_automata::{
    nfa::thompson::{self, pikevm::PikeVM},
    util::syntax,
};

/// Longest pattern, in bytes.
pub const PATTERN_BYTES_MAX: usize = 512;
/// Largest compiled pattern, in bytes.
const PROGRAM_BYTES_MAX: usize = 128 << 10;

/// A pattern ready to match bytes; it is found anywhere unless it says `^` or `$`.
#[derive(Clone, Debug)]
pub struct Pattern(Box<PikeVM>);

impl Pattern {
    /// Reads a regular expression (syntax of the `regex` crate; no look-around, no back references; `(?i)` and the like are understood).
    ///
    /// # Errors
    /// Where it is empty, too long, too large or no regular expression, for people.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Err("an empty pattern matches everything".to_owned());
        }
        if text.len() > PATTERN_BYTES_MAX {
            return Err(format!("the pattern is longer than {PATTERN_BYTES_MAX} bytes"));
        }
        let compiled = PikeVM::builder()
            .syntax(syntax::Config::new().multi_line(true).unicode(false).utf8(false))
            .thompson(thompson::Config::new().utf8(false).nfa_size_limit(Some(PROGRAM_BYTES_MAX)))
            .build(text);
        compiled.map(|vm| Self(Box::new(vm))).map_err(|error| format!("no usable regular expression: {}", said(&error)))
    }

    /// Whether it is found in `text`.
    #[must_use]
    pub fn is_in(&self, text: &[u8]) -> bool {
        self.0.is_match(&mut self.0.create_cache(), text)
    }

    /// The lines of `text` in which it is found.
    pub fn lines<'a>(&'a self, text: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
        let mut cache = self.0.create_cache();
        text.split(|byte| *byte == b'\n').filter(move |line| !line.is_empty() && self.0.is_match(&mut cache, *line))
    }
}

/// The error with what caused it, on one line.
fn said(error: &dyn std::error::Error) -> String {
    let (mut out, mut next) = (error.to_string(), error.source());
    while let Some(source) = next {
        out = source.to_string();
        next = source.source();
    }
    out.lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_are_found_in_bytes_that_are_no_text() {
        let pattern = Pattern::parse("(?i)out of memory|^panic:").unwrap();
        assert!(pattern.is_in(b"\xff\xfe Out Of Memory \x80"));
        assert_eq!(pattern.lines(b"fine\npanic: x\nnot a panic: y\nout of memory").count(), 2);
    }

    #[test]
    fn what_is_empty_too_long_too_large_or_broken_is_refused() {
        for bad in ["", "(", "a{1000}{1000}", "(?=x)", &"x".repeat(PATTERN_BYTES_MAX + 1)] {
            assert!(Pattern::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_pattern_that_makes_others_backtrack_for_ever_takes_linear_time() {
        let pattern = Pattern::parse("(a*)*b").unwrap();
        assert!(!pattern.is_in(&vec![b'a'; 64 << 10]));
    }
}
