//! Tells what a file is from its content; its name decides only between lists that look alike.

use super::{Kind, input};
use serde_json::Value;
use std::{io::Read as _, path::Path};

/// How much of a file is looked at, unpacked, in bytes.
const HEAD_BYTES: u64 = 64 << 10;

/// The kind of a file.
///
/// # Errors
/// Where it cannot be read, or is nothing that is known, with the reason.
pub fn kind(path: &Path) -> Result<Kind, String> {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default().to_lowercase();
    if input::is_zip(path)? {
        return of_document(path);
    }
    let mut head = Vec::new();
    input::open(path)?.take(HEAD_BYTES).read_to_end(&mut head).map_err(|error| error.to_string())?;
    if head.get(257..262) == Some(b"ustar") {
        return of_document(path);
    }
    let text = String::from_utf8_lossy(&head);
    let first = text.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or_default();
    if first.starts_with('{') || first.starts_with('[') && !is_list_head(first) {
        return of_json(path, &text, &name);
    }
    if is_list_head(first) && text.contains("\n\t[") {
        return Ok(Kind::DebianList);
    }
    if text.lines().take(4).any(|line| line.starts_with("cve,epss")) {
        return Ok(Kind::Epss);
    }
    if first.starts_with("cveID,") && first.contains("dateAdded") {
        return Ok(Kind::Kev);
    }
    if first.starts_with("version,codename,series,") {
        return if text.contains(",buzz,") { Ok(Kind::DebianDates) } else { Ok(Kind::UbuntuDates) };
    }
    if text.contains("List of packages whose security support ends") {
        return Ok(Kind::SupportEnded);
    }
    if text.contains("List of packages where security support is limited") {
        return Ok(Kind::SupportLimited);
    }
    by_name(&name, &text)
}

/// `[21 Aug 2026] DLA-4750-1 firefox-esr - security update`
fn is_list_head(line: &str) -> bool {
    line.split_once("] D").is_some_and(|(date, rest)| date.starts_with('[') && (rest.starts_with("SA-") || rest.starts_with("LA-")))
}

/// Lists of CVEs that nothing but their name tells apart.
fn by_name(name: &str, text: &str) -> Result<Kind, String> {
    let names = [
        ("metasploit", Kind::Metasploit),
        ("nuclei", Kind::Nuclei),
        ("exploitdb", Kind::ExploitDb),
        ("exploit-db", Kind::ExploitDb),
        ("files_exploits", Kind::ExploitDb),
    ];
    let few_columns = text.lines().next().unwrap_or_default().matches(',').count() < 3 || name.contains("files_exploits");
    let kind = names.into_iter().find(|(word, _)| name.contains(word)).map(|(_, kind)| kind);
    kind.filter(|_| text.contains("CVE-") && few_columns).ok_or_else(|| "it is no feed that is known; name its kind with --kind".into())
}

/// Zips and tars: what their first document is.
fn of_document(path: &Path) -> Result<Kind, String> {
    let mut found = Err("it holds no JSON document".to_owned());
    input::documents(path, |_, bytes| {
        found = of_object(bytes);
        Ok(false)
    })?;
    if found.is_err() {
        input::members(path, &[".yml", ".yaml"], |_, bytes| {
            let document = std::str::from_utf8(bytes).ok().and_then(|text| fother_core::yaml::parse(text).ok());
            let advisory = document.is_some_and(|document| super::rubysec::is_advisory(&document));
            if advisory {
                found = Ok(Kind::Rubysec);
            }
            Ok(!advisory)
        })?;
    }
    found
}

fn of_object(bytes: &[u8]) -> Result<Kind, String> {
    let value: Value = serde_json::from_slice(bytes).map_err(|error| format!("it is no JSON: {error}"))?;
    if value["dataType"] == "CVE_RECORD" {
        return Ok(Kind::Cve);
    }
    if value["id"].is_string() && value["affected"].is_array() {
        return Ok(Kind::Osv);
    }
    if value["vulnerabilities"][0]["cveID"].is_string() {
        return Ok(Kind::Kev);
    }
    let first = value.as_object().and_then(|map| map.values().next());
    if first.is_some_and(|entry| entry["vulnerable"].is_string() && entry["patched"].is_string()) {
        return Ok(Kind::NodejsCore);
    }
    Err("its JSON is no feed that is known".into())
}

fn of_json(path: &Path, text: &str, name: &str) -> Result<Kind, String> {
    // Large single documents are told by what stands at their start.
    if text.contains("\"$schema\"") && text.contains("json-schema.org") {
        return Err("it is a JSON schema".into());
    }
    if text.contains("\"cveID\"") && text.contains("\"dateAdded\"") {
        return Ok(Kind::Kev);
    }
    if text.contains("\"releases\"") && text.contains("\"repositories\"") && text.contains("\"CVE-") {
        return Ok(Kind::DebianTracker);
    }
    if name.contains("metasploit") || name.contains("modules_metadata") {
        return Ok(Kind::Metasploit);
    }
    let whole = text.trim_end();
    if whole.len() as u64 >= HEAD_BYTES - 4 || text.lines().count() > 1 {
        let mut found = Err("its JSON is no feed that is known".to_owned());
        input::documents(path, |_, bytes| {
            found = of_object(bytes);
            Ok(false)
        })?;
        return found;
    }
    of_object(whole.as_bytes())
}
