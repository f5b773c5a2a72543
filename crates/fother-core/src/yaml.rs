//! YAML (1.2), read into texts, lists and maps within bounds. Aliases, by which few bytes become many, are refused.

use saphyr_parser::{Event, Parser};

/// Most values of one document.
const NODES_MAX: usize = 2_000_000;
/// Deepest nesting.
const DEPTH_MAX: usize = 64;

/// A value; every scalar is a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Yaml {
    /// A scalar.
    Text(String),
    /// A sequence.
    List(Vec<Yaml>),
    /// A mapping, in the order of the document.
    Map(Vec<(String, Yaml)>),
}

impl Yaml {
    /// The value of a key.
    pub fn get(&self, key: &str) -> Option<&Self> {
        self.map().iter().find(|(name, _)| name == key).map(|(_, value)| value)
    }

    /// The text of a key.
    pub fn text(&self, key: &str) -> Option<&str> {
        match self.get(key) {
            Some(Self::Text(text)) => Some(text),
            Some(Self::List(_) | Self::Map(_)) | None => None,
        }
    }

    /// Texts of the list at a key, or the one text there.
    pub fn texts(&self, key: &str) -> Vec<&str> {
        let values: &[Self] = match self.get(key) {
            Some(Self::List(list)) => list,
            Some(one @ (Self::Text(_) | Self::Map(_))) => std::slice::from_ref(one),
            None => &[],
        };
        values.iter().filter_map(|value| if let Self::Text(text) = value { Some(text.as_str()) } else { None }).collect()
    }

    /// Keys and values; none where this is no map.
    pub fn map(&self) -> &[(String, Self)] {
        match self {
            Self::Map(map) => map,
            Self::Text(_) | Self::List(_) => &[],
        }
    }
}

/// A list or map that is not closed yet; a map with the key that waits for its value.
enum Open {
    List(Vec<Yaml>),
    Map(Vec<(String, Yaml)>, Option<String>),
}

/// Reads the first document.
///
/// # Errors
/// Where it is malformed, has aliases, or passes a bound, with the place.
pub fn parse(text: &str) -> Result<Yaml, String> {
    let mut open: Vec<Open> = Vec::new();
    let mut nodes = 0;
    for event in Parser::new_from_str(text) {
        let (event, span) = event.map_err(|error| format!("malformed YAML: {error}"))?;
        let line = span.start.line();
        nodes += 1;
        if nodes > NODES_MAX || open.len() > DEPTH_MAX {
            return Err(format!("line {line}: more than {NODES_MAX} values, or nested deeper than {DEPTH_MAX}"));
        }
        let done = match event {
            Event::Alias(_) => return Err(format!("line {line}: it uses an alias; those are not read")),
            Event::Scalar(text, ..) => Yaml::Text(text.into_owned()),
            Event::SequenceStart(..) => {
                open.push(Open::List(Vec::new()));
                continue;
            }
            Event::MappingStart(..) => {
                open.push(Open::Map(Vec::new(), None));
                continue;
            }
            Event::SequenceEnd | Event::MappingEnd => match open.pop() {
                Some(Open::List(list)) => Yaml::List(list),
                Some(Open::Map(map, _)) => Yaml::Map(map),
                None => return Err(format!("line {line}: malformed YAML")),
            },
            _ => continue,
        };
        match open.last_mut() {
            None => return Ok(done),
            Some(Open::List(list)) => list.push(done),
            Some(Open::Map(map, key)) => match (key.take(), done) {
                (Some(key), value) => map.push((key, value)),
                (None, Yaml::Text(text)) => *key = Some(text),
                (None, Yaml::List(_) | Yaml::Map(_)) => return Err(format!("line {line}: a key is no text")),
            },
        }
    }
    Err("it is empty".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn maps_lists_and_texts_are_read() {
        let found = parse("a: 1.10\nb:\n  - x\n  - {c: 'd e'}\n").unwrap();
        assert_eq!(found.text("a"), Some("1.10"), "a version is no number");
        let Some(Yaml::List(list)) = found.get("b") else { panic!("{found:?}") };
        assert_eq!(list[1].text("c"), Some("d e"));
    }

    #[test]
    fn bombs_are_refused() {
        let laughs = "a: &a [x,x,x]\nb: &b [*a,*a,*a]\n";
        assert!(parse(laughs).unwrap_err().contains("alias"));
        assert!(parse(&"[".repeat(100)).is_err());
        assert!(parse(&"- ".repeat(100_000)).is_err());
        assert!(parse("").is_err());
        assert!(parse("{a: b").is_err());
    }
}
