//! VEX documents taken in as feeds, and read for `--vex`. What they say stands in the database in their own words; who may be believed
//! is decided when it is asked.

use super::{Kind, csaf, input, sniff};
use crate::compile::{Builder, Taken};
use fother_core::{
    advisory::Day,
    vex::{Statement, cyclonedx, openvex},
};
use std::path::Path;

/// Reads all documents of a file.
///
/// # Errors
/// Where it is damaged or a document is of another form.
pub fn read(builder: &mut Builder, path: &Path, parse: impl Fn(&[u8]) -> Result<Vec<Statement>, String>) -> Result<Taken, String> {
    let mut taken = Taken::default();
    input::documents(path, |name, bytes| {
        for statement in parse(bytes).map_err(|why| format!("{name}: {why}"))? {
            taken.one(u32::try_from(statement.at_ms / 86_400_000).ok().map(Day));
            builder.statement(&statement).map_err(|why| format!("{name}: {why}"))?;
        }
        Ok(true)
    })?;
    Ok(taken)
}

/// Statements of a file that a user names: OpenVEX, CycloneDX or CSAF, by its content.
///
/// # Errors
/// Where it cannot be read or is none of these.
pub fn statements(path: &Path) -> Result<Vec<Statement>, String> {
    let kind = sniff::kind(path)?;
    let mut out = Vec::new();
    input::documents(path, |name, bytes| {
        let read = match kind {
            Kind::OpenVex => openvex::parse(bytes),
            Kind::CyclonedxVex => cyclonedx::parse(bytes),
            Kind::Csaf => csaf::statements(bytes),
            other => Err(format!("it is a feed of kind {}, not a VEX document; take it in with `fother feeds import`", other.name())),
        };
        out.extend(read.map_err(|why| format!("{name}: {why}"))?);
        Ok(true)
    })?;
    Ok(out)
}
