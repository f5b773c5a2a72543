//! CISA's catalogue of known exploited vulnerabilities: the JSON, and the CSV of the same.

use super::input;
use crate::compile::{Builder, Taken};
use fother_core::advisory::{Day, Exploits, cve_key};
use serde::Deserialize;
use std::{io::Read as _, path::Path};

/// Largest catalogue, in bytes.
const CATALOGUE_BYTES_MAX: u64 = 64 << 20;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Catalogue {
    #[serde(default)]
    date_released: String,
    vulnerabilities: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Entry {
    #[serde(rename = "cveID")]
    cve_id: String,
    #[serde(default)]
    vulnerability_name: String,
    date_added: String,
    #[serde(default)]
    due_date: String,
    #[serde(default)]
    known_ransomware_campaign_use: String,
}

/// Reads it.
///
/// # Errors
/// Where it is damaged, of another form, or says another number of entries than it has.
pub fn read(builder: &mut Builder, path: &Path) -> Result<Taken, String> {
    let mut text = Vec::new();
    input::open(path)?.take(CATALOGUE_BYTES_MAX).read_to_end(&mut text).map_err(|error| error.to_string())?;
    let mut taken = Taken::default();
    if text.trim_ascii_start().starts_with(b"{") {
        let catalogue: Catalogue = serde_json::from_slice(&text).map_err(|error| format!("not the KEV catalogue: {error}"))?;
        taken.newest = Day::parse(&catalogue.date_released).unwrap_or_default();
        for entry in &catalogue.vulnerabilities {
            add(builder, &mut taken, entry)?;
        }
        return Ok(taken);
    }
    let text = String::from_utf8_lossy(&text);
    let mut rows = crate::vendor::lifecycle::csv(&text);
    let header = rows.next().ok_or("the catalogue is empty")?;
    let column = |name: &str| header.iter().position(|field| field == name).ok_or_else(|| format!("the catalogue has no column {name}"));
    let (id, title, added, due) = (column("cveID")?, column("vulnerabilityName")?, column("dateAdded")?, column("dueDate")?);
    let ransomware = column("knownRansomwareCampaignUse").unwrap_or(usize::MAX);
    for row in rows {
        let field = |at: usize| row.get(at).cloned().unwrap_or_default();
        let entry = Entry {
            cve_id: field(id),
            vulnerability_name: field(title),
            date_added: field(added),
            due_date: field(due),
            known_ransomware_campaign_use: field(ransomware),
        };
        add(builder, &mut taken, &entry)?;
    }
    Ok(taken)
}

fn add(builder: &mut Builder, taken: &mut Taken, entry: &Entry) -> Result<(), String> {
    let (Some(_), Some(added)) = (cve_key(&entry.cve_id), Day::parse(&entry.date_added)) else {
        taken.skipped += 1;
        return Ok(());
    };
    taken.one(Some(added));
    let vuln = builder.vuln(&entry.cve_id)?;
    builder.title(vuln, &entry.vulnerability_name);
    let ransomware = if entry.known_ransomware_campaign_use == "Known" { Exploits::RANSOMWARE } else { 0 };
    builder.about(vuln, |record| {
        record.exploits |= Exploits::KEV | ransomware;
        record.kev_added = added;
        record.kev_due = Day::parse(&entry.due_date).unwrap_or_default();
    });
    Ok(())
}
