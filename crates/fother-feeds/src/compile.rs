//! Builds the advisory database: takes what the readers of [`crate::vendor`] understand and writes the one file.

pub mod intern;
mod layout;

use fother_core::{
    Timestamp,
    advisory::{
        Day, Said, Status, Urgency, cve_key,
        format::{self, Advisory, Claim, Epss, FEEDS_MAX, Feed, Release, Subject, Support, TEXT_BYTES_MAX, Text, Vuln},
    },
    version::scheme::Scheme,
};
use intern::Interner;
pub use layout::Sealed;
use std::{collections::HashMap, io, path::Path};

/// Most claims in one database.
pub const CLAIMS_MAX: usize = 30_000_000;
/// Most VEX statements in one database.
pub const STATEMENTS_MAX: usize = 5_000_000;
/// Most releases and ecosystems in one database.
pub const RELEASES_MAX: usize = 4_000;
/// Longest line on an advisory or vulnerability, in characters.
const LINE_CHARS_MAX: usize = 160;
/// Longest name, id or version, in bytes.
const WORD_BYTES_MAX: usize = 512;

/// A database under construction.
#[derive(Debug, Default)]
pub struct Builder {
    text: Interner,
    feeds: Vec<Feed>,
    releases: Vec<Release>,
    release_index: HashMap<String, u32>,
    packages: Vec<(u32, Text)>,
    package_index: HashMap<(u32, Text), u32>,
    claims: Vec<(u32, Claim)>,
    advisories: Vec<Advisory>,
    advisory_index: HashMap<Text, u32>,
    advisory_vulns: Vec<(u32, u32)>,
    vulns: Vec<Vuln>,
    cve_index: HashMap<u32, u32>,
    other_index: HashMap<Text, u32>,
    epss: Vec<Epss>,
    supports: Vec<Support>,
    apart_index: HashMap<(Text, u32), u32>,
    statements: Vec<format::Statement>,
}

/// What one feed's reader counts while it reads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Taken {
    /// Records.
    pub records: u32,
    /// The newest date inside it.
    pub newest: Day,
    /// Records that were not understood.
    pub skipped: u32,
}

impl Taken {
    /// One more record of a day.
    pub fn one(&mut self, day: Option<Day>) {
        self.records = self.records.saturating_add(1);
        self.newest = self.newest.max(day.unwrap_or_default());
    }
}

/// What is said about one range of versions, in words.
#[derive(Clone, Copy, Debug)]
pub struct Statement<'a> {
    /// First affected version; empty from the beginning.
    pub introduced: &'a str,
    /// First version that is not affected, or the last affected one; empty where there is none.
    pub end: &'a str,
    /// What is said.
    pub status: Status,
    /// Flags of [`Claim`].
    pub flags: u8,
    /// The vendor's remark.
    pub note: &'a str,
}

impl<'a> Statement<'a> {
    /// A fixed version is published.
    #[must_use]
    pub fn fixed(version: &'a str) -> Self {
        Self { introduced: "", end: version, status: Status::Fixed, flags: 0, note: "" }
    }
}

impl Builder {
    /// Starts a feed; everything that is added until the next one counts as its words.
    ///
    /// # Errors
    /// Where there are too many feeds.
    pub fn begin_feed(&mut self) -> Result<(), String> {
        if self.feeds.len() >= FEEDS_MAX {
            return Err(format!("more than {FEEDS_MAX} feeds"));
        }
        self.feeds.push(Feed::default());
        Ok(())
    }

    /// Ends the feed with what is known about it.
    pub fn end_feed(&mut self, about: &crate::vendor::About, taken: Taken) {
        let record = Feed {
            name: self.line(&about.name),
            kind: self.line(about.kind.name()),
            origin: self.line(&about.origin),
            records: taken.records,
            date: if taken.newest.is_known() { taken.newest } else { about.modified },
            fresh_days: about.kind.fresh_days(),
            imported_ms: about.imported.ms(),
            digest: about.digest.0,
        };
        if let Some(feed) = self.feeds.last_mut() {
            *feed = record;
        }
    }

    fn feed(&self) -> u16 {
        u16::try_from(self.feeds.len().saturating_sub(1)).unwrap_or(u16::MAX)
    }

    /// A text made one line, made safe and cut.
    fn line(&mut self, text: &str) -> Text {
        if text.len() <= LINE_CHARS_MAX && text.bytes().all(|b| (0x20..0x7f).contains(&b)) {
            return self.text.intern(text.trim());
        }
        let one_line = text.split_whitespace().collect::<Vec<_>>().join(" ");
        let safe = fother_core::text::printable(&one_line, LINE_CHARS_MAX);
        self.text.intern(safe.get(..safe.len().min(TEXT_BYTES_MAX)).unwrap_or_default())
    }

    /// A name, id or version: kept as it is.
    fn word(&mut self, word: &str) -> Result<Text, String> {
        if word.len() > WORD_BYTES_MAX || word.bytes().any(|b| b.is_ascii_control()) {
            return Err(format!("`{}` is no name or version", fother_core::text::printable(word, 40)));
        }
        Ok(self.text.intern(word))
    }

    /// A release or ecosystem by name.
    ///
    /// # Errors
    /// Where there are too many.
    pub fn release(&mut self, name: &str, scheme: Scheme) -> Result<u32, String> {
        if let Some(at) = self.release_index.get(name) {
            return Ok(*at);
        }
        if self.releases.len() >= RELEASES_MAX {
            return Err(format!("more than {RELEASES_MAX} releases"));
        }
        let at = u32::try_from(self.releases.len()).unwrap_or(u32::MAX);
        let text = self.word(name)?;
        self.releases.push(Release { name: text, scheme: scheme as u8, ..Release::default() });
        self.release_index.insert(name.to_owned(), at);
        Ok(at)
    }

    /// Sets a release's dates.
    pub fn lifecycle(&mut self, release: u32, released: Day, eol: Day, lts: Day, elts: Day) {
        if let Some(record) = self.releases.get_mut(release as usize) {
            (record.released, record.eol, record.lts, record.elts) = (released, eol, lts, elts);
        }
    }

    /// Says that the current feed speaks about a release, and what it covers.
    pub fn covers(&mut self, release: u32, coverage: u8) {
        let bit = 1_u64.checked_shl(u32::from(self.feed())).unwrap_or(0);
        if let Some(record) = self.releases.get_mut(release as usize) {
            record.coverage |= coverage;
            record.feeds |= bit;
        }
    }

    /// A package of a release by name.
    ///
    /// # Errors
    /// Where the name is unusable.
    pub fn package(&mut self, release: u32, name: &str) -> Result<u32, String> {
        let name = self.word(name)?;
        if name == Text::default() {
            return Err("a package without a name".into());
        }
        let next = u32::try_from(self.packages.len()).map_err(|_| "too many packages")?;
        let at = *self.package_index.entry((release, name)).or_insert(next);
        if at == next {
            self.packages.push((release, name));
        }
        Ok(at)
    }

    /// An advisory by id; a later feed's words fill what an earlier one left open.
    ///
    /// # Errors
    /// Where the id is unusable.
    pub fn advisory(&mut self, id: &str, date: Option<Day>, class: u8, summary: &str) -> Result<u32, String> {
        let (id, summary) = (self.word(id)?, self.line(summary));
        let next = u32::try_from(self.advisories.len()).map_err(|_| "too many advisories")?;
        let at = *self.advisory_index.entry(id).or_insert(next);
        if at == next {
            self.advisories.push(Advisory { id, class, ..Advisory::default() });
        }
        if let Some(record) = self.advisories.get_mut(at as usize) {
            record.date = if record.date.is_known() { record.date } else { date.unwrap_or_default() };
            record.summary = if record.summary == Text::default() { summary } else { record.summary };
        }
        Ok(at)
    }

    /// An advisory as far as it closes one vulnerability: for documents that say for each vulnerability which packages it is in.
    ///
    /// # Errors
    /// Where the id is unusable.
    pub fn advisory_on(&mut self, id: &str, vuln: u32, date: Option<Day>, class: u8, summary: &str) -> Result<u32, String> {
        let (id, summary) = (self.word(id)?, self.line(summary));
        if let Some(at) = self.apart_index.get(&(id, vuln)) {
            return Ok(*at);
        }
        let at = u32::try_from(self.advisories.len()).map_err(|_| "too many advisories")?;
        self.advisories.push(Advisory { id, class, summary, date: date.unwrap_or_default(), ..Advisory::default() });
        self.apart_index.insert((id, vuln), at);
        self.closes(at, vuln);
        Ok(at)
    }

    /// The vendor's word on an advisory's severity, and whether it suggests a reboot; the higher word stays.
    pub fn urgent(&mut self, advisory: u32, urgency: Option<Urgency>, reboot: bool) {
        if let Some(record) = self.advisories.get_mut(advisory as usize) {
            record.urgency = record.urgency.max(urgency.map_or(0, |urgency| urgency as u8));
            record.flags |= if reboot { Advisory::REBOOT } else { 0 };
        }
    }

    /// Adds a VEX statement.
    ///
    /// # Errors
    /// Where it is too long, or there are too many.
    pub fn statement(&mut self, statement: &fother_core::vex::Statement) -> Result<(), String> {
        if self.statements.len() >= STATEMENTS_MAX {
            return Err(format!("more than {STATEMENTS_MAX} statements"));
        }
        let body = serde_json::to_string(statement).map_err(|error| error.to_string())?;
        let product = self.word(&statement.product.key())?;
        if body.len() > TEXT_BYTES_MAX {
            return Err(format!("a statement on {} is longer than {TEXT_BYTES_MAX} bytes", statement.product.label()));
        }
        let (body, feed) = (self.text.intern(&body), u32::from(self.feed()));
        self.statements.push(format::Statement { product, body, feed });
        Ok(())
    }

    /// Says that an advisory closes a vulnerability.
    pub fn closes(&mut self, advisory: u32, vuln: u32) {
        self.advisory_vulns.push((advisory, vuln));
    }

    /// A vulnerability by id.
    ///
    /// # Errors
    /// Where the id is unusable.
    pub fn vuln(&mut self, id: &str) -> Result<u32, String> {
        let next = u32::try_from(self.vulns.len()).map_err(|_| "too many vulnerabilities")?;
        let (at, record) = match cve_key(id) {
            Some(key) => (*self.cve_index.entry(key).or_insert(next), Vuln { key, cvss: Vuln::NO_SCORE, ..Vuln::default() }),
            None => {
                let id = self.word(id)?;
                (*self.other_index.entry(id).or_insert(next), Vuln { id, cvss: Vuln::NO_SCORE, ..Vuln::default() })
            }
        };
        if at == next {
            self.vulns.push(record);
        }
        Ok(at)
    }

    /// Changes what is known about a vulnerability.
    pub fn about(&mut self, vuln: u32, change: impl FnOnce(&mut Vuln)) {
        if let Some(record) = self.vulns.get_mut(vuln as usize) {
            change(record);
        }
    }

    /// Gives a vulnerability a title, unless it has one.
    pub fn title(&mut self, vuln: u32, title: &str) {
        if self.vulns.get(vuln as usize).is_some_and(|record| record.title == Text::default()) {
            let title = self.line(title);
            self.about(vuln, |record| record.title = title);
        }
    }

    /// Gives a vulnerability a CVSS vector; a newer version of CVSS beats an older one, then the higher score.
    pub fn vector(&mut self, vuln: u32, vector: &str) {
        let Some(score) = fother_core::cvss::score(vector) else { return };
        let Some(record) = self.vulns.get(vuln as usize) else { return };
        let version = |text: &str| fother_core::cvss::version(text);
        let old = self.text.get(record.vector);
        let better = old.is_empty() || (version(vector), score.0) > (version(old), record.cvss);
        if better {
            let text = self.line(vector);
            self.about(vuln, |record| (record.vector, record.cvss) = (text, score.0));
        }
    }

    /// Adds what is said about a package.
    ///
    /// # Errors
    /// Where a version is unusable or there are too many claims.
    pub fn claim(&mut self, package: u32, subject: Subject, statement: &Statement<'_>) -> Result<(), String> {
        if self.claims.len() >= CLAIMS_MAX {
            return Err(format!("more than {CLAIMS_MAX} claims"));
        }
        let claim = Claim {
            subject,
            introduced: self.word(statement.introduced)?,
            end: self.word(statement.end)?,
            status: statement.status,
            flags: statement.flags,
            feed: self.feed(),
            // A statement keeps its parts; its writer has bounded them.
            note: if Said::of_note(statement.note).is_some() { self.text.intern(statement.note) } else { self.line(statement.note) },
        };
        self.claims.push((package, claim));
        Ok(())
    }

    /// Adds a probability of exploitation.
    pub fn score(&mut self, epss: Epss) {
        self.epss.push(epss);
    }

    /// Adds what is said about the support of a package.
    ///
    /// # Errors
    /// Where the name is unusable.
    pub fn support(&mut self, release: u32, pattern: &str, ended: Day, version: &str, note: &str) -> Result<(), String> {
        let (pattern, version, note) = (self.word(pattern)?, self.word(version)?, self.line(note));
        let new = Support { release, pattern, ended, version, note };
        if !self.supports.contains(&new) {
            self.supports.push(new);
        }
        Ok(())
    }

    /// The database's bytes.
    ///
    /// # Errors
    /// Where it would be too large.
    pub fn finish(self, now: Timestamp) -> Result<Vec<u8>, String> {
        let mut out = io::Cursor::new(Vec::new());
        layout::write(self, now, &mut out)?;
        Ok(out.into_inner())
    }

    /// Writes the database into an empty file that can be read and written.
    ///
    /// # Errors
    /// Where it would be too large or cannot be written.
    pub fn finish_into(self, now: Timestamp, file: &mut std::fs::File) -> Result<Sealed, String> {
        layout::write(self, now, file)
    }
}

/// A file that takes the place of another at once: written beside it, made durable, renamed.
#[derive(Debug)]
pub struct Pending(tempfile::NamedTempFile);

impl Pending {
    /// Begins one beside `path`.
    ///
    /// # Errors
    /// Where the folder cannot be used.
    pub fn beside(path: &Path) -> io::Result<Self> {
        let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
        std::fs::create_dir_all(dir)?;
        tempfile::NamedTempFile::new_in(dir).map(Self)
    }

    /// The file to fill.
    pub fn file(&mut self) -> &mut std::fs::File {
        self.0.as_file_mut()
    }

    /// Puts it in the place of `path`.
    ///
    /// # Errors
    /// Where it cannot be made durable or renamed.
    pub fn place(self, path: &Path) -> io::Result<()> {
        let file = self.0;
        let mut permissions = file.as_file().metadata()?.permissions();
        std::os::unix::fs::PermissionsExt::set_mode(&mut permissions, 0o644);
        file.as_file().set_permissions(permissions)?;
        file.as_file().sync_all()?;
        file.persist(path).map_err(|error| error.error)?;
        let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
        std::fs::File::open(dir)?.sync_all()
    }
}

/// Puts bytes in a file's place at once.
///
/// # Errors
/// Where they cannot be written.
pub fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    use std::io::Write as _;
    let mut pending = Pending::beside(path)?;
    pending.file().write_all(bytes)?;
    pending.place(path)
}
