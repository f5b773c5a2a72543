//! Every parser of foreign bytes as a function over bytes, with the laws that must hold for all of them. Panics where one is broken.
//!
//! libFuzzer drives them (`make fuzz`), and so does a plain loop of mutations in every test run (`crates/fother/tests/fuzz.rs`).

mod database;
mod feeds;
mod images;
mod packages;
mod records;
mod reports;
mod roots;
mod rpm;
mod texts;

/// One parser.
pub struct Target {
    /// Its name on the command line.
    pub name: &'static str,
    /// Runs it; panics where a law is broken.
    pub run: fn(&[u8]),
    /// Inputs to start from.
    pub seeds: fn() -> Vec<Vec<u8>>,
}

/// All of them.
pub const ALL: &[&[Target]] =
    &[texts::ALL, records::ALL, packages::ALL, rpm::ALL, roots::ALL, feeds::ALL, database::ALL, images::ALL, reports::ALL];

/// All, one after the other.
pub fn all() -> impl Iterator<Item = &'static Target> {
    ALL.iter().flat_map(|group| group.iter())
}

/// Seeds from texts.
fn texts_of(texts: &[&str]) -> Vec<Vec<u8>> {
    texts.iter().map(|text| text.as_bytes().to_vec()).collect()
}
