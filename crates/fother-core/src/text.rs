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

#[cfg(test)]
mod tests {
    use super::printable;

    #[test]
    fn terminal_sequences_and_overrides_cannot_act() {
        assert_eq!(printable("a\x1b[2Jb\u{202e}c", 99), "a\\u{1b}[2Jb\\u{202e}c");
        assert_eq!(printable("abcdef", 3), "abc…");
    }
}
