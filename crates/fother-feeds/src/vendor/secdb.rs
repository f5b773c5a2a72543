//! Alpine's security database of one repository (secdb.alpinelinux.org): package → version → what it fixes; version `0` is "never affected".

use super::input;
use crate::compile::{Builder, Statement, Taken};
use fother_core::{
    advisory::{
        Status,
        format::{Release, Subject},
    },
    version::scheme::Scheme,
};
use serde::{Deserialize, Deserializer as _, de};
use std::{collections::BTreeMap, fmt, path::Path};

/// Most versions with fixes on one package.
const VERSIONS_MAX: usize = 20_000;

#[derive(Deserialize)]
struct Entry {
    pkg: Package,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    /// An empty list where there is nothing.
    #[serde(default)]
    secfixes: Fixes,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Fixes {
    Some(BTreeMap<String, Vec<String>>),
    None(Vec<()>),
}

impl Default for Fixes {
    fn default() -> Self {
        Self::None(Vec::new())
    }
}

/// Reads it; the packages come after the names of the release.
///
/// # Errors
/// Where it is damaged or of another form.
pub fn read(builder: &mut Builder, path: &Path) -> Result<Taken, String> {
    let mut taken = Taken::default();
    let mut json = serde_json::Deserializer::from_reader(input::open(path)?);
    json.deserialize_map(Document { builder, taken: &mut taken }).map_err(|error| format!("not Alpine's secdb: {error}"))?;
    json.end().map_err(|error| format!("not Alpine's secdb: {error}"))?;
    Ok(taken)
}

struct Document<'a> {
    builder: &'a mut Builder,
    taken: &'a mut Taken,
}

impl<'de> de::Visitor<'de> for Document<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object with distroversion and packages")
    }

    fn visit_map<A: de::MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let (mut version, mut packages): (Option<String>, Option<Vec<Entry>>) = (None, None);
        while let Some(key) = map.next_key::<String>()? {
            let twice = match key.as_str() {
                "distroversion" => version.replace(map.next_value()?).is_some(),
                "packages" => packages.replace(map.next_value()?).is_some(),
                _ => {
                    map.next_value::<de::IgnoredAny>()?;
                    false
                }
            };
            if twice {
                return Err(de::Error::custom(format!("`{key}` stands there twice")));
            }
        }
        let version = version.ok_or_else(|| de::Error::missing_field("distroversion"))?;
        let release = self.builder.release(&format!("Alpine:{version}"), Scheme::Apk).map_err(de::Error::custom)?;
        for entry in packages.ok_or_else(|| de::Error::missing_field("packages"))? {
            add(self.builder, self.taken, release, &entry.pkg).map_err(de::Error::custom)?;
        }
        Ok(())
    }
}

fn add(builder: &mut Builder, taken: &mut Taken, release: u32, package: &Package) -> Result<(), String> {
    let fixes = match &package.secfixes {
        Fixes::Some(fixes) => fixes,
        Fixes::None(list) if list.is_empty() => return Ok(()),
        Fixes::None(_) => return Err("secfixes is a list".into()),
    };
    if fixes.len() > VERSIONS_MAX {
        return Err(format!("more than {VERSIONS_MAX} versions of one package"));
    }
    builder.covers(release, Release::KNOWS_FIXED);
    let at = builder.package(release, &package.name)?;
    for (version, ids) in fixes {
        taken.one(None);
        // `CVE-2019-0001 XSA-123` are names of one; the CVE is the one to go by.
        for names in ids {
            let words = || names.split_whitespace();
            let Some(id) = words().find(|word| word.starts_with("CVE-")).or_else(|| words().next()) else { continue };
            let vuln = builder.vuln(id)?;
            let statement = match version.as_str() {
                "0" => Statement { status: Status::NotAffected, ..Statement::fixed("") },
                version => Statement::fixed(version),
            };
            builder.claim(at, Subject::Vuln(vuln), &statement)?;
        }
    }
    Ok(())
}
