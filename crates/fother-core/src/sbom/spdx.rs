//! SPDX 2.2 and 2.3, as JSON and as tag-value text (spdx.github.io/spdx-spec/v2.3).

use super::{Clues, Sbom, distribution};
use serde_json::Value;

pub(super) fn read_json(value: &Value) -> Result<Sbom, String> {
    let mut sbom = Sbom { form: value["spdxVersion"].as_str().unwrap_or_default().replace('-', " "), ..Sbom::default() };
    for package in value["packages"].as_array().into_iter().flatten() {
        let text = |name: &str| package[name].as_str().unwrap_or_default();
        if text("primaryPackagePurpose") == "OPERATING-SYSTEM" {
            sbom.distribution = Some(distribution(text("name"), text("versionInfo")));
            continue;
        }
        let refs = package["externalRefs"].as_array().into_iter().flatten();
        let purls: Vec<&str> = refs.filter(|r| r["referenceType"] == "purl").filter_map(|r| r["referenceLocator"].as_str()).collect();
        let texts = package["attributionTexts"].as_array().into_iter().flatten().filter_map(Value::as_str);
        let annotations = package["annotations"].as_array().into_iter().flatten().filter_map(|a| a["comment"].as_str());
        let comments = ["sourceInfo", "comment"].into_iter().map(text).chain(texts).chain(annotations).collect();
        let clues = Clues {
            purl: purls.first().copied().unwrap_or_default(),
            name: text("name"),
            version: text("versionInfo"),
            properties: Vec::new(),
            comments,
        };
        // The root that describes the document is a package without one.
        if !clues.purl.is_empty() || !clues.version.is_empty() {
            sbom.add(&clues)?;
        }
    }
    Ok(sbom)
}

/// One package of a tag-value text.
#[derive(Default)]
struct Draft<'a> {
    name: &'a str,
    version: &'a str,
    purl: &'a str,
    purpose: &'a str,
    comments: Vec<&'a str>,
}

impl Draft<'_> {
    fn add_to(self, sbom: &mut Sbom) -> Result<(), String> {
        if self.purpose == "OPERATING-SYSTEM" {
            sbom.distribution = Some(distribution(self.name, self.version));
        } else if !self.purl.is_empty() || !self.version.is_empty() {
            sbom.add(&Clues { purl: self.purl, name: self.name, version: self.version, properties: Vec::new(), comments: self.comments })?;
        }
        Ok(())
    }
}

pub(super) fn read_tags(text: &str) -> Result<Sbom, String> {
    let mut sbom = Sbom::default();
    let mut draft: Option<Draft<'_>> = None;
    for line in text.lines() {
        let Some((tag, value)) = line.split_once(": ") else { continue };
        let value = value.trim().trim_start_matches("<text>").trim_end_matches("</text>");
        if tag == "SPDXVersion" {
            sbom.form = value.replace('-', " ");
        } else if tag == "PackageName" {
            if let Some(done) = draft.replace(Draft { name: value, ..Draft::default() }) {
                done.add_to(&mut sbom)?;
            }
        } else if let Some(draft) = &mut draft {
            match tag {
                "PackageVersion" => draft.version = value,
                "PrimaryPackagePurpose" => draft.purpose = value,
                "PackageSourceInfo" | "PackageComment" | "PackageAttributionText" => draft.comments.push(value),
                "ExternalRef" => {
                    if let Some((_, purl)) = value.split_once(" purl ") {
                        draft.purl = purl.trim();
                    }
                }
                _ => {}
            }
        }
    }
    if let Some(done) = draft {
        done.add_to(&mut sbom)?;
    }
    if sbom.form.is_empty() { Err("it is neither JSON nor SPDX tag-value text".into()) } else { Ok(sbom) }
}
