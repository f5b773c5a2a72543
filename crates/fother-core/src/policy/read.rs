//! Reads a policy out of its files: several faults at once, each with file, line, column and what was meant. Pure.

use super::{
    Policy, PolicyError, check,
    fault::{FAULTS_MAX, Fault, nearest},
    schema,
    shape::Shape,
};
use serde::de::DeserializeOwned;
use std::collections::{BTreeMap, BTreeSet, btree_map::Entry};
use std::ops::Range;
use toml::{
    Spanned,
    de::{DeTable, DeValue, ValueDeserializer},
};

/// Largest file, in bytes.
pub const SOURCE_BYTES_MAX: usize = 1 << 20;
/// Most files.
pub const SOURCES_MAX: usize = 256;
/// Longest name of a group, a window and so on, in bytes.
pub const NAME_BYTES_MAX: usize = 64;

/// One file of a policy.
#[derive(Clone, Copy, Debug)]
pub struct Source<'a> {
    /// As people know it, for example `policies/web.toml`.
    pub name: &'a str,
    /// What it holds.
    pub text: &'a str,
}

/// Where something was declared: number of the file, place of the name, and the value.
struct Declared<'a> {
    file: usize,
    name: Range<usize>,
    value: Spanned<DeValue<'a>>,
}

type Entries<'a> = BTreeMap<(String, String), Declared<'a>>;

/// Reads and checks a policy out of its files. Their sections are one: the same name may stand in one file only.
///
/// # Errors
/// Everything that is wrong with it, at most [`FAULTS_MAX`] faults.
pub fn read(sources: &[Source<'_>]) -> Result<Policy, PolicyError> {
    let mut faults = Vec::new();
    if sources.len() > SOURCES_MAX {
        faults.push(Fault::at("policies", "", 0..0, String::new(), format!("more than {SOURCES_MAX} files"), None));
        return Err(PolicyError(faults));
    }
    let shape = Shape::new(schema::schema());
    let mut entries = Entries::new();
    for (file, source) in sources.iter().enumerate() {
        if source.text.len() > SOURCE_BYTES_MAX {
            let what = format!("larger than {SOURCE_BYTES_MAX} bytes");
            faults.push(Fault::at(source.name, "", 0..0, String::new(), what, None));
            continue;
        }
        let (table, errors) = DeTable::parse_recoverable(source.text);
        faults.extend(errors.iter().map(|error| said(source, error, String::new())));
        declare(sources, file, table.into_inner(), &shape, &mut entries, &mut faults);
    }
    faults.dedup();
    // Where a line is no TOML, what else is wrong with it follows from that.
    let broken: BTreeSet<(String, usize)> = faults.iter().map(|fault| (fault.file.clone(), fault.line)).collect();
    let known = faults.len();
    let policy = typed(sources, &entries, &shape, &mut faults);
    for trouble in check::check(&policy, &names(&entries)) {
        let (file, span) = place(&entries, &trouble.path);
        faults.push(fault(&sources[file], span, trouble.path.join("."), trouble.what, trouble.meant));
    }
    let mut at = 0;
    faults.retain(|fault| {
        at += 1;
        at <= known || !broken.contains(&(fault.file.clone(), fault.line))
    });
    faults.truncate(FAULTS_MAX);
    if faults.is_empty() { Ok(policy) } else { Err(PolicyError(faults)) }
}

fn fault(source: &Source<'_>, span: Range<usize>, key: String, what: String, meant: Option<String>) -> Fault {
    Fault::at(source.name, source.text, span, key, what, meant)
}

fn said(source: &Source<'_>, error: &toml::de::Error, key: String) -> Fault {
    let what = error.message().lines().collect::<Vec<_>>().join(" ");
    fault(source, error.span().unwrap_or(0..0), key, what, None)
}

fn plain(name: &str) -> bool {
    let first = name.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric());
    first && name.len() <= NAME_BYTES_MAX && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
}

/// Takes the sections of one file in.
fn declare<'a>(sources: &[Source<'a>], file: usize, table: DeTable<'a>, shape: &Shape, entries: &mut Entries<'a>, faults: &mut Vec<Fault>) {
    let source = &sources[file];
    for (section, value) in table {
        let name = section.get_ref().to_string();
        if !shape.sections().any(|known| known == name) {
            let what = format!("there is no section `{name}`; known: {}", shape.sections().collect::<Vec<_>>().join(", "));
            faults.push(fault(source, section.span(), name.clone(), what, nearest(&name, shape.sections())));
            continue;
        }
        let span = value.span();
        let DeValue::Table(named) = value.into_inner() else {
            faults.push(fault(source, span, name.clone(), format!("write `[{name}.NAME]` and its keys below"), None));
            continue;
        };
        for (key, value) in named {
            let path = format!("{name}.{}", key.get_ref());
            if !plain(key.get_ref()) {
                let what = format!("a name has 1 to {NAME_BYTES_MAX} letters, digits, `-`, `_` or `.`, and begins with a letter or digit");
                faults.push(fault(source, key.span(), path, what, None));
                continue;
            }
            match entries.entry((name.clone(), key.get_ref().to_string())) {
                Entry::Vacant(free) => drop(free.insert(Declared { file, name: key.span(), value })),
                Entry::Occupied(first) => {
                    let first = first.get();
                    let other = fault(&sources[first.file], first.name.clone(), String::new(), String::new(), None);
                    let what = format!("declared a second time: it stands in {}:{}:{} already", other.file, other.line, other.column);
                    faults.push(fault(source, key.span(), path, what, None));
                }
            }
        }
    }
}

/// The policy of all entries that are what they must be.
fn typed(sources: &[Source<'_>], entries: &Entries<'_>, shape: &Shape, faults: &mut Vec<Fault>) -> Policy {
    let mut policy = Policy::default();
    for ((section, name), declared) in entries {
        let (source, path) = (&sources[declared.file], format!("{section}.{name}"));
        let found = shape.entry(section, &declared.value, &path);
        if !found.is_empty() {
            faults.extend(found.into_iter().map(|one| fault(source, one.span, one.key, one.what, one.meant)));
            continue;
        }
        let taken = match section.as_str() {
            "group" => take(&mut policy.group, name, declared),
            "window" => take(&mut policy.window, name, declared),
            "check" => take(&mut policy.check, name, declared),
            "archive" => take(&mut policy.archive, name, declared),
            "freeze" => take(&mut policy.freeze, name, declared),
            "baseline" => take(&mut policy.baseline, name, declared),
            "exception" => take(&mut policy.exception, name, declared),
            "emergency" => take(&mut policy.emergency, name, declared),
            "team" => take(&mut policy.team, name, declared),
            "schedule" => take(&mut policy.schedule, name, declared),
            // A section of the schema that nobody reads would be dropped without a word.
            other => Err(<toml::de::Error as serde::de::Error>::custom(format!("the section `{other}` is not read"))),
        };
        if let Err(error) = taken {
            let mut one = said(source, &error, path.clone());
            // No value stands at the very beginning of a file.
            if error.span().is_none_or(|span| span.start == 0) {
                one = fault(source, quoted(declared, &one.what), path, one.what, None);
            }
            faults.push(one);
        }
    }
    policy
}

/// The place of the value that a message quotes; else that of the name. What reads variants by their `kind` keeps no places.
fn quoted(declared: &Declared<'_>, message: &str) -> Range<usize> {
    let text = message.split('`').nth(1).unwrap_or_default();
    let is_it = |value: &DeValue<'_>| match value {
        DeValue::String(own) => own == text,
        DeValue::Integer(own) => own.as_str() == text,
        _ => false,
    };
    let DeValue::Table(table) = declared.value.get_ref() else { return declared.name.clone() };
    table.iter().find(|(_, value)| is_it(value.get_ref())).map_or_else(|| declared.name.clone(), |(_, value)| value.span())
}

fn take<T: DeserializeOwned>(into: &mut BTreeMap<String, T>, name: &str, declared: &Declared<'_>) -> Result<(), toml::de::Error> {
    let mut value = declared.value.clone();
    times_to_text(value.get_mut());
    into.insert(name.to_owned(), T::deserialize(ValueDeserializer::from(value))?);
    Ok(())
}

/// TOML's own times are read as the texts that they are written as.
fn times_to_text(value: &mut DeValue<'_>) {
    match value {
        DeValue::Datetime(time) => *value = DeValue::String(time.to_string().into()),
        DeValue::Array(items) => items.iter_mut().for_each(|item| times_to_text(item.get_mut())),
        DeValue::Table(table) => table.iter_mut().for_each(|(_, value)| times_to_text(value.get_mut())),
        DeValue::String(_) | DeValue::Integer(_) | DeValue::Float(_) | DeValue::Boolean(_) => {}
    }
}

/// Everything that was declared, right or wrong: what is wrong in itself is not missing as well.
fn names<'a>(entries: &'a Entries<'_>) -> BTreeMap<&'a str, BTreeSet<&'a str>> {
    let mut names: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for (section, name) in entries.keys() {
        names.entry(section).or_default().insert(name);
    }
    names
}

/// The place of a path such as `group`, `web`, `checks`, `0`; of what is not written, that of what it would stand in.
fn place(entries: &Entries<'_>, path: &[String]) -> (usize, Range<usize>) {
    let [section, name, keys @ ..] = path else { return (0, 0..0) };
    let Some(declared) = entries.get(&(section.clone(), name.clone())) else { return (0, 0..0) };
    let (mut value, mut span) = (&declared.value, declared.name.clone());
    for key in keys {
        let next = match value.get_ref() {
            DeValue::Table(table) => table.get(key.as_str()).or_else(|| table.get(key.strip_suffix("_s")?)),
            DeValue::Array(items) => items.iter().find(|item| item.get_ref().as_str() == Some(key)),
            _ => None,
        };
        let Some(next) = next else { break };
        (value, span) = (next, next.span());
    }
    (declared.file, span)
}
