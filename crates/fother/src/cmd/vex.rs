//! VEX on the command line: documents that the user names, and what came of their statements.

use crate::{
    cli::Scan,
    failure::{Failure, USAGE},
};
use fother_core::{
    Timestamp,
    advisory::reader::Database,
    assess::{components, host::Assessment},
    inventory::Distribution,
    sbom::Sbom,
    text::printable,
    vex::{
        Product,
        apply::{self, Given, Weighed},
        subject::Subject,
    },
};

use fother_feeds::database::Blocks;

/// Most lines on a screen; JSON has all.
const LINES_MAX: usize = 15;

/// Reads what the command line names.
pub fn given(arguments: &Scan, subject: Subject) -> Result<Given, Failure> {
    let mut out = Given { statements: Vec::new(), authors: arguments.vex_author.clone(), subject };
    if let Some(purl) = &arguments.vex_product {
        let product = Product::of_purl(purl).map_err(|why| Failure::new(USAGE, format!("--vex-product: {why}"), ""))?;
        out.subject.product = Some(product);
    }
    for path in &arguments.vex {
        let failed = |why: String| {
            let what = format!("--vex {}: {}", path.display(), printable(&why, 300));
            Failure::new(USAGE, what, "name an OpenVEX, CycloneDX or CSAF document")
        };
        let from = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let statements = fother_feeds::vendor::vex::statements(path).map_err(failed)?;
        out.statements.extend(statements.into_iter().map(|statement| (from.clone(), statement)));
    }
    Ok(out)
}

/// Assesses what a document says, with the statements of feeds and of the user.
pub fn document(
    database: &Database<Blocks>,
    read: Sbom,
    now: Timestamp,
    feed_days_max: Option<u32>,
    given: &Given,
) -> Result<(Distribution, Assessment), Failure> {
    let system = read.distribution.clone().unwrap_or_default();
    let items = apply::of_components(&system, &read.components, components::label);
    let (distribution, mut assessment) = components::document(database, read, now, feed_days_max)?;
    apply::apply(database, given, || items, &mut assessment)?;
    Ok((distribution, assessment))
}

/// Statements for people: those of others than the vendor and those that do not count first.
pub fn print(assessment: &Assessment) {
    let all = &assessment.statements;
    if all.is_empty() {
        return;
    }
    let honoured = all.iter().filter(|weighed| weighed.honoured).count();
    println!("\nstatements (VEX): {} speak of packages here, {honoured} count", all.len());
    let mut sorted: Vec<&Weighed> = all.iter().collect();
    sorted.sort_by_key(|weighed| (weighed.vendor, weighed.honoured));
    for weighed in sorted.iter().take(LINES_MAX) {
        println!("  {}", printable(&line(weighed), 300));
    }
    if all.len() > LINES_MAX {
        println!("  … and {} more (--format json has all)", all.len() - LINES_MAX);
    }
}

/// `CVE-2024-1 zlib 1.2: not affected (code_not_present), says Ann (not the vendor), x.json`
pub fn line(weighed: &Weighed) -> String {
    let status = serde_json::to_value(weighed.status).ok().and_then(|value| value.as_str().map(|text| text.replace('_', " ")));
    let why = if weighed.why.is_empty() { String::new() } else { format!(" ({})", weighed.why) };
    let who = if weighed.who.is_empty() { "an author without a name" } else { &weighed.who };
    let vendor = if weighed.vendor { "" } else { " (not the vendor)" };
    let document = if weighed.document.is_empty() { String::new() } else { format!(" in {}", weighed.document) };
    let because = if weighed.honoured { String::new() } else { format!("; DOES NOT COUNT: {}", weighed.because) };
    format!(
        "{} {}: {}{why}, says {who}{vendor}{document}, from {}{because}",
        weighed.id,
        weighed.product,
        status.unwrap_or_default(),
        weighed.from
    )
}
