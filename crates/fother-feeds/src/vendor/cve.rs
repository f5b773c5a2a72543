//! CVE records, version 5 (CVEProject/cve-schema), with CISA's container: CVSS vectors, SSVC decision points, dates of exploitation.

use super::input;
use crate::compile::{Builder, Taken};
use fother_core::advisory::{Day, Exploits, Ssvc, cve_key};
use serde::Deserialize;
use std::{borrow::Cow, collections::BTreeMap, path::Path};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Record<'a> {
    #[serde(borrow)]
    cve_metadata: Metadata<'a>,
    #[serde(borrow)]
    containers: Containers<'a>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Metadata<'a> {
    #[serde(borrow)]
    cve_id: Cow<'a, str>,
    #[serde(borrow, default)]
    state: Cow<'a, str>,
    #[serde(borrow, default)]
    date_published: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    date_updated: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
struct Containers<'a> {
    #[serde(borrow, default)]
    cna: Option<Container<'a>>,
    #[serde(borrow, default)]
    adp: Vec<Container<'a>>,
}

#[derive(Deserialize)]
struct Container<'a> {
    #[serde(borrow, default)]
    title: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    descriptions: Vec<Description<'a>>,
    #[serde(borrow, default)]
    metrics: Vec<Metric<'a>>,
}

#[derive(Deserialize)]
struct Description<'a> {
    #[serde(borrow, default)]
    value: Cow<'a, str>,
}

#[derive(Deserialize)]
struct Metric<'a> {
    #[serde(borrow, rename = "cvssV4_0")]
    v40: Option<Cvss<'a>>,
    #[serde(borrow, rename = "cvssV3_1")]
    v31: Option<Cvss<'a>>,
    #[serde(borrow, rename = "cvssV3_0")]
    v30: Option<Cvss<'a>>,
    #[serde(borrow, rename = "cvssV2_0")]
    v20: Option<Cvss<'a>>,
    #[serde(borrow)]
    other: Option<Other<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Cvss<'a> {
    #[serde(borrow, default)]
    vector_string: Cow<'a, str>,
}

#[derive(Deserialize)]
struct Other<'a> {
    #[serde(borrow, rename = "type", default)]
    kind: Cow<'a, str>,
    #[serde(borrow)]
    content: &'a serde_json::value::RawValue,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Content {
    #[serde(default)]
    options: Vec<BTreeMap<String, String>>,
    #[serde(default)]
    date_added: Option<String>,
}

/// Reads all records of a file.
///
/// # Errors
/// Where it is damaged or a document is no CVE record.
pub fn read(builder: &mut Builder, path: &Path) -> Result<Taken, String> {
    let mut taken = Taken::default();
    input::documents(path, |name, bytes| {
        let record: Record<'_> = serde_json::from_slice(bytes).map_err(|error| format!("{name}: not a CVE record: {error}"))?;
        taken.one(record.cve_metadata.date_updated.as_deref().and_then(Day::parse));
        if cve_key(&record.cve_metadata.cve_id).is_none() {
            taken.skipped += 1;
        } else if record.cve_metadata.state != "REJECTED" {
            add(builder, &record)?;
        }
        Ok(true)
    })?;
    Ok(taken)
}

fn add(builder: &mut Builder, record: &Record<'_>) -> Result<(), String> {
    let vuln = builder.vuln(&record.cve_metadata.cve_id)?;
    let published = record.cve_metadata.date_published.as_deref().and_then(Day::parse).unwrap_or_default();
    builder.about(vuln, |known| known.published = published);
    for container in record.containers.cna.iter().chain(&record.containers.adp) {
        for metric in &container.metrics {
            let vectors = [&metric.v40, &metric.v31, &metric.v30, &metric.v20];
            vectors.into_iter().flatten().for_each(|cvss| builder.vector(vuln, &cvss.vector_string));
            if let Some(other) = &metric.other {
                enrich(builder, vuln, other);
            }
        }
    }
    if let Some(cna) = &record.containers.cna {
        let title = cna.title.as_deref().or_else(|| cna.descriptions.first().map(|d| &*d.value)).unwrap_or_default();
        builder.title(vuln, title);
    }
    Ok(())
}

/// CISA's own metrics; unknown ones are passed over.
fn enrich(builder: &mut Builder, vuln: u32, other: &Other<'_>) {
    let Ok(content) = serde_json::from_str::<Content>(other.content.get()) else { return };
    match &*other.kind {
        "ssvc" => {
            let mut points = Ssvc::default();
            for (name, value) in content.options.iter().flatten() {
                // Both cases occur.
                match (name.to_lowercase().as_str(), value.to_lowercase().as_str()) {
                    ("exploitation", "none") => points.exploitation = Some(0),
                    ("exploitation", "poc" | "public poc") => points.exploitation = Some(1),
                    ("exploitation", "active") => points.exploitation = Some(2),
                    ("automatable", value) => points.automatable = Some(value == "yes"),
                    ("technical impact", value) => points.total_impact = Some(value == "total"),
                    _ => {}
                }
            }
            builder.about(vuln, |known| known.ssvc = points.pack());
        }
        "kev" => {
            let added = content.date_added.as_deref().and_then(Day::parse).unwrap_or_default();
            builder.about(vuln, |known| {
                known.exploits |= Exploits::KEV;
                known.kev_added = if known.kev_added.is_known() { known.kev_added } else { added };
            });
        }
        _ => {}
    }
}
