//! iCalendar (RFC 5545): openings and appointments for people's calendars. Writes only; pure.

use crate::{Timestamp, window::Interval};

/// Longest line, in octets, without its end (section 3.1).
const LINE_OCTETS_MAX: usize = 75;

/// One appointment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Unique, and the same whenever the same is written again.
    pub uid: String,
    /// When.
    pub time: Interval,
    /// One line.
    pub summary: String,
    /// More of it.
    pub description: String,
}

/// A calendar of these; `stamp` says when it was made.
#[must_use]
pub fn calendar(name: &str, events: &[Event], stamp: Timestamp) -> String {
    let mut out = String::new();
    let mut line = |text: &str| fold(&mut out, text);
    line("BEGIN:VCALENDAR");
    line("VERSION:2.0");
    line("PRODID:-//Fother//Fother//EN");
    line(&format!("X-WR-CALNAME:{}", escaped(name)));
    for event in events {
        line("BEGIN:VEVENT");
        line(&format!("UID:{}@fother", escaped(&event.uid)));
        line(&format!("DTSTAMP:{}", utc(stamp)));
        line(&format!("DTSTART:{}", utc(event.time.start)));
        line(&format!("DTEND:{}", utc(event.time.end)));
        line(&format!("SUMMARY:{}", escaped(&event.summary)));
        line(&format!("DESCRIPTION:{}", escaped(&event.description)));
        line("TRANSP:TRANSPARENT");
        line("END:VEVENT");
    }
    line("END:VCALENDAR");
    out
}

/// `20260104T000000Z` (section 3.3.5, form 2).
fn utc(time: Timestamp) -> String {
    time.to_string()[..19].replace(['-', ':'], "") + "Z"
}

/// TEXT (section 3.3.11); other control characters are left out.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\\' | ';' | ',' => out.extend(['\\', c]),
            '\n' => out.push_str("\\n"),
            c if c.is_control() => {}
            c => out.push(c),
        }
    }
    out
}

/// Writes a line, folded where it is too long.
fn fold(out: &mut String, text: &str) {
    let mut room = LINE_OCTETS_MAX;
    for c in text.chars() {
        if c.len_utf8() > room {
            out.push_str("\r\n ");
            room = LINE_OCTETS_MAX - 1;
        }
        room -= c.len_utf8();
        out.push(c);
    }
    out.push_str("\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_calendar_has_short_lines_and_nobody_breaks_out_of_them() {
        let time = Interval { start: Timestamp(0), end: Timestamp(3_600_000), last_start: Timestamp(3_600_000) };
        let event =
            Event { uid: "night-0".to_owned(), time, summary: "web; 3 hosts, all\r\nEND:VEVENT".to_owned(), description: "ü".repeat(100) };
        let text = calendar("Fother", &[event], Timestamp(1_700_000_000_120));
        assert!(text.contains("DTSTART:19700101T000000Z\r\nDTEND:19700101T010000Z\r\n"), "{text}");
        assert!(text.contains("DTSTAMP:20231114T221320Z"), "{text}");
        assert!(text.contains("SUMMARY:web\\; 3 hosts\\, all\\nEND:VEVENT\r\n"), "{text}");
        assert!(text.split("\r\n").all(|line| line.len() <= LINE_OCTETS_MAX), "{text}");
        assert_eq!(text.matches("\r\nEND:VEVENT\r\n").count(), 1);
        assert_eq!(text.matches('\n').count(), text.matches("\r\n").count());
    }
}
