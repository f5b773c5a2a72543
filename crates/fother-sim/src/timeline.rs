//! What happened, for people: one line each, with the time since the start.

use std::fmt::Write as _;

/// A time since the start, `1d 02:03:04.005`.
#[must_use]
pub fn clock(ms: u64) -> String {
    let (days, rest) = (ms / 86_400_000, ms % 86_400_000);
    let mut out = String::new();
    if days > 0 {
        let _ = write!(out, "{days}d ");
    }
    let _ = write!(out, "{:02}:{:02}:{:02}.{:03}", rest / 3_600_000, rest / 60_000 % 60, rest / 1_000 % 60, rest % 1_000);
    out
}

/// The lines, where somebody wants them.
#[derive(Clone, Debug, Default)]
pub struct Timeline(Option<Vec<String>>);

impl Timeline {
    /// One that is kept, or not.
    #[must_use]
    pub fn new(kept: bool) -> Self {
        Self(kept.then(Vec::new))
    }

    /// Adds a line; it is made only where it is kept.
    pub fn add(&mut self, ms: u64, line: impl FnOnce() -> String) {
        if let Some(lines) = &mut self.0 {
            lines.push(format!("{}  {}", clock(ms), line()));
        }
    }

    /// The lines.
    #[must_use]
    pub fn lines(&self) -> &[String] {
        self.0.as_deref().unwrap_or_default()
    }
}
