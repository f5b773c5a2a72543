//! The two forms of sources files (sources.list(5)); pure.

use super::{ConfiguredSource, Sources};
use fother_core::{
    deb822::{Stanza, stanzas},
    inventory::Source,
    text::printable,
};

const INLINE_KEY: &str = "-----BEGIN PGP PUBLIC KEY BLOCK-----";

/// One entry before URIs and suites are multiplied out.
#[derive(Default)]
struct Entry {
    uris: Vec<String>,
    suites: Vec<String>,
    components: Vec<String>,
    architectures: Vec<String>,
    signed_by: Vec<String>,
    inline_key: Option<Vec<u8>>,
    trusted: bool,
}

/// `deb [options] uri suite [components]` lines.
pub(super) fn one_line(text: &str, file: &str, found: &mut Sources) {
    for (number, line) in text.lines().enumerate() {
        let line = line.split('#').next().unwrap_or_default().trim();
        let Some((kind, rest)) = line.split_once([' ', '\t']) else {
            if !line.is_empty() {
                found.unknown.push(format!("{file}:{}: not a source", number + 1));
            }
            continue;
        };
        match kind {
            "deb" => match line_entry(rest.trim()) {
                Some(entry) => entry.into_sources(file, found),
                None => found.unknown.push(format!("{file}:{}: malformed source", number + 1)),
            },
            "deb-src" => {}
            _ => found.unknown.push(format!("{file}:{}: unknown kind of source", number + 1)),
        }
    }
}

fn line_entry(rest: &str) -> Option<Entry> {
    let mut entry = Entry::default();
    let mut rest = rest;
    if let Some(options) = rest.strip_prefix('[') {
        let (options, tail) = options.split_once(']')?;
        for option in options.split_whitespace() {
            let (name, value) = option.split_once('=')?;
            let values = || value.split(',').filter(|v| !v.is_empty()).map(str::to_owned).collect::<Vec<_>>();
            match name.to_ascii_lowercase().as_str() {
                "arch" => entry.architectures = values(),
                "signed-by" => entry.signed_by = values(),
                "trusted" => entry.trusted = value.eq_ignore_ascii_case("yes"),
                _ => {}
            }
        }
        rest = tail;
    }
    let mut words = rest.split_whitespace().map(str::to_owned);
    entry.uris.push(words.next()?);
    entry.suites.push(words.next()?);
    entry.components = words.collect();
    Some(entry)
}

/// deb822 stanzas.
pub(super) fn deb822(text: &str, file: &str, found: &mut Sources) {
    for (number, stanza) in stanzas(text).enumerate() {
        let stanza: String = stanza.lines().filter(|l| !l.starts_with('#')).flat_map(|l| [l, "\n"]).collect();
        if stanza.trim().is_empty() {
            continue;
        }
        let stanza = Stanza::parse(&stanza);
        let words = |name: &str| stanza.get(name).unwrap_or_default().split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        let enabled = stanza
            .get("Enabled")
            .is_none_or(|v| !["no", "false", "0", "off", "without", "disable"].contains(&v.to_ascii_lowercase().as_str()));
        if !enabled || !words("Types").iter().any(|t| t == "deb") {
            if enabled && stanza.get("Types").is_none() {
                found.unknown.push(format!("{file}: stanza {} has no Types", number + 1));
            }
            continue;
        }
        let mut entry = Entry {
            uris: words("URIs"),
            suites: words("Suites"),
            components: words("Components"),
            architectures: words("Architectures"),
            trusted: stanza.get("Trusted").is_some_and(|v| v.eq_ignore_ascii_case("yes")),
            ..Entry::default()
        };
        match stanza.get("Signed-By") {
            Some(value) if value.contains(INLINE_KEY) => entry.inline_key = Some(inline_key(value)),
            _ => {
                entry.signed_by =
                    words("Signed-By").iter().flat_map(|w| w.split(',')).filter(|w| !w.is_empty()).map(str::to_owned).collect()
            }
        }
        if entry.uris.is_empty() || entry.suites.is_empty() {
            found.unknown.push(format!("{file}: stanza {} names no URI or no suite", number + 1));
            continue;
        }
        entry.into_sources(file, found);
    }
}

/// Continuation lines lose their indent; a lone dot stands for an empty line.
fn inline_key(value: &str) -> Vec<u8> {
    let lines = value.lines().map(str::trim).map(|line| if line == "." { "" } else { line });
    lines.flat_map(|line| [line, "\n"]).collect::<String>().into_bytes()
}

impl Entry {
    fn into_sources(self, file: &str, found: &mut Sources) {
        for uri in &self.uris {
            let clean = hide(uri);
            if clean != *uri {
                found.unknown.push(format!("{file}: the credentials in the address of {} are not used", printable(&clean, 200)));
            }
            if !clean.contains(':') || clean.bytes().any(|b| b.is_ascii_control()) {
                found.unknown.push(format!("{file}: not an address: {}", printable(&clean, 200)));
                continue;
            }
            for suite in &self.suites {
                if suite.ends_with('/') != self.components.is_empty() || suite.split('/').any(|part| part == "..") {
                    found.unknown.push(format!("{file}: suite {} and its components do not fit", printable(suite, 80)));
                    continue;
                }
                found.configured.push(ConfiguredSource {
                    source: Source {
                        uri: clean.trim_end_matches('/').to_owned(),
                        suite: suite.clone(),
                        components: self.components.clone(),
                        signed_by: if self.signed_by.is_empty() { None } else { Some(self.signed_by.join(",")) },
                    },
                    architectures: self.architectures.clone(),
                    signed_by: self.signed_by.clone(),
                    inline_key: self.inline_key.clone(),
                    trusted: self.trusted,
                    file: file.to_owned(),
                });
            }
        }
    }
}

/// Every word without `user:password@` before its host.
fn hide(text: &str) -> String {
    let word = |word: &str| {
        let Some((scheme, rest)) = word.split_once("://") else { return word.to_owned() };
        let (authority, path) = rest.find('/').map_or((rest, ""), |at| rest.split_at(at));
        format!("{scheme}://{}{path}", authority.rsplit_once('@').map_or(authority, |(_, host)| host))
    };
    text.split(' ').map(word).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(read: fn(&str, &str, &mut Sources), text: &str) -> Sources {
        let mut found = Sources::default();
        read(text, "f", &mut found);
        found
    }

    #[test]
    fn one_line_sources_with_options_are_read() {
        let found = parse(
            one_line,
            "# x\ndeb [arch=amd64,arm64 signed-by=/k.gpg trusted=yes] http://a.example/debian/ bookworm main contrib # y\n\
             deb-src http://a.example/debian x main\ndeb http://b.example/repo ./\n",
        );
        assert_eq!(found.unknown, [""; 0]);
        let [first, flat] = found.configured.as_slice() else { panic!("{found:?}") };
        assert_eq!(first.source.uri, "http://a.example/debian");
        assert_eq!(first.source.components, ["main", "contrib"]);
        assert_eq!(
            (&first.architectures[..], &first.signed_by[..], first.trusted),
            (&["amd64".to_owned(), "arm64".to_owned()][..], &["/k.gpg".to_owned()][..], true)
        );
        assert_eq!((flat.source.suite.as_str(), flat.source.components.len()), ("./", 0));
    }

    #[test]
    fn deb822_sources_multiply_out_and_may_be_disabled_or_carry_their_key() {
        let found = parse(
            deb822,
            "Types: deb deb-src\nURIs: http://a.example/x http://b.example/x\nSuites: s t\n# c\nComponents: main\nSigned-By:\n \
             -----BEGIN PGP PUBLIC KEY BLOCK-----\n .\n AAAA\n -----END PGP PUBLIC KEY BLOCK-----\n\nTypes: deb\nEnabled: no\nURIs: http://c\nSuites: s\nComponents: m\n",
        );
        assert_eq!(found.unknown, [""; 0]);
        assert_eq!(found.configured.len(), 4);
        let key = found.configured[0].inline_key.clone().unwrap();
        assert_eq!(key, b"-----BEGIN PGP PUBLIC KEY BLOCK-----\n\nAAAA\n-----END PGP PUBLIC KEY BLOCK-----\n");
    }

    #[test]
    fn credentials_are_never_carried() {
        let found = parse(one_line, "deb https://user:pa@ss@a.example/x s main\nfoo https://u:secret@h/ s\ndeb https://u:secret@h/\n");
        assert_eq!(found.configured[0].source.uri, "https://a.example/x");
        assert_eq!(found.unknown.len(), 3);
        assert!(!format!("{found:?}").contains("secret") && !format!("{found:?}").contains("pa@ss"));
    }
}
