//! Foreign text made safe to show: whatever a host reports is hostile.

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

#[cfg(test)]
mod tests {
    use super::{printable, stored};

    #[test]
    fn what_is_stored_fits_whatever_it_holds() {
        for text in ["\"".repeat(50), "\u{1}\\\"é".repeat(50), "x".repeat(50)] {
            let json = serde_json::to_string(&stored(&text, 41)).unwrap();
            assert!(json.len() <= 43, "{json}");
        }
        assert_eq!(stored("abc", 41), "abc");
    }

    #[test]
    fn terminal_sequences_and_overrides_cannot_act() {
        assert_eq!(printable("a\x1b[2Jb\u{202e}c", 99), "a\\u{1b}[2Jb\\u{202e}c");
        assert_eq!(printable("abcdef", 3), "abc…");
    }
}
