//! Released events never change: each line of `events.golden` still reads, and writes the same bytes.

use fother_core::event::{Error, Event};

const GOLDEN: &str = include_str!("events.golden");

#[test]
fn every_golden_event_reads_and_writes_the_same_bytes() {
    let mut types = std::collections::BTreeSet::new();
    for (seq, line) in GOLDEN.lines().enumerate() {
        let event = Event::parse(seq as u64, line.as_bytes()).unwrap_or_else(|error| panic!("line {}: {error}", seq + 1));
        assert_eq!(String::from_utf8(event.bytes().unwrap()).unwrap(), line);
        types.insert(line.split("\"type\":\"").nth(1).unwrap().split('"').next().unwrap());
    }
    let source = include_str!("../src/event.rs");
    let known = source.matches("#[serde(rename = \"").count();
    assert_eq!(types.len(), known, "every event type has a golden line");
}

#[test]
fn an_unknown_type_or_version_names_what_is_needed() {
    let line = GOLDEN.lines().next().unwrap();
    for (old, new) in [("server.started", "server.exploded"), ("\"v\":1", "\"v\":2")] {
        let error = Event::parse(0, line.replace(old, new).as_bytes()).unwrap_err();
        assert!(matches!(error, Error::Unknown { seq: 0, .. }));
        assert!(error.to_string().contains("newer version"));
    }
    assert!(matches!(Event::parse(7, line.as_bytes()), Err(Error::Place { seq: 7, says: 0 })));
}
