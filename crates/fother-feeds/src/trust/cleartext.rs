//! The cleartext signature framework (RFC 9580 section 7), read strictly; pure.

use super::TrustError;

const BEGIN: &str = "-----BEGIN PGP SIGNED MESSAGE-----";
const SIGNATURE: &str = "-----BEGIN PGP SIGNATURE-----";
const END: &str = "-----END PGP SIGNATURE-----";

/// A signed message taken apart: nothing stands before, between or after its two parts.
pub(super) struct Cleartext<'a> {
    /// Lines without dash escapes and without white space at their ends: exactly what is signed.
    pub lines: Vec<&'a str>,
    /// The armored signatures, with their first and last line.
    pub armor: &'a str,
}

impl<'a> Cleartext<'a> {
    /// Takes `text` apart.
    pub fn parse(text: &'a str) -> Result<Self, TrustError> {
        let mut rest = text;
        let first = line(&mut rest);
        if first != Some(BEGIN) {
            return Err(TrustError::NotSigned);
        }
        headers(&mut rest)?;
        let mut lines = Vec::new();
        let armor = loop {
            let here = rest;
            match line(&mut rest) {
                None => return Err(malformed("its signature is missing: the file is cut short")),
                Some(SIGNATURE) => break here,
                Some(line) if line.starts_with('-') => {
                    let escaped = line.strip_prefix("- ").ok_or_else(|| malformed("a line starts with a dash that is not escaped"))?;
                    lines.push(trimmed(escaped));
                }
                Some(line) => lines.push(trimmed(line)),
            }
        };
        let end = loop {
            match line(&mut rest) {
                None => return Err(malformed("the end of its signature is missing: the file is cut short")),
                Some(END) => break armor.len() - rest.len(),
                Some(line) if line.starts_with('-') => return Err(malformed("something else stands inside its signature")),
                Some(_) => {}
            }
        };
        if !rest.trim().is_empty() {
            return Err(malformed("there is text after the signature"));
        }
        Ok(Self { lines, armor: &armor[..end] })
    }

    /// What the signature's hash covers: the lines joined by CR LF, none after the last.
    pub fn hashed(&self) -> String {
        self.lines.join("\r\n")
    }

    /// The signed text for readers, every line ended by a line feed.
    pub fn text(&self) -> String {
        let mut text = self.lines.join("\n");
        text.push('\n');
        text
    }
}

/// The armor's `Hash:` lines up to the first empty line; any other header could carry text that looks signed.
fn headers(rest: &mut &str) -> Result<(), TrustError> {
    loop {
        match line(rest) {
            Some("") => return Ok(()),
            Some(header) if header.starts_with("Hash: ") => {}
            _ => return Err(malformed("its armor has a header other than Hash")),
        }
    }
}

/// The next line without its end.
fn line<'a>(rest: &mut &'a str) -> Option<&'a str> {
    if rest.is_empty() {
        return None;
    }
    let (line, tail) = rest.split_once('\n').unwrap_or((rest, ""));
    *rest = tail;
    Some(line.strip_suffix('\r').unwrap_or(line))
}

fn trimmed(line: &str) -> &str {
    line.trim_end_matches([' ', '\t', '\r'])
}

fn malformed(why: &'static str) -> TrustError {
    TrustError::Malformed { why }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(body: &str) -> String {
        format!("{BEGIN}\nHash: SHA256\n\n{body}{SIGNATURE}\n\nAAAA\n{END}\n")
    }

    #[test]
    fn dash_escapes_and_white_space_at_line_ends_are_taken_off() {
        let text = message("a  \n- -----b\n\nc\t\r\n");
        let clear = Cleartext::parse(&text).unwrap();
        assert_eq!(clear.hashed(), "a\r\n-----b\r\n\r\nc");
        assert_eq!(clear.text(), "a\n-----b\n\nc\n");
        assert!(clear.armor.starts_with(SIGNATURE) && clear.armor.ends_with(&format!("{END}\n")));
    }

    #[test]
    fn text_outside_of_the_signed_part_is_refused() {
        let good = message("a\n");
        assert!(matches!(Cleartext::parse(&format!("x\n{good}")), Err(TrustError::NotSigned)));
        for bad in [
            format!("{good}x\n"),
            good.replace("Hash: SHA256", "Comment: x"),
            good.replace("a\n", "a\n-x\n"),
            good.replace(END, ""),
            good.replace(SIGNATURE, ""),
            good.replace("AAAA", BEGIN),
        ] {
            assert!(matches!(Cleartext::parse(&bad), Err(TrustError::Malformed { .. })), "{bad}");
        }
    }
}
