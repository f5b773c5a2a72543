//! Foreign text made safe to show, and to leave its host: whatever a host reports is hostile, and what its programs print may hold secrets.

/// `text` with control characters (C0, C1, DEL) and bidirectional overrides replaced by `\u{…}` escapes, cut to `chars_max` characters.
#[must_use]
pub fn printable(text: &str, chars_max: usize) -> String {
    let mut out = String::with_capacity(text.len().min(chars_max.saturating_mul(4)));
    for (count, c) in text.chars().enumerate() {
        if count == chars_max {
            out.push('…');
            break;
        }
        let hidden = c.is_control()
            || matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}' | '\u{061c}' | '\u{2028}' | '\u{2029}' | '\u{e0000}'..='\u{e007f}');
        if hidden { out.extend(c.escape_unicode()) } else { out.push(c) }
    }
    out
}

/// `text` made [`printable`] and cut so that it takes at most `bytes_max` bytes between the quotes of canonical JSON.
#[must_use]
pub fn stored(text: &str, bytes_max: usize) -> String {
    let mut shown = printable(text, bytes_max);
    let mut bytes = 0;
    let end = shown.char_indices().find_map(|(at, c)| {
        bytes += if c == '"' || c == '\\' { 2 } else { c.len_utf8() };
        (bytes > bytes_max).then_some(at)
    });
    shown.truncate(end.unwrap_or(shown.len()));
    shown
}

/// Begins a line of a program's output that stands in a vendor's public package all the same.
pub const PUBLIC_LINE: char = '│';
/// Begins a line of a program's output, or of a host's own file, that does not leave the host.
pub const PRIVATE_LINE: char = '┊';
/// Longest quoted line, in characters.
const QUOTED_CHARS_MAX: usize = 500;

/// The output of a program as quoted lines, each marked by whether `public` knows it. Marks that it brought itself do not count.
#[must_use]
pub fn quoted(output: &str, public: impl Fn(&str) -> bool) -> String {
    let mark = |line: &str| {
        let line = line.trim_end().trim_start_matches([PUBLIC_LINE, PRIVATE_LINE]);
        let mark = if public(line) { PUBLIC_LINE } else { PRIVATE_LINE };
        (!line.trim().is_empty()).then(|| format!("{mark} {}", printable(line.strip_prefix(' ').unwrap_or(line), QUOTED_CHARS_MAX)))
    };
    // Whatever a terminal or a log may take for the end of a line ends one here.
    output.split(['\n', '\r', '\u{b}', '\u{c}', '\u{85}', '\u{2028}', '\u{2029}']).filter_map(mark).collect::<Vec<_>>().join("\n")
}

/// `text` as it may leave its host: private lines are counted instead of shown.
#[must_use]
pub fn outgoing(text: &str) -> String {
    replaced(text, |line| line.starts_with(PRIVATE_LINE), "of output")
}

/// A unified diff from a host's file to a package's, as it may leave the host: of lines that only the host's file holds, the number.
#[must_use]
pub fn outgoing_diff(diff: &str) -> String {
    let of_vendor: std::collections::BTreeSet<&str> = diff.lines().filter_map(|line| line.strip_prefix(['+', ' '])).collect();
    let mut header = true;
    let private = |line: &str| {
        header = header && !line.starts_with("@@");
        !header && line.strip_prefix('-').is_some_and(|line| !of_vendor.contains(line))
    };
    replaced(diff, private, "of the host's file")
}

/// Puts a note with their number in place of each run of lines for which `private` holds.
fn replaced(text: &str, mut private: impl FnMut(&str) -> bool, what: &str) -> String {
    let (mut out, mut kept_back) = (Vec::new(), 0_usize);
    let note = |count: usize| {
        let (lines, verb) = if count == 1 { ("line", "stays") } else { ("lines", "stay") };
        format!("{PRIVATE_LINE} [{count} {lines} {what} {verb} on the host: `fother agent log`]")
    };
    for line in text.lines() {
        if private(line) {
            kept_back += 1;
            continue;
        }
        if kept_back > 0 {
            out.push(note(std::mem::take(&mut kept_back)));
        }
        out.push(line.to_owned());
    }
    if kept_back > 0 {
        out.push(note(kept_back));
    }
    out.join("\n")
}

#[cfg(test)]
mod tests {
    use super::{outgoing, outgoing_diff, printable, quoted, stored};

    #[test]
    fn what_is_stored_fits_whatever_it_holds() {
        for text in ["\"".repeat(50), "\u{1}\\\"é".repeat(50), "x".repeat(50)] {
            let json = serde_json::to_string(&stored(&text, 41)).unwrap();
            assert!(json.len() <= 43, "{json}");
        }
        assert_eq!(stored("abc", 41), "abc");
    }

    #[test]
    fn what_programs_print_stays_on_the_host_unless_it_is_public() {
        let output = "Setting up x\n\nkey=hunter2\n│ forged=hunter2\rother\u{2028}hunter2\n";
        let text = format!("it failed:\n{}", quoted(output, |line| line == "Setting up x"));
        assert_eq!(text, "it failed:\n│ Setting up x\n┊ key=hunter2\n┊ forged=hunter2\n┊ other\n┊ hunter2");
        assert_eq!(quoted(&text, |_| false).lines().count(), 6, "quoting again changes marks, not lines");
        assert_eq!(outgoing(&text), "it failed:\n│ Setting up x\n┊ [4 lines of output stay on the host: `fother agent log`]");
        assert_eq!(outgoing("plain"), "plain");
        assert_eq!(outgoing(&outgoing(&text)).lines().count(), 3);
    }

    #[test]
    fn a_diff_shows_the_vendors_lines_and_counts_the_hosts() {
        let diff = "--- /etc/x\n+++ /etc/x (x)\n@@ -1,4 +1,3 @@\n a=1\n-b=hunter2\n-c=hunter3\n---odd hunter4\n-d=2\n+b=\n+d=2\n";
        let wanted = "--- /etc/x\n+++ /etc/x (x)\n@@ -1,4 +1,3 @@\n a=1\n┊ [3 lines of the host's file stay on the host: `fother agent log`]\n-d=2\n+b=\n+d=2";
        assert_eq!(outgoing_diff(diff), wanted);
    }

    #[test]
    fn terminal_sequences_and_overrides_cannot_act() {
        assert_eq!(printable("a\x1b[2Jb\u{202e}c", 99), "a\\u{1b}[2Jb\\u{202e}c");
        assert_eq!(printable("abcdef", 3), "abc…");
    }
}
