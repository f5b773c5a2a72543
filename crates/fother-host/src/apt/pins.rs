//! Pins (apt_preferences(5)): `/etc/apt/preferences` and `preferences.d` of a root. Reads files of the root only.

use super::{conf::part_files, pattern::Pattern};
use crate::root::Root;
use fother_core::{
    deb822::{Stanza, stanzas},
    text::printable,
};

const MAIN: &str = "/etc/apt/preferences";
const PARTS: &str = "/etc/apt/preferences.d";
const PREFERENCES_BYTES_MAX: usize = 1 << 20;
/// Most pins that are read.
pub const PINS_MAX: usize = 10_000;
/// The priority of `Pin-Priority: never`.
pub const NEVER: i32 = i16::MIN as i32;

/// What one index says about the archive that it comes from, as pins see it. Empty where the archive says nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Archive {
    /// `Suite` (`a=`).
    pub suite: String,
    /// `Codename` (`n=`).
    pub codename: String,
    /// `Version` (`v=`).
    pub version: String,
    /// `Origin` (`o=`).
    pub origin: String,
    /// `Label` (`l=`).
    pub label: String,
    /// Component (`c=`).
    pub component: String,
    /// Architecture (`b=`).
    pub arch: String,
    /// Host of the address (`Pin: origin`).
    pub site: String,
    /// `NotAutomatic: yes`.
    pub not_automatic: bool,
    /// `ButAutomaticUpgrades: yes`.
    pub but_automatic_upgrades: bool,
    /// dpkg's own status file: what is installed.
    pub is_status: bool,
}

impl Archive {
    /// dpkg's status file, as apt counts it among the indexes.
    #[must_use]
    pub fn status() -> Self {
        Self { suite: "now".into(), is_status: true, ..Self::default() }
    }
}

/// What a pin asks of a version.
#[derive(Clone, Debug)]
pub enum Criterion {
    /// The version's text.
    Version(Pattern),
    /// Fields of the Release file, by their letter.
    Release(Vec<(char, Pattern)>),
    /// Suite, codename or version, without a letter.
    Named(Pattern),
    /// Every archive.
    All,
    /// Host of the archive; empty for local files.
    Origin(Pattern),
}

/// One pin for one package pattern.
#[derive(Clone, Debug)]
pub struct Pin {
    /// Package name; `None` for `Package: *`.
    pub name: Option<Pattern>,
    /// The name is a source package's.
    pub is_source: bool,
    /// Architecture after a colon.
    pub arch: Option<String>,
    /// Condition.
    pub criterion: Criterion,
    /// Priority, never 0.
    pub priority: i32,
}

/// All pins in apt's order: the first that fits wins.
#[derive(Clone, Debug, Default)]
pub struct Pins {
    /// In order.
    pub pins: Vec<Pin>,
    /// What could not be read, by name with the reason.
    pub unknown: Vec<String>,
}

impl Pins {
    /// Reads a root's pins.
    #[must_use]
    pub fn read(root: &Root) -> Self {
        let mut pins = Self::default();
        let mut files = vec![MAIN.to_owned()];
        match root.names(PARTS) {
            Ok(names) => files.extend(part_files(&names, "pref").map(|name| format!("{PARTS}/{name}"))),
            Err(error) => pins.unknown.push(format!("pins: {error}")),
        }
        for file in files {
            match root.text_if_there(&file, PREFERENCES_BYTES_MAX) {
                Ok(Some(text)) => pins.take(&file, &text),
                Ok(None) => {}
                Err(error) => pins.unknown.push(format!("pins: {error}")),
            }
        }
        pins
    }

    /// Adds the pins of one file's text.
    pub fn take(&mut self, file: &str, text: &str) {
        let lines: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
        for stanza in stanzas(&format!("{}\n", lines.join("\n"))).map(Stanza::parse) {
            if self.pins.len() >= PINS_MAX {
                self.unknown.push(format!("pins beyond the first {PINS_MAX}"));
                return;
            }
            if let Err(why) = self.take_stanza(&stanza) {
                let name = printable(stanza.get("Package").unwrap_or("without Package"), 80);
                self.unknown.push(format!("pin {name} in {file}: {why}"));
            }
        }
    }

    fn take_stanza(&mut self, stanza: &Stanza<'_>) -> Result<(), String> {
        let Some(pin) = stanza.get("Pin") else {
            return if stanza.fields().next().is_none() { Ok(()) } else { Err("it has no Pin".into()) };
        };
        let names = stanza.get("Package").ok_or("it has no Package")?;
        let priority = match stanza.get("Pin-Priority") {
            Some("never") if names == "*" => NEVER,
            Some("never") => return Err("`never` is for `Package: *` only; apt refuses the file".into()),
            Some(text) => text.parse::<i32>().unwrap_or(0).clamp(NEVER + 1, i32::from(i16::MAX)),
            None => 0,
        };
        if priority == 0 {
            return Err("its Pin-Priority is missing or 0".into());
        }
        for name in names.split_whitespace() {
            let criterion = Criterion::parse(pin)?;
            if name == "*" {
                if !matches!(criterion, Criterion::Version(_)) {
                    self.pins.push(Pin { name: None, is_source: false, arch: None, criterion, priority });
                }
                continue;
            }
            let (is_source, name) = name.strip_prefix("src:").map_or((false, name), |name| (true, name));
            let (name, arch) = match name.rsplit_once(':') {
                Some((name, arch)) if !name.starts_with('/') => (name, Some(arch.to_owned())),
                _ => (name, None),
            };
            self.pins.push(Pin { name: Some(Pattern::parse(name)?), is_source, arch, criterion, priority });
        }
        Ok(())
    }
}

impl Criterion {
    fn parse(text: &str) -> Result<Self, String> {
        let (kind, data) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
        let data = data.trim();
        match kind.to_ascii_lowercase().as_str() {
            "version" => Pattern::parse(data).map(Self::Version),
            "origin" => {
                let bare = data.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(data);
                Pattern::parse(bare).map(Self::Origin)
            }
            "release" => Self::release(data),
            _ => Err(format!("its type `{}` is not known", printable(kind, 40))),
        }
    }

    /// The text after `Pin: release`, also `APT::Default-Release`.
    ///
    /// # Errors
    /// Where it is malformed.
    pub fn release(data: &str) -> Result<Self, String> {
        if data == "*" {
            return Ok(Self::All);
        }
        if !data.contains('=') {
            return Pattern::parse(data).map(Self::Named);
        }
        let mut fields = Vec::new();
        for part in data.split(',').map(str::trim).filter(|part| part.len() > 2) {
            let Some((letter, value)) = part.split_once('=') else { continue };
            match letter.trim().to_ascii_lowercase().as_str() {
                known @ ("v" | "o" | "a" | "n" | "l" | "c" | "b") => {
                    fields.push((known.chars().next().unwrap_or('?'), Pattern::parse(value.trim())?));
                }
                other => return Err(format!("its field `{}` is not known", printable(other, 40))),
            }
        }
        Ok(Self::Release(fields))
    }

    /// Whether an archive fits. A [`Criterion::Version`] fits no archive.
    #[must_use]
    pub fn fits(&self, archive: &Archive) -> bool {
        let hit = |pattern: &Pattern, value: &str| !value.is_empty() && pattern.matches(value);
        match self {
            Self::Version(_) => false,
            Self::All => true,
            Self::Named(name) => hit(name, &archive.suite) || hit(name, &archive.codename) || hit(name, &archive.version),
            Self::Origin(host) if archive.site.is_empty() => !archive.is_status && host.matches(""),
            Self::Origin(host) => host.matches(&archive.site),
            Self::Release(fields) => {
                let value = |letter| match letter {
                    'v' => &archive.version,
                    'o' => &archive.origin,
                    'a' => &archive.suite,
                    'n' => &archive.codename,
                    'l' => &archive.label,
                    'c' => &archive.component,
                    _ => &archive.arch,
                };
                !fields.is_empty() && fields.iter().all(|(letter, pattern)| hit(pattern, value(*letter)))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_lists_of_packages_and_odd_pins_are_read() {
        let mut pins = Pins::default();
        pins.take("p", "# comment\nPackage: a b\nPin: release o=Debian, n=bookworm\nPin-Priority: 700\n\n\nPackage: c\nPin: magic x\nPin-Priority: 5\n\nPackage: d\nPin: release *\n");
        assert_eq!(pins.pins.len(), 2);
        assert_eq!(pins.unknown.len(), 2, "{:?}", pins.unknown);
        let debian = Archive { origin: "Debian".into(), codename: "bookworm".into(), ..Archive::default() };
        assert!(pins.pins[0].criterion.fits(&debian));
        assert!(!pins.pins[0].criterion.fits(&Archive { codename: String::new(), ..debian }));
    }

    #[test]
    fn an_empty_origin_means_local_files_but_not_the_status_file() {
        let local = Criterion::parse("origin \"\"").unwrap();
        assert!(local.fits(&Archive::default()));
        assert!(!local.fits(&Archive::status()));
        assert!(!local.fits(&Archive { site: "archive.test".into(), ..Archive::default() }));
    }
}
