//! Debian control data: stanzas of `Field: value` lines (deb822(5), Debian Policy section 5.1).

/// One stanza, its fields in the order of the file; names compare without case.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stanza<'a> {
    fields: Vec<(&'a str, &'a str)>,
}

impl<'a> Stanza<'a> {
    /// The raw value of a field, trimmed; continuation lines are kept with their leading space.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&'a str> {
        self.fields.iter().find(|(field, _)| field.eq_ignore_ascii_case(name)).map(|(_, value)| *value)
    }

    /// All fields in order.
    pub fn fields(&self) -> impl Iterator<Item = (&'a str, &'a str)> + '_ {
        self.fields.iter().copied()
    }

    /// Parses one stanza's text (no blank line inside). Lines that are no field are passed over.
    #[must_use]
    pub fn parse(text: &'a str) -> Self {
        let mut fields: Vec<(&'a str, usize, usize)> = Vec::new();
        let (mut offset, mut open) = (0, false);
        while offset < text.len() {
            let end = memchr::memchr(b'\n', &text.as_bytes()[offset..]).map_or(text.len(), |at| offset + at + 1);
            let line = &text[offset..end];
            if line.starts_with([' ', '\t']) {
                if let Some(last) = fields.last_mut().filter(|_| open) {
                    last.2 = end;
                }
            } else if !line.starts_with('#') {
                // What continues a line that is no field belongs to no field.
                let colon = memchr::memchr(b':', line.as_bytes());
                open = colon.is_some();
                fields.extend(colon.map(|colon| (line[..colon].trim_end(), offset + colon + 1, end)));
            }
            offset = end;
        }
        Self { fields: fields.into_iter().map(|(name, from, to)| (name, text[from..to].trim())).collect() }
    }
}

/// The raw text of each stanza, without its blank lines.
pub fn stanzas(text: &str) -> impl Iterator<Item = &str> {
    let (mut rest, blank) = (text, memchr::memmem::Finder::new(b"\n\n"));
    std::iter::from_fn(move || {
        rest = rest.trim_start_matches(['\n', '\r']);
        if rest.is_empty() {
            return None;
        }
        let end = blank.find(rest.as_bytes()).map_or(rest.len(), |at| at + 1);
        let (stanza, tail) = rest.split_at(end);
        rest = tail;
        Some(stanza)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_continues_a_line_that_is_no_field_belongs_to_no_field() {
        let stanza = Stanza::parse("Package: d\nx\n y\nVersion: 1\n");
        assert_eq!((stanza.get("Package"), stanza.get("Version")), (Some("d"), Some("1")));
    }

    #[test]
    fn stanzas_and_continuations_are_read() {
        let text = "\nPackage: a\nDepends: b,\n c\nDescription: x\n long\n .\n more\n\n\nPackage: d\n";
        let all: Vec<_> = stanzas(text).map(Stanza::parse).collect();
        assert_eq!(all.len(), 2);
        assert_eq!(all[0].get("package"), Some("a"));
        assert_eq!(all[0].get("Depends"), Some("b,\n c"));
        assert_eq!(all[1].get("Package"), Some("d"));
        assert_eq!(all[1].get("Depends"), None);
    }
}
