//! Versions of Alpine's apk and their order (apk-package(5), "PACKAGE METAINFORMATION"; apk-tools `src/version.c`).
//!
//! `number{.number}…{letter}{_suffix{number}}…{~hash}{-r#}`.

use super::rpm::number;
use std::cmp::Ordering;

/// What one piece of a version is, in the order in which pieces may follow each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    InitialDigit,
    Digit,
    Letter,
    Suffix,
    SuffixNumber,
    Hash,
    Revision,
    End,
    Invalid,
}

/// Suffixes in their order; those before the empty place sort before a version without a suffix.
const SUFFIXES: [&str; 10] = ["alpha", "beta", "pre", "rc", "", "cvs", "svn", "git", "hg", "p"];
const SUFFIX_NONE: usize = 4;

struct Pieces<'a> {
    rest: &'a [u8],
    kind: Kind,
    value: &'a [u8],
    suffix: usize,
}

impl<'a> Pieces<'a> {
    fn new(text: &'a str) -> Self {
        let mut pieces = Self { rest: text.as_bytes(), kind: Kind::InitialDigit, value: b"", suffix: SUFFIX_NONE };
        pieces.digits(Kind::InitialDigit);
        pieces
    }

    fn take(&mut self, len: usize) -> &'a [u8] {
        let (head, tail) = self.rest.split_at(len.min(self.rest.len()));
        self.rest = tail;
        head
    }

    fn while_true(&mut self, wanted: impl Fn(&u8) -> bool) -> &'a [u8] {
        self.take(self.rest.iter().take_while(|b| wanted(b)).count())
    }

    fn digits(&mut self, kind: Kind) {
        self.value = self.while_true(u8::is_ascii_digit);
        self.kind = if self.value.is_empty() { Kind::Invalid } else { kind };
    }

    fn next(&mut self) {
        let Some(first) = self.rest.first() else {
            self.kind = Kind::End;
            return;
        };
        match first {
            b'a'..=b'z' if self.kind <= Kind::Digit => {
                self.value = self.take(1);
                self.kind = Kind::Letter;
            }
            b'.' if self.kind <= Kind::Digit => {
                self.take(1);
                self.digits(Kind::Digit);
            }
            b'0'..=b'9' if self.kind == Kind::Suffix => self.digits(Kind::SuffixNumber),
            b'_' if self.kind <= Kind::SuffixNumber => {
                self.take(1);
                self.value = self.while_true(u8::is_ascii_lowercase);
                let known = SUFFIXES.iter().position(|s| !s.is_empty() && s.as_bytes() == self.value);
                self.kind = if known.is_some() { Kind::Suffix } else { Kind::Invalid };
                self.suffix = known.unwrap_or(SUFFIX_NONE);
            }
            b'~' if self.kind < Kind::Hash => {
                self.take(1);
                self.value = self.while_true(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(b));
                self.kind = if self.value.is_empty() { Kind::Invalid } else { Kind::Hash };
            }
            b'-' if self.kind < Kind::Revision && self.rest.starts_with(b"-r") => {
                self.take(2);
                self.digits(Kind::Revision);
            }
            _ => self.kind = Kind::Invalid,
        }
    }

    fn compare(&self, other: &Self) -> Ordering {
        match self.kind {
            Kind::Digit if self.value.first() == Some(&b'0') || other.value.first() == Some(&b'0') => self.value.cmp(other.value),
            Kind::InitialDigit | Kind::Digit | Kind::SuffixNumber | Kind::Revision => number(self.value, other.value),
            Kind::Suffix => self.suffix.cmp(&other.suffix),
            Kind::Letter | Kind::Hash | Kind::End | Kind::Invalid => self.value.cmp(other.value),
        }
    }
}

/// Whether the text is a version that apk accepts.
#[must_use]
pub fn is_valid(text: &str) -> bool {
    let mut pieces = Pieces::new(text);
    while pieces.kind < Kind::End {
        pieces.next();
    }
    pieces.kind == Kind::End
}

/// apk's order; what is no version is compared as far as it is one.
#[must_use]
pub fn compare(a: &str, b: &str) -> Ordering {
    order(a, b, false)
}

/// Whether `version` starts with `prefix`, as apk's `~` operator asks (`3.6.1 ~ 3.6`).
#[must_use]
pub fn is_within(version: &str, prefix: &str) -> bool {
    order(version, prefix, true).is_eq()
}

fn order(a: &str, b: &str, fuzzy: bool) -> Ordering {
    let (mut a, mut b) = (Pieces::new(a), Pieces::new(b));
    while a.kind == b.kind && a.kind < Kind::End {
        let order = a.compare(&b);
        if order.is_ne() {
            return order;
        }
        a.next();
        b.next();
    }
    if a.kind == b.kind || (fuzzy && b.kind == Kind::End) {
        return Ordering::Equal;
    }
    let before = |p: &Pieces<'_>| p.kind == Kind::Suffix && p.suffix < SUFFIX_NONE;
    match (before(&a), before(&b)) {
        (true, _) => Ordering::Less,
        (_, true) => Ordering::Greater,
        // Equal so far: the one whose next piece comes earlier in the grammar has more to say.
        (false, false) => b.kind.cmp(&a.kind),
    }
}
