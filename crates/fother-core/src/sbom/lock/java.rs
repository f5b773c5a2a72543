//! Java: Gradle's lock files, and what a `pom.xml` says by itself (Maven, "POM reference").

use super::{super::Sbom, component};
use crate::sbom::Component;
use quick_xml::{Reader, events::Event};
use std::collections::BTreeMap;

/// Deepest nesting of a POM.
const DEPTH_MAX: usize = 64;
/// Properties that name properties that name properties.
const RESOLVE_MAX: usize = 10;

/// `group:artifact:version=configurations`; `empty=` lists configurations without any.
pub(super) fn gradle(text: &str, sbom: &mut Sbom) -> Result<(), String> {
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#') && !line.starts_with("empty=")) {
        let parts: Vec<&str> = line.split('=').next().unwrap_or(line).split(':').collect();
        let [group, artifact, version] = parts.as_slice() else {
            return Err(format!("`{}` names no group, artifact and version", crate::text::printable(line, 80)));
        };
        sbom.components.push(Component { namespace: (*group).into(), ..component("maven", artifact, version) });
    }
    Ok(())
}

#[derive(Default)]
struct Dependency {
    group: String,
    artifact: String,
    version: String,
    scope: String,
}

#[derive(Default)]
struct Pom {
    properties: BTreeMap<String, String>,
    dependencies: Vec<Dependency>,
    managed: BTreeMap<(String, String), String>,
}

/// Direct dependencies, their versions from the file's own properties and `dependencyManagement`. What is decided elsewhere, in a parent or
/// another file, is named; so is that what the dependencies need does not stand in it at all.
pub(super) fn pom(text: &str, sbom: &mut Sbom) -> Result<(), String> {
    let pom = read(text)?;
    for dependency in &pom.dependencies {
        let (group, artifact) = (pom.resolved(&dependency.group), pom.resolved(&dependency.artifact));
        let name = format!("{group}:{artifact}");
        let managed = pom.managed.get(&(group.clone(), artifact.clone()));
        let version = if dependency.version.is_empty() { managed.map(String::as_str).unwrap_or_default() } else { &dependency.version };
        let version = pom.resolved(version);
        if version.is_empty() || name.contains("${") || version.contains("${") {
            sbom.take(&name, Err("its version is decided in another file, so it is not assessed".into()));
        } else if version.starts_with(['[', '(']) {
            sbom.take(&name, Err(format!("`{}` is a range, so it is not assessed", crate::text::printable(&version, 60))));
        } else {
            sbom.components.push(Component { namespace: group, ..component("maven", &artifact, &version) });
        }
    }
    if !pom.dependencies.is_empty() {
        sbom.take("pom.xml", Err("it names direct dependencies only; what they need is not in it".into()));
    }
    Ok(())
}

fn read(text: &str) -> Result<Pom, String> {
    let mut reader = Reader::from_str(text);
    let (mut pom, mut path, mut value, mut seen) = (Pom::default(), Vec::<String>::new(), String::new(), false);
    let mut dependency = Dependency::default();
    loop {
        let malformed = |error: String| format!("malformed XML: {error}");
        match reader.read_event().map_err(|error| malformed(error.to_string()))? {
            Event::Start(tag) => {
                path.push(tag.local_name().as_ref().to_owned());
                if path.len() > DEPTH_MAX {
                    return Err(format!("it is nested deeper than {DEPTH_MAX}"));
                }
                seen |= path.len() == 1 && path[0] == "project";
                value.clear();
            }
            Event::Text(piece) => value.push_str(&piece),
            Event::End(_) => {
                pom.close(&path, value.trim(), &mut dependency);
                path.pop();
                value.clear();
            }
            Event::Eof => break,
            _ => {}
        }
    }
    if seen { Ok(pom) } else { Err("it is no pom.xml".into()) }
}

impl Pom {
    /// Takes what an element that ends at `path` says.
    fn close(&mut self, path: &[String], value: &str, dependency: &mut Dependency) {
        let path: Vec<&str> = path.iter().map(String::as_str).collect();
        match path.as_slice() {
            ["project", "properties", name] => {
                self.properties.insert((*name).to_owned(), value.to_owned());
            }
            ["project", name @ ("groupId" | "version" | "artifactId")] => {
                self.properties.insert(format!("project.{name}"), value.to_owned());
            }
            ["project", "parent", name] => {
                self.properties.insert(format!("project.parent.{name}"), value.to_owned());
                // A project takes what it does not say from its parent, which stands in front.
                self.properties.entry(format!("project.{name}")).or_insert_with(|| value.to_owned());
            }
            [.., "dependency", field @ ("groupId" | "artifactId" | "version" | "scope")] => {
                let place = match *field {
                    "groupId" => &mut dependency.group,
                    "artifactId" => &mut dependency.artifact,
                    "version" => &mut dependency.version,
                    _ => &mut dependency.scope,
                };
                *place = value.to_owned();
            }
            ["project", "dependencyManagement", "dependencies", "dependency"] => {
                let taken = std::mem::take(dependency);
                if taken.scope != "import" {
                    self.managed.insert((self.resolved(&taken.group), self.resolved(&taken.artifact)), taken.version);
                }
            }
            ["project", "dependencies", "dependency"] | ["project", "profiles", "profile", "dependencies", "dependency"] => {
                self.dependencies.push(std::mem::take(dependency));
            }
            // Of plugins: they build, they are not built in.
            [.., "dependency"] => *dependency = Dependency::default(),
            _ => {}
        }
    }

    /// `${name}` replaced by properties of this file, as often as it takes, within a bound; what is not known here stays.
    fn resolved(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for _ in 0..RESOLVE_MAX {
            let Some((before, rest)) = text.split_once("${") else { break };
            let Some((name, after)) = rest.split_once('}') else { break };
            let name = name.strip_prefix("pom.").map_or_else(|| name.to_owned(), |name| format!("project.{name}"));
            let Some(value) = self.properties.get(&name).filter(|value| value.len() <= 256) else { break };
            text = format!("{before}{value}{after}");
        }
        text
    }
}
