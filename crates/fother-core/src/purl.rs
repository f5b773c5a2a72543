//! Package URLs: reading, the canonical form and the rules of each type (package-url/purl-spec, ECMA-427).

use std::{collections::BTreeMap, fmt};

/// Longest package URL that is read, in bytes.
pub const PURL_BYTES_MAX: usize = 8 << 10;

/// A package URL in its parts, decoded and normalised.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Purl {
    /// Type, lower case: `deb`, `rpm`, `cargo`.
    pub kind: String,
    /// Namespace: a distribution, an organisation; its segments joined by `/`.
    pub namespace: Option<String>,
    /// Name.
    pub name: String,
    /// Version.
    pub version: Option<String>,
    /// Qualifiers; empty ones are left out.
    pub qualifiers: BTreeMap<String, String>,
    /// Path inside the package.
    pub subpath: Option<String>,
}

/// Why a text is no package URL.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a package URL: {why}")]
pub struct ParseError {
    text: String,
    why: &'static str,
}

impl Purl {
    /// One qualifier's value.
    #[must_use]
    pub fn qualifier(&self, key: &str) -> Option<&str> {
        self.qualifiers.get(key).map(String::as_str)
    }

    /// Reads a package URL, normalising what the specification lets a reader normalise (case of type and keys, empty segments).
    ///
    /// # Errors
    /// Where the text is no package URL or breaks its type's rules.
    pub fn parse(text: &str) -> Result<Self, ParseError> {
        let fail = |why| ParseError { text: crate::text::printable(text, 120), why };
        if text.len() > PURL_BYTES_MAX {
            return Err(fail("it is too long"));
        }
        let rest = text.strip_prefix("pkg:").ok_or_else(|| fail("it does not start with `pkg:`"))?.trim_start_matches('/');
        let (rest, subpath) = rest.split_once('#').map_or((rest, None), |(r, s)| (r, Some(s)));
        let (rest, query) = rest.split_once('?').map_or((rest, ""), |(r, q)| (r, q));
        let (kind, path) = rest.split_once('/').ok_or_else(|| fail("it has no name"))?;
        // The version starts at the last `@` of the last segment; a scope such as `@angular` starts its own.
        let (path, version) = match path.rsplit_once('@') {
            Some((path, version)) if !path.is_empty() && !version.contains('/') => (path, Some(version)),
            Some(("", version)) if !version.contains('/') => return Err(fail("it has no name")),
            Some(_) | None => (path, None),
        };
        if path.ends_with('/') && version.is_some() {
            return Err(fail("it has no name"));
        }
        let (namespace, name) = path.trim_matches('/').rsplit_once('/').map_or((None, path.trim_matches('/')), |(ns, n)| (Some(ns), n));
        // A repository's whole path below its host is the name.
        let (namespace, name) = match path.trim_matches('/').split_once('/') {
            Some((host, name)) if kind.eq_ignore_ascii_case("git") => (Some(host), name),
            Some(_) | None => (namespace, name),
        };
        let decoded = |part: &str| decode(part).ok_or_else(|| fail("it is not UTF-8"));
        let mut qualifiers = BTreeMap::new();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (key, value) = pair.split_once('=').ok_or_else(|| fail("a qualifier has no value"))?;
            qualifiers.insert(key.to_ascii_lowercase(), decoded(value)?);
        }
        Self {
            kind: kind.to_owned(),
            namespace: namespace.map(decoded_segments).transpose().map_err(&fail)?.flatten(),
            name: decoded(name)?,
            version: version.map(decoded).transpose()?,
            qualifiers,
            subpath: subpath.map(decoded_segments).transpose().map_err(fail)?.flatten(),
        }
        .normalised()
    }

    /// Checks the parts and brings them into their type's normal form.
    ///
    /// # Errors
    /// Where a part is missing or forbidden.
    pub fn normalised(mut self) -> Result<Self, ParseError> {
        let fail = |purl: &Self, why| Err(ParseError { text: crate::text::printable(&format!("{}/{}", purl.kind, purl.name), 120), why });
        self.kind.make_ascii_lowercase();
        let fine = |b: u8| b.is_ascii_alphanumeric() || b".-".contains(&b);
        if !self.kind.starts_with(|c: char| c.is_ascii_alphabetic()) || !self.kind.bytes().all(fine) {
            return fail(&self, "its type is malformed");
        }
        let key = |k: &str| k.starts_with(|c: char| c.is_ascii_alphabetic()) && k.bytes().all(|b| fine(b) || b == b'_');
        if !self.qualifiers.keys().all(|k| key(k)) {
            return fail(&self, "a qualifier's key is malformed");
        }
        self.qualifiers.retain(|_, value| !value.is_empty());
        for part in [&mut self.namespace, &mut self.version, &mut self.subpath] {
            if part.as_deref() == Some("") {
                *part = None;
            }
        }
        if self.name.is_empty() {
            return fail(&self, "it has no name");
        }
        // Printed and read again, the first part of the name would be taken for it.
        if self.kind == "git" && self.namespace.is_none() && self.name.contains('/') {
            return fail(&self, "it has no host");
        }
        rules::apply(&mut self);
        match rules::broken(&self) {
            Some(why) => fail(&self, why),
            None => Ok(self),
        }
    }
}

impl fmt::Display for Purl {
    /// The canonical form.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "pkg:{}/", self.kind)?;
        if let Some(namespace) = &self.namespace {
            for segment in namespace.split('/').filter(|s| !s.is_empty()) {
                encode(f, segment)?;
                f.write_str("/")?;
            }
        }
        if self.kind == "git" {
            encode_segments(f, &self.name)?;
        } else {
            encode(f, &self.name)?;
        }
        if let Some(version) = &self.version {
            f.write_str("@")?;
            encode(f, version)?;
        }
        for (at, (key, value)) in self.qualifiers.iter().enumerate() {
            write!(f, "{}{key}=", if at == 0 { '?' } else { '&' })?;
            encode(f, value)?;
        }
        if let Some(subpath) = &self.subpath {
            f.write_str("#")?;
            encode_segments(f, subpath)?;
        }
        Ok(())
    }
}

/// Percent-encodes everything but unreserved characters and the colon.
fn encode(f: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~:".contains(&byte) {
            write!(f, "{}", char::from(byte))?;
        } else {
            write!(f, "%{byte:02X}")?;
        }
    }
    Ok(())
}

fn encode_segments(f: &mut fmt::Formatter<'_>, path: &str) -> fmt::Result {
    for (at, segment) in path.split('/').enumerate() {
        if at > 0 {
            f.write_str("/")?;
        }
        encode(f, segment)?;
    }
    Ok(())
}

fn decode(text: &str) -> Option<String> {
    if !text.contains('%') {
        return Some(text.to_owned());
    }
    let (bytes, mut out, mut at) = (text.as_bytes(), Vec::with_capacity(text.len()), 0);
    while let Some(byte) = bytes.get(at) {
        let hex = |at: usize| bytes.get(at).and_then(|b| char::from(*b).to_digit(16)).and_then(|d| u8::try_from(d).ok());
        match (byte, hex(at + 1), hex(at + 2)) {
            (b'%', Some(high), Some(low)) => {
                out.push(high << 4 | low);
                at += 3;
            }
            _ => {
                out.push(*byte);
                at += 1;
            }
        }
    }
    String::from_utf8(out).ok()
}

/// Segments without the empty ones and without `.` and `..`.
fn decoded_segments(text: &str) -> Result<Option<String>, &'static str> {
    let mut segments = Vec::new();
    for segment in text.split('/').filter(|s| !s.is_empty()) {
        let segment = decode(segment).ok_or("it is not UTF-8")?;
        if segment != "." && segment != ".." {
            segments.push(segment);
        }
    }
    Ok(if segments.is_empty() { None } else { Some(segments.join("/")) })
}

/// What each type adds to the common rules (purl-spec, `types/*-definition.json`).
mod rules {
    use super::Purl;

    const NAMESPACE_LOWER: &[&str] =
        &["alpm", "apk", "bitbucket", "brew", "composer", "deb", "git", "github", "hex", "luarocks", "qpkg", "rpm", "vscode-extension"];
    const NAME_LOWER: &[&str] = &[
        "alpm",
        "apk",
        "bitbucket",
        "bitnami",
        "brew",
        "composer",
        "deb",
        "git",
        "github",
        "hex",
        "luarocks",
        "npm",
        "oci",
        "otp",
        "pub",
        "pypi",
        "vscode-extension",
    ];
    const NAMESPACE_NEEDED: &[&str] = &["swift", "vscode-extension"];
    const NAMESPACE_FORBIDDEN: &[&str] = &["otp", "vcpkg"];
    /// Chrome's extension ids: 32 letters from a to p.
    const EXTENSION_ID_BYTES: usize = 32;
    const EXTENSION_VERSION_PARTS_MAX: usize = 4;

    pub(super) fn apply(purl: &mut Purl) {
        let kind = purl.kind.as_str();
        if let Some(namespace) = &mut purl.namespace {
            if NAMESPACE_LOWER.contains(&kind) {
                *namespace = namespace.to_lowercase();
            } else if kind == "cpan" {
                *namespace = namespace.to_uppercase();
            }
        }
        let databricks = purl.qualifiers.get("repository_url").is_some_and(|url| url.contains("azuredatabricks.net"));
        if NAME_LOWER.contains(&kind) || (kind == "mlflow" && databricks) {
            purl.name = purl.name.to_lowercase();
        }
        if kind == "pypi" {
            purl.name = purl.name.replace('_', "-");
        }
        if matches!(kind, "huggingface" | "vscode-extension") {
            purl.version = purl.version.take().map(|version| version.to_lowercase());
        }
    }

    pub(super) fn broken(purl: &Purl) -> Option<&'static str> {
        let kind = purl.kind.as_str();
        if NAMESPACE_NEEDED.contains(&kind) && purl.namespace.is_none() {
            return Some("its type needs a namespace");
        }
        if NAMESPACE_FORBIDDEN.contains(&kind) && purl.namespace.is_some() {
            return Some("its type allows no namespace");
        }
        match kind {
            "cpan" if purl.name.contains("::") => Some("it names a module, not a distribution"),
            "julia" if !purl.qualifiers.contains_key("uuid") => Some("its type needs the qualifier uuid"),
            "chrome-extension" => extension(purl),
            _ => None,
        }
    }

    fn extension(purl: &Purl) -> Option<&'static str> {
        if purl.name.len() != EXTENSION_ID_BYTES || !purl.name.bytes().all(|b| (b'a'..=b'p').contains(&b)) {
            return Some("its name is no extension id");
        }
        let mut parts = purl.version.as_deref().unwrap_or("0").split('.');
        let fine = parts.clone().count() <= EXTENSION_VERSION_PARTS_MAX
            && parts.all(|part| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit()));
        (!fine).then_some("its version is not one to four numbers")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_git_url_whose_host_is_no_name_is_refused_because_it_would_print_as_another() {
        assert!(Purl::parse("pkg:git/../github.com/a/b@1").is_err());
        let fine = Purl::parse("pkg:git/github.com/a/b@1").unwrap();
        assert_eq!(Purl::parse(&fine.to_string()), Ok(fine));
    }
}
