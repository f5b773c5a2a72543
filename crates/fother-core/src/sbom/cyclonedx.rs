//! CycloneDX JSON, 1.2 to the newest (ECMA-424): components, nested ones too.

use super::{Clues, DEPTH_MAX, Sbom, distribution};
use serde_json::Value;

pub(super) fn read(value: &Value) -> Result<Sbom, String> {
    let mut sbom = Sbom { form: format!("CycloneDX {}", value["specVersion"].as_str().unwrap_or_default()), ..Sbom::default() };
    let mut open: Vec<(&Value, usize)> = vec![(&value["metadata"]["component"]["components"], 0), (&value["components"], 0)];
    operating_system(&value["metadata"]["component"], &mut sbom);
    while let Some((list, depth)) = open.pop() {
        if depth > DEPTH_MAX {
            return Err(format!("components are nested deeper than {DEPTH_MAX}"));
        }
        for component in list.as_array().into_iter().flatten() {
            open.push((&component["components"], depth + 1));
            match component["type"].as_str() {
                Some("operating-system") => operating_system(component, &mut sbom),
                // Files and nested documents are no packages.
                Some("file") => {}
                _ => sbom.add(&clues(component))?,
            }
        }
    }
    Ok(sbom)
}

fn clues(component: &Value) -> Clues<'_> {
    let text = |name: &str| component[name].as_str().unwrap_or_default();
    let properties = component["properties"].as_array().into_iter().flatten();
    // Red Hat's name a component's several repositories as evidence.
    let evidence = component["evidence"]["identity"].as_array().into_iter().flatten().find(|identity| identity["field"] == "purl");
    let purl = evidence.and_then(|identity| identity["concludedValue"].as_str()).filter(|_| text("purl").is_empty());
    Clues {
        purl: purl.unwrap_or(text("purl")),
        name: text("name"),
        version: text("version"),
        properties: properties.filter_map(|p| Some((p["name"].as_str()?, p["value"].as_str()?))).collect(),
        comments: vec![text("description")],
    }
}

fn operating_system(component: &Value, sbom: &mut Sbom) {
    if component["type"] != "operating-system" || sbom.distribution.is_some() {
        return;
    }
    let property = |name: &str| {
        let list = component["properties"].as_array()?;
        list.iter().find(|p| p["name"] == name)?["value"].as_str()
    };
    let id = property("syft:distro:id").or(component["name"].as_str());
    let version = property("syft:distro:versionID").or(component["version"].as_str());
    if let (Some(id), Some(version)) = (id, version) {
        sbom.distribution = Some(distribution(id, version));
    }
}
