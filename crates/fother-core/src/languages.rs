//! What installed packages of language ecosystems say about themselves, read into components. Pure; the bytes are hostile.
//!
//! Each reader takes the text of one file, already found and bounded by the caller, and answers with the components in it.

pub mod golang;
pub mod java;
pub mod node;
pub mod php;
pub mod python;
pub mod ruby;
pub mod rust;

use crate::sbom::Component;

/// Longest name or version that is taken, in bytes.
const WORD_BYTES_MAX: usize = 256;

/// A component of one ecosystem.
///
/// # Errors
/// Where name or version is missing, too long or holds white space or control characters.
fn component(kind: &str, namespace: &str, name: &str, version: &str) -> Result<Component, String> {
    let fine = |word: &str| word.len() <= WORD_BYTES_MAX && !word.contains(|c: char| c.is_whitespace() || c.is_control());
    if name.is_empty() || version.is_empty() {
        return Err("it names no name or no version".into());
    }
    if ![namespace, name, version].into_iter().all(fine) {
        return Err("its name or version is malformed".into());
    }
    Ok(Component { kind: kind.into(), namespace: namespace.into(), name: name.into(), version: version.into(), ..Component::default() })
}
