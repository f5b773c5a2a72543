//! apt's configuration (apt.conf(5)): `/etc/apt/apt.conf.d` and `/etc/apt/apt.conf` of a root as names and values. Reads only.

use crate::root::Root;

/// Largest configuration file that is read, in bytes.
pub const CONF_BYTES_MAX: usize = 1 << 20;
const PARTS: &str = "/etc/apt/apt.conf.d";
const MAIN: &str = "/etc/apt/apt.conf";
const DEPTH_MAX: usize = 32;

/// Settings in the order in which apt reads them; a later one wins.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Conf {
    settings: Vec<(String, String)>,
    /// Files that could not be read, by name with the reason.
    pub unknown: Vec<String>,
}

impl Conf {
    /// Reads a root's configuration; what `#include` names is not followed and is listed as unknown.
    #[must_use]
    pub fn read(root: &Root) -> Self {
        let mut conf = Self::default();
        let mut files = match root.names(PARTS) {
            Ok(names) => part_files(&names, "conf").map(|name| format!("{PARTS}/{name}")).collect(),
            Err(error) => {
                conf.unknown.push(format!("apt configuration: {error}"));
                Vec::new()
            }
        };
        files.push(MAIN.to_owned());
        for file in files {
            match root.text_if_there(&file, CONF_BYTES_MAX) {
                Ok(Some(text)) => conf.take(&file, &text),
                Ok(None) => {}
                Err(error) => conf.unknown.push(format!("apt configuration: {error}")),
            }
        }
        conf
    }

    /// Value of a name such as `APT::Default-Release`; names compare without case.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.settings.iter().rev().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// Whether a name is set to what apt takes for true.
    #[must_use]
    pub fn is_true(&self, name: &str) -> bool {
        self.get(name).is_some_and(|value| {
            value
                .parse::<i64>()
                .map_or_else(|_| ["yes", "true", "with", "on", "enable"].contains(&value.to_lowercase().as_str()), |number| number != 0)
        })
    }

    fn take(&mut self, file: &str, text: &str) {
        let mut scopes: Vec<String> = Vec::new();
        let mut words: Vec<String> = Vec::new();
        let name = |scopes: &[String], word: &str| match scopes.last() {
            Some(scope) => format!("{scope}::{word}"),
            None => word.to_owned(),
        };
        for token in Tokens(text) {
            match token {
                Token::Word(word) if word.starts_with('#') => {
                    self.unknown.push(format!("apt configuration: {file} has {word}, not followed"))
                }
                Token::Word(word) => words.push(word),
                Token::Open if scopes.len() < DEPTH_MAX => {
                    scopes.push(name(&scopes, words.first().map_or("", String::as_str)));
                    words.clear();
                }
                Token::Open => {
                    self.unknown.push(format!("apt configuration: {file} nests deeper than {DEPTH_MAX}"));
                    return;
                }
                Token::Close => {
                    scopes.pop();
                    words.clear();
                }
                Token::End => {
                    match words.as_slice() {
                        [value] if !scopes.is_empty() => self.settings.push((name(&scopes, ""), value.clone())),
                        [first, value] => self.settings.push((name(&scopes, first), value.clone())),
                        _ => {}
                    }
                    words.clear();
                }
            }
        }
    }
}

/// Names that apt reads in a `.d` directory: no suffix or the given one, and only plain characters.
pub fn part_files<'a>(names: &'a [String], suffix: &'a str) -> impl Iterator<Item = &'a str> {
    names.iter().map(String::as_str).filter(move |name| {
        let plain = name.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-.:".contains(&b)) && !name.starts_with('.');
        plain && name.rsplit_once('.').is_none_or(|(_, end)| end == suffix)
    })
}

enum Token {
    Word(String),
    Open,
    Close,
    End,
}

struct Tokens<'a>(&'a str);

impl Iterator for Tokens<'_> {
    type Item = Token;

    fn next(&mut self) -> Option<Token> {
        loop {
            self.0 = self.0.trim_start();
            let directive = ["#include", "#clear", "#x-"].iter().any(|word| self.0.starts_with(word));
            if self.0.starts_with("//") || (self.0.starts_with('#') && !directive) {
                self.0 = self.0.split_once('\n').map_or("", |(_, rest)| rest);
            } else if self.0.starts_with("/*") {
                self.0 = self.0.split_once("*/").map_or("", |(_, rest)| rest);
            } else {
                break;
            }
        }
        let single = match self.0.as_bytes().first()? {
            b'{' => Some(Token::Open),
            b'}' => Some(Token::Close),
            b';' => Some(Token::End),
            _ => None,
        };
        if let Some(token) = single {
            self.0 = &self.0[1..];
            return Some(token);
        }
        if let Some(rest) = self.0.strip_prefix('"') {
            let (word, rest) = rest.split_once('"').unwrap_or((rest, ""));
            self.0 = rest;
            return Some(Token::Word(word.to_owned()));
        }
        let end = self.0.find(|c: char| c.is_whitespace() || "{};\"".contains(c)).unwrap_or(self.0.len());
        let (word, rest) = self.0.split_at(end);
        self.0 = rest;
        Some(Token::Word(word.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ways_to_write_a_setting_are_read() {
        let mut conf = Conf::default();
        conf.take("x", "// c\nAPT::Periodic { Update \"1\"; Unattended-Upgrade \"0\"; };\n# c\nAPT::Periodic::Unattended-Upgrade \"1\"; /* z */\nL { \"a\"; };");
        assert_eq!(conf.get("apt::periodic::update"), Some("1"));
        assert!(conf.is_true("APT::Periodic::Unattended-Upgrade"));
        assert!(!conf.is_true("APT::Periodic::Never"));
    }

    #[test]
    fn includes_are_named_not_followed() {
        let mut conf = Conf::default();
        conf.take("x", "#include \"/etc/shadow\";");
        assert_eq!(conf.unknown.len(), 1);
    }

    #[test]
    fn backups_are_no_parts() {
        let names = ["10a", "20b.conf", "30c.bak", "40d~", ".e"].map(str::to_owned);
        assert_eq!(part_files(&names, "conf").collect::<Vec<_>>(), ["10a", "20b.conf"]);
    }
}
