//! What is wrong with a policy: file, line, column, the offending text, and what was meant. Pure.

use crate::text::printable;
use std::{fmt, ops::Range};

/// Most faults that are told at once.
pub const FAULTS_MAX: usize = 100;
/// Longest line of a file that is shown, in characters.
const LINE_CHARS_MAX: usize = 160;
/// How alike a name must be to be what was meant: 0 to 1.
const ALIKE: f64 = 0.7;

/// One fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Name of the file as it was given.
    pub file: String,
    /// From 1.
    pub line: usize,
    /// From 1, in characters.
    pub column: usize,
    /// The line.
    pub text: String,
    /// Characters of it that are wrong.
    pub length: usize,
    /// Which key, for example `group.web.budget`; empty where there is none.
    pub key: String,
    /// What is wrong.
    pub what: String,
    /// What was meant, probably.
    pub meant: Option<String>,
}

impl Fault {
    /// A fault at these bytes of a file.
    #[must_use]
    pub fn at(file: &str, text: &str, span: Range<usize>, key: String, what: String, meant: Option<String>) -> Self {
        let start = (0..=span.start.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
        let before = &text[..start];
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        let line = text[line_start..].lines().next().unwrap_or("");
        let end = (start..=span.end.clamp(start, text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(start);
        Self {
            file: file.to_owned(),
            line: before.matches('\n').count() + 1,
            column: text[line_start..start].chars().count() + 1,
            text: line.to_owned(),
            length: text[start..end].lines().next().unwrap_or("").chars().count().max(1),
            key,
            what,
            meant,
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, line, column, text, length, key, what, meant } = self;
        let key = if key.is_empty() { String::new() } else { format!("{}: ", printable(key, LINE_CHARS_MAX)) };
        write!(f, "{}:{line}:{column}: {key}{}", printable(file, 400), printable(what, 1000))?;
        let shown = printable(text, LINE_CHARS_MAX);
        let gutter = " ".repeat(line.to_string().len());
        // Escapes would move what is below: then there is the line alone.
        if shown == *text {
            let marks = "^".repeat((*length).min(text.chars().count().saturating_sub(column - 1)).max(1));
            let meant = meant.as_ref().map(|meant| format!(" did you mean `{}`?", printable(meant, 100))).unwrap_or_default();
            write!(f, "\n  {line} | {shown}\n  {gutter} | {}{marks}{meant}", " ".repeat(column - 1))
        } else {
            let meant = meant.as_ref().map(|meant| format!("\n  {gutter} | did you mean `{}`?", printable(meant, 100))).unwrap_or_default();
            write!(f, "\n  {line} | {shown}{meant}")
        }
    }
}

/// A policy that cannot be used, all faults at once, at most [`FAULTS_MAX`].
#[derive(Debug, PartialEq, Eq)]
pub struct PolicyError(pub Vec<Fault>);

impl fmt::Display for PolicyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the policy has {} error(s)", self.0.len())?;
        self.0.iter().try_for_each(|fault| write!(f, "\n{fault}"))
    }
}

impl std::error::Error for PolicyError {}

/// The known name that is most like this one, if one is alike.
pub fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<String> {
    let alike = |one: &'a str| (strsim::damerau_levenshtein(name, one), strsim::jaro_winkler(name, one), one);
    let name_length = name.chars().count();
    if name_length > 64 {
        return None;
    }
    let best = known.into_iter().map(alike).min_by(|a, b| a.0.cmp(&b.0).then(b.1.total_cmp(&a.1)))?;
    (best.0 <= 2.min(name_length / 2) || best.1 >= ALIKE + 0.15).then(|| best.2.to_owned())
}
