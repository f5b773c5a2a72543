//! Every scenario plays as its golden transcript says; `FOTHER_BLESS=1` writes them anew, to be read before they are committed.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::{fs, path::Path};

#[test]
fn every_scenario_plays_as_its_transcript_says() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios");
    let mut scripts: Vec<_> = fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    scripts.retain(|path| path.extension().is_some_and(|ending| ending == "txt"));
    scripts.sort();
    assert!(scripts.len() >= 9, "only {} scenarios", scripts.len());
    let mut other = Vec::new();
    for script in scripts {
        let transcript = fother_sim::scenario::transcript(&fs::read_to_string(&script).unwrap());
        let golden = script.with_extension("golden");
        if std::env::var_os("FOTHER_BLESS").is_some() {
            fs::write(&golden, &transcript).unwrap();
        }
        if fs::read_to_string(&golden).unwrap_or_default() != transcript {
            println!("{}:\n{transcript}", script.display());
            other.push(script);
        }
    }
    assert!(other.is_empty(), "other than their golden transcripts: {other:?}");
}
