//! What vendors say about packages: the words of the advisory database, its format and its reader.
//!
//! [`format`] fixes the bytes, [`reader`] answers questions about them without parsing them first. Both are pure: bytes come
//! through [`Bytes`], a file's driver is elsewhere.

pub mod format;
pub mod reader;

use serde::{Deserialize, Serialize};
use std::fmt;

/// Where the database's bytes come from.
pub trait Bytes {
    /// Number of bytes.
    fn size(&self) -> u64;

    /// Fills `out` from `offset` on.
    ///
    /// # Errors
    /// Where the range is outside or cannot be read.
    fn read(&self, offset: u64, out: &mut [u8]) -> Result<(), String>;
}

impl Bytes for &[u8] {
    fn size(&self) -> u64 {
        self.len() as u64
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> Result<(), String> {
        let from = usize::try_from(offset).ok();
        let range = from.and_then(|from| self.get(from..from.checked_add(out.len())?));
        out.copy_from_slice(range.ok_or("it ends too early")?);
        Ok(())
    }
}

impl Bytes for Box<[u8]> {
    fn size(&self) -> u64 {
        self.len() as u64
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> Result<(), String> {
        (&**self).read(offset, out)
    }
}

/// What a vendor says about one package and one vulnerability. Numbers are written into the database and never change their meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[repr(u8)]
pub enum Status {
    /// A fixed version is published.
    Fixed = 1,
    /// Vulnerable, no fix yet.
    Open = 2,
    /// Vulnerable; the vendor will fix it without an advisory of its own (Debian: no DSA).
    NoAdvisory = 3,
    /// Vulnerable; the vendor will fix it with a later advisory.
    Postponed = 4,
    /// Vulnerable; the vendor will not fix it.
    Ignored = 5,
    /// Vulnerable; the package's support has ended.
    EndOfLife = 6,
    /// The vendor has not found out whether it is vulnerable.
    Undetermined = 7,
    /// The vendor says that it is not affected.
    NotAffected = 8,
}

impl Status {
    /// All, in the order of their numbers.
    pub const ALL: [Self; 8] =
        [Self::Fixed, Self::Open, Self::NoAdvisory, Self::Postponed, Self::Ignored, Self::EndOfLife, Self::Undetermined, Self::NotAffected];

    fn from_number(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|status| *status as u8 == number)
    }
}

/// The vendor's word on how severe an update is. Numbers are written into the database and never change their meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[repr(u8)]
pub enum Urgency {
    /// Low.
    Low = 1,
    /// Moderate, medium.
    Moderate = 2,
    /// Important, high.
    Important = 3,
    /// Critical.
    Critical = 4,
}

impl Urgency {
    /// All, in the order of their numbers.
    pub const ALL: [Self; 4] = [Self::Low, Self::Moderate, Self::Important, Self::Critical];

    /// From the word that vendors use; `None` where there is none or another.
    #[must_use]
    pub fn of_word(word: &str) -> Option<Self> {
        Some(match word.trim().to_ascii_lowercase().as_str() {
            "critical" => Self::Critical,
            "important" | "high" => Self::Important,
            "moderate" | "medium" => Self::Moderate,
            "low" => Self::Low,
            _ => return None,
        })
    }

    /// From its number in the database.
    #[must_use]
    pub fn of_number(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|urgency| *urgency as u8 == number)
    }
}

/// Who says that a package is not affected, why, and in which document: how a claim's note holds it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Said {
    /// Publisher or author.
    pub who: String,
    /// Justification and words.
    pub why: String,
    /// The document's id.
    pub document: String,
}

impl Said {
    /// Parts are joined by a unit separator (ASCII 31), which no other note has.
    const SEPARATOR: char = '\u{1f}';

    /// As a note.
    #[must_use]
    pub fn note(&self) -> String {
        [&self.who, &self.why, &self.document].map(|part| part.replace(|c: char| c.is_control(), " ")).join("\u{1f}")
    }

    /// From a note; `None` for a vendor's plain remark.
    #[must_use]
    pub fn of_note(note: &str) -> Option<Self> {
        let mut parts = note.split(Self::SEPARATOR).map(str::to_owned);
        let (who, why, document) = (parts.next()?, parts.next()?, parts.next()?);
        Some(Self { who, why, document })
    }
}

/// A day, counted from 1970-01-01; 0 where none is known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Day(pub u32);

impl Day {
    /// From the start of an RFC 3339 text: `2026-08-21…`; `None` for other texts and for years before 1970.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let number = |range: std::ops::Range<usize>| {
            text.get(range).filter(|t| t.bytes().all(|b| b.is_ascii_digit())).and_then(|t| t.parse::<i16>().ok())
        };
        let (bytes, year, month, day) = (text.as_bytes(), number(0..4)?, number(5..7)?, number(8..10)?);
        if bytes.get(4) != Some(&b'-') || bytes.get(7) != Some(&b'-') {
            return None;
        }
        let date = jiff::civil::Date::new(year, i8::try_from(month).ok()?, i8::try_from(day).ok()?).ok()?;
        let days = date.since((jiff::Unit::Day, jiff::civil::date(1970, 1, 1))).ok()?.get_days();
        u32::try_from(days).ok().map(Self)
    }

    /// The day of an instant.
    #[must_use]
    pub fn of(at: crate::Timestamp) -> Self {
        Self(u32::try_from(at.ms() / 86_400_000).unwrap_or(u32::MAX))
    }

    /// Days from `earlier` to this one; 0 if it is not later.
    #[must_use]
    pub fn since(self, earlier: Self) -> u32 {
        self.0.saturating_sub(earlier.0)
    }

    /// Whether a day is known at all.
    #[must_use]
    pub fn is_known(self) -> bool {
        self.0 != 0
    }
}

impl fmt::Display for Day {
    /// `2026-08-21`, or `unknown`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let date = i64::from(self.0).checked_mul(86_400).and_then(|s| jiff::Timestamp::from_second(s).ok());
        match date.filter(|_| self.is_known()) {
            Some(date) => write!(f, "{}", jiff::tz::Offset::UTC.to_datetime(date).date()),
            None => f.write_str("unknown"),
        }
    }
}

impl Serialize for Day {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.is_known() { serializer.collect_str(self) } else { serializer.serialize_none() }
    }
}

/// A CVE id as one number that sorts as the ids do: years since 1999 in 6 bits, the number in 26. `None` for other ids.
#[must_use]
pub fn cve_key(id: &str) -> Option<u32> {
    let (year, number) = id.strip_prefix("CVE-")?.split_once('-')?;
    // `CVE-2026-00012345` is another text than `CVE-2026-12345`, and no CVE's id.
    let padded = number.len() > 4 && number.starts_with('0');
    if number.len() < 4 || padded || !number.bytes().all(|b| b.is_ascii_digit()) || !year.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let years = year.parse::<u32>().ok().filter(|_| year.len() == 4)?.checked_sub(1999).filter(|years| *years < 64)?;
    let number = number.parse::<u32>().ok().filter(|number| *number < 1 << 26)?;
    Some(years << 26 | number)
}

/// The id of a [`cve_key`].
#[must_use]
pub fn cve_text(key: u32) -> String {
    format!("CVE-{}-{:04}", 1999 + (key >> 26), key & ((1 << 26) - 1))
}

/// Public knowledge on how a vulnerability is used, as bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Exploits(pub u8);

impl Exploits {
    /// In CISA's catalogue of known exploited vulnerabilities.
    pub const KEV: u8 = 1;
    /// Known to be used by ransomware.
    pub const RANSOMWARE: u8 = 2;
    /// A Metasploit module.
    pub const METASPLOIT: u8 = 4;
    /// A Nuclei template.
    pub const NUCLEI: u8 = 8;
    /// An entry in Exploit-DB.
    pub const EXPLOIT_DB: u8 = 16;
    /// Known to be exploited by another catalogue than CISA's.
    pub const EXPLOITED_ELSEWHERE: u8 = 32;

    /// Whether all of `bits` are set.
    #[must_use]
    pub fn has(self, bits: u8) -> bool {
        self.0 & bits == bits
    }

    /// Their names.
    #[must_use]
    pub fn names(self) -> Vec<&'static str> {
        let all = [
            (Self::KEV, "KEV"),
            (Self::RANSOMWARE, "ransomware"),
            (Self::METASPLOIT, "Metasploit"),
            (Self::NUCLEI, "Nuclei"),
            (Self::EXPLOIT_DB, "Exploit-DB"),
            (Self::EXPLOITED_ELSEWHERE, "exploited"),
        ];
        all.into_iter().filter(|(bit, _)| self.has(*bit)).map(|(_, name)| name).collect()
    }
}

/// CISA's SSVC decision points of one vulnerability; `None` is not assessed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ssvc {
    /// 0 none, 1 proof of concept, 2 active.
    pub exploitation: Option<u8>,
    /// Whether an attack can be automated.
    pub automatable: Option<bool>,
    /// Whether the technical impact is total.
    pub total_impact: Option<bool>,
}

impl Ssvc {
    /// Two bits each, 0 for what is not assessed.
    #[must_use]
    pub fn pack(self) -> u8 {
        let two = |value: Option<bool>| value.map_or(0, |v| 1 + u8::from(v));
        self.exploitation.map_or(0, |e| e.min(2) + 1) | two(self.automatable) << 2 | two(self.total_impact) << 4
    }

    /// The reverse of [`Ssvc::pack`].
    #[must_use]
    pub fn unpack(bits: u8) -> Self {
        let two = |shift: u8| match bits >> shift & 3 {
            1 => Some(false),
            2 => Some(true),
            _ => None,
        };
        Self { exploitation: (bits & 3).checked_sub(1), automatable: two(2), total_impact: two(4) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_pack_in_their_order_and_come_back() {
        let ids = ["CVE-1999-0001", "CVE-2014-9999", "CVE-2014-1000001", "CVE-2026-0042", "CVE-2026-123456"];
        let keys: Vec<u32> = ids.iter().map(|id| cve_key(id).unwrap()).collect();
        assert!(keys.is_sorted());
        for other in ["CVE-2026-00000042", "CVE-2026-00123456", "CVE-+026-0042", "CVE-2026-042"] {
            assert_eq!(cve_key(other), None, "{other} is another text, and would be taken for one of them");
        }
        assert_eq!(keys.iter().map(|key| cve_text(*key)).collect::<Vec<_>>(), ids);
        for other in ["CVE-2014-1", "CVE-2014-0x01", "GHSA-x", "CVE-1998-0001", "CVE-2014-99999999999"] {
            assert_eq!(cve_key(other), None, "{other}");
        }
    }

    #[test]
    fn days_are_read_and_written() {
        assert_eq!(Day::parse("2026-08-21T00:00:00Z").map(|d| d.to_string()).as_deref(), Some("2026-08-21"));
        assert_eq!(Day::parse("1970-01-02"), Some(Day(1)));
        assert_eq!(Day::parse("0001-01-01T00:00:00Z"), None);
        assert_eq!(Day::parse("2026-13-01"), None);
        assert_eq!(Day(0).to_string(), "unknown");
    }

    #[test]
    fn decision_points_pack_and_come_back() {
        for exploitation in [None, Some(0), Some(1), Some(2)] {
            for automatable in [None, Some(false), Some(true)] {
                for total_impact in [None, Some(false), Some(true)] {
                    let points = Ssvc { exploitation, automatable, total_impact };
                    assert_eq!(Ssvc::unpack(points.pack()), points);
                }
            }
        }
    }
}
