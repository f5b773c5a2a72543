//! Findings on the screen and in files: the ranked queue, other tools' forms, what a pipeline fails on.

use super::{Context, feeds, vex};
use crate::{
    cli::Scan,
    failure::{FINE, Failure, NO, REFUSED, UNKNOWN, USAGE},
    output::{Format, Wanted, table},
};
use fother_core::{
    advisory::{Day, reader::Database},
    assess::{
        Class,
        host::{Assessment, HostFinding, Installable},
    },
    cvss::Severity,
    image::Image,
    inventory::Distribution,
    rank::{
        self, Asset, Queue, Update,
        budget::{self, Budget, Choice},
        rules::Pack,
    },
    report::{self, Subject},
    sbom::{self, Component, Sbom},
    vex::subject,
};
use fother_feeds::database::{self, Blocks};
use fother_host::{
    findings::Judge,
    image::About,
    languages,
    root::Root,
    scan::{Languages, clock},
};
use serde::Serialize;
use serde_json::{Value, json};
use std::{collections::BTreeSet, path::Path};

/// Most lines of a list on a screen; JSON has all.
const LINES_MAX: usize = 25;
/// Largest baseline, in bytes.
const BASELINE_BYTES_MAX: u64 = 256 << 20;

/// The advisory database: the named one, or the usual one if it is there. What asks for findings needs one.
pub fn database(path: Option<&Path>, context: &Context, fail_on: Option<&str>) -> Result<Option<Database<Blocks>>, Failure> {
    let usual = feeds::default_dir().join("advisories.db");
    if let Some(path) = path {
        return Ok(Some(database::open(path)?));
    }
    if usual.exists() {
        return Ok(Some(database::open(&usual)?));
    }
    let asked = context.wanted.is_for_findings() || fail_on.is_some_and(|kind| !matches!(kind, "security" | "any"));
    if asked {
        return Err(Failure::new(
            UNKNOWN,
            "there is no database of advisories",
            "run `fother feeds update` or `fother feeds import`, or name one with --db",
        ));
    }
    Ok(None)
}

/// What is known about this host beyond its packages.
pub fn asset(exposed: Option<&str>) -> Asset {
    Asset { publicly_exposed: exposed.map(|answer| answer == "yes") }
}

/// The ranked queue.
pub fn queue(assessment: &Assessment, exposed: Option<&str>) -> Result<Queue, Failure> {
    let packs = Pack::built_in().map_err(|why| Failure::new(REFUSED, why, ""))?;
    Ok(rank::queue(&assessment.findings, asset(exposed), &packs, Day::of(clock())))
}

/// `fother scan --advisories-only`, and roots of other package managers than dpkg.
pub fn advisories_only(
    context: &Context,
    arguments: &Scan,
    root: &Root,
    judge: Option<&Judge<'_>>,
    with_languages: bool,
    image: Option<About>,
) -> Result<u8, Failure> {
    let judge = judge.ok_or_else(no_database)?;
    let mut found = judge.quick(root).map_err(|error| super::scan::unreadable(root, &error))?;
    found.assessment.unknown.extend(image.iter().flat_map(|image| image.unknown.iter().cloned()));
    let count = found.packages.count();
    let title = format!("{} {} ({}), {count} packages", found.distribution.id, found.distribution.version, found.architecture);
    // A table lists none of them.
    let is_listed = context.wanted.is_for_findings() || context.format == Format::Json;
    let mut packages = if is_listed { found.packages.into_components(&found.distribution) } else { Vec::new() };
    let walked = with_languages.then(|| {
        let owned = languages::Owned::of_others(root);
        let mut walked = languages::find(root, &owned);
        walked.unknown.extend(owned.unknown);
        walked
    });
    if let Some(walked) = &walked {
        found.assessment.unknown.extend(walked.unknown.iter().cloned());
        judge.add(&found.distribution, &walked.components, &mut found.assessment)?;
        packages.extend(walked.components.iter().cloned());
    }
    let languages = walked.as_ref().map(Languages::of);
    let head = Head { title: &title, image: image.as_ref(), languages: languages.as_ref() };
    let about = image.as_ref().map(|about| &about.image);
    let judged = Judged { distribution: &found.distribution, image: about, packages: &packages, assessment: &found.assessment };
    show(context, arguments, &judged, &head)
}

/// A root without any package database: its language packages are assessed all the same, and what is missing is named.
/// Where there are none either, `unreadable` says why there is no answer.
pub fn without_packages(
    context: &Context,
    arguments: &Scan,
    root: &Root,
    judge: Option<&Judge<'_>>,
    (unreadable, image): (Failure, Option<About>),
) -> Result<u8, Failure> {
    let Some(judge) = judge else { return Err(unreadable) };
    let walked = languages::find(root, &languages::Owned::default());
    if walked.components.is_empty() {
        return Err(unreadable);
    }
    let mut assessment = judge.nothing()?;
    assessment.unknown.extend(image.iter().flat_map(|image| image.unknown.iter().cloned()));
    assessment.unknown.extend(walked.unknown.iter().cloned());
    assessment.unknown.push(unreadable.what.clone());
    let distribution = fother_host::inventory::distribution(root);
    judge.add(&distribution, &walked.components, &mut assessment)?;
    let title = format!("{}: no packages of a distribution", root.path().display());
    let languages = Languages::of(&walked);
    let head = Head { title: &title, image: image.as_ref(), languages: Some(&languages) };
    let about = image.as_ref().map(|about| &about.image);
    let judged = Judged { distribution: &distribution, image: about, packages: &walked.components, assessment: &assessment };
    show(context, arguments, &judged, &head)
}

/// An image in one line.
pub fn image_line(image: &About) -> String {
    let layers = if image.layers == 0 { String::new() } else { format!(", {} layers", image.layers) };
    let image = &image.image;
    let platform = if image.platform.is_empty() { String::new() } else { format!(", {}", image.platform) };
    let name = image.references.first().map(|name| format!("{name} ")).unwrap_or_default();
    format!("image {name}{} ({}{platform}{layers})", image.digest, image.form)
}

/// Language packages for people.
pub fn print_languages(found: &Languages) {
    let counts = if found.counts.is_empty() { "none" } else { &found.counts };
    println!("\nlanguage packages: {counts}; {} files of others belong to packages of the distribution", found.of_packages);
    for why in found.left_out.iter().take(LINES_MAX) {
        println!("  left out: {}", fother_core::text::printable(why, 200));
    }
}

/// Reads an SBOM, a lock file or a source tree's lock files; what it is, is told by its content or its name.
pub fn read_document(file: &Path) -> Result<Sbom, Failure> {
    let failed = |why: String| {
        Failure::new(USAGE, format!("{}: {why}", file.display()), "name a CycloneDX or SPDX document, a lock file or a source tree")
    };
    let left_out = |why| Failure::new(UNKNOWN, format!("{} {why}", file.display()), "nothing of it is reported");
    fother_feeds::reading::begin(&file.display().to_string()).map_err(left_out)?;
    let metadata = std::fs::metadata(file).map_err(|error| failed(error.to_string()))?;
    if metadata.is_dir() {
        let tree = Root::open(file).map_err(|error| failed(error.to_string()))?;
        return languages::lock_files(&tree).map_err(failed);
    }
    if !metadata.is_file() {
        return Err(failed("it is neither a file nor a directory".into()));
    }
    if metadata.len() > sbom::DOCUMENT_BYTES_MAX as u64 {
        return Err(failed(format!("larger than {} bytes", sbom::DOCUMENT_BYTES_MAX)));
    }
    let bytes = std::fs::read(file).map_err(|error| failed(error.to_string()))?;
    let name = file.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let read = if sbom::lock::is_known(name) { sbom::lock::parse(name, &bytes) } else { sbom::parse(&bytes) };
    read.map_err(failed)
}

/// `fother scan --file`.
pub fn document(context: &Context, arguments: &Scan, file: &Path) -> Result<u8, Failure> {
    let database = database(arguments.db.as_deref(), context, Some("vulnerable"))?.ok_or_else(no_database)?;
    let read = read_document(file)?;
    let title = format!("{}, {} components", read.form, read.components.len());
    let packages = read.components.clone();
    // What the document says about itself, so that statements on a whole find it.
    let given = vex::given(arguments, subject::of_document(&if file.is_dir() { Vec::new() } else { std::fs::read(file)? }))?;
    let (distribution, assessment) = vex::document(&database, read, clock(), arguments.feed_max_age, &given)?;
    show(
        context,
        arguments,
        &Judged { distribution: &distribution, image: None, packages: &packages, assessment: &assessment },
        &Head { title: &title, image: None, languages: None },
    )
}

/// What asks for findings needs a database.
pub fn no_database() -> Failure {
    Failure::new(UNKNOWN, "there is no database of advisories", "run `fother feeds update` or `fother feeds import`, or name one with --db")
}

/// What was judged and what it came to.
#[derive(Clone, Copy)]
pub struct Judged<'a> {
    /// Distribution.
    pub distribution: &'a Distribution,
    /// The image that it is of.
    pub image: Option<&'a Image>,
    /// Everything that is installed.
    pub packages: &'a [Component],
    /// The findings.
    pub assessment: &'a Assessment,
}

/// What stands above findings.
struct Head<'a> {
    title: &'a str,
    image: Option<&'a About>,
    languages: Option<&'a Languages>,
}

/// Prints findings that stand alone, in the form that was asked for.
fn show(context: &Context, arguments: &Scan, judged: &Judged<'_>, head: &Head<'_>) -> Result<u8, Failure> {
    let assessment = judged.assessment;
    let queue = queue(assessment, arguments.exposed.as_deref())?;
    let new = fails(assessment, &queue, arguments)?;
    if context.wanted.is_for_findings() {
        write(context.wanted, judged, &queue)?;
    } else {
        match context.format {
            Format::Json => {
                let mut data = json!({"distribution": judged.distribution, "packages": judged.packages, "assessment": assessment});
                if let Some(image) = head.image {
                    data["image"] = json!(image);
                }
                if let Some(languages) = head.languages {
                    data["languages"] = serde_json::to_value(languages)?;
                }
                let choice = chosen(&queue, arguments);
                envelope("scan", &data, &assessment.unknown, Some(assessment), Some(&queue), choice.as_ref())?;
            }
            Format::Table => {
                println!("{}", fother_core::text::printable(head.title, 200));
                head.image.iter().for_each(|image| println!("{}", fother_core::text::printable(&image_line(image), 200)));
                head.languages.iter().for_each(|found| print_languages(found));
                print(assessment, &queue);
                chosen(&queue, arguments).iter().for_each(print_chosen);
                for why in assessment.unknown.iter().take(LINES_MAX) {
                    println!("could not tell: {}", fother_core::text::printable(why, 300));
                }
            }
        }
    }
    say(&new);
    let code = if assessment.unknown.is_empty() { FINE } else { UNKNOWN };
    Ok(code.max(if new.is_empty() { FINE } else { NO }))
}

/// The envelope with the feeds that the answer rests on.
pub fn envelope<T: Serialize>(
    noun: &str,
    data: &T,
    unknown: &[String],
    assessment: Option<&Assessment>,
    queue: Option<&Queue>,
    choice: Option<&Choice>,
) -> Result<(), Failure> {
    let feeds = assessment.map(|a| a.feeds.as_slice()).unwrap_or_default();
    let mut data = serde_json::to_value(data)?;
    if let (Some(queue), Some(object)) = (queue, data.as_object_mut()) {
        object.insert("queue".into(), serde_json::to_value(queue)?);
        if let Some(choice) = choice {
            object.insert("budget".into(), serde_json::to_value(choice)?);
        }
    }
    let value = json!({"schema": format!("fother.{noun}/1"), "data": data, "unknown": unknown, "feeds": feeds, "errors": []});
    println!("{}", serde_json::to_string_pretty(&value)?);
    Ok(())
}

/// Another tool's form.
pub fn write(wanted: Wanted, judged: &Judged<'_>, queue: &Queue) -> Result<(), Failure> {
    let Judged { distribution, image, packages, assessment } = *judged;
    let subject = Subject { distribution, image, packages, assessment, queue, version: env!("CARGO_PKG_VERSION"), at: clock() };
    let value = match wanted {
        Wanted::Sarif => report::sarif::log(&subject),
        Wanted::Cyclonedx => report::cyclonedx::document(&subject),
        Wanted::Openvex => report::openvex::document(&subject),
        Wanted::Spdx => report::spdx::document(&subject),
        Wanted::Csv => {
            print!("{}", report::csv::table(&subject));
            return Ok(());
        }
        Wanted::Html => {
            println!("{}", report::html::page_of(&subject));
            return Ok(());
        }
        Wanted::Table | Wanted::Json | Wanted::Ics => return Ok(()),
    };
    println!("{}", serde_json::to_string_pretty(&value)?);
    Ok(())
}

/// The identity of a finding across runs: not its version, so that an update that does not help stays accepted.
fn key(finding: &HostFinding) -> (String, String) {
    (finding.id.clone(), finding.source.clone())
}

/// Findings of an earlier JSON output.
fn baseline(path: &Path) -> Result<BTreeSet<(String, String)>, Failure> {
    let failed =
        |why: String| Failure::new(USAGE, format!("baseline {}: {why}", path.display()), "make one with `fother scan --format json`");
    if std::fs::metadata(path)?.len() > BASELINE_BYTES_MAX {
        return Err(failed(format!("larger than {BASELINE_BYTES_MAX} bytes")));
    }
    let value: Value = serde_json::from_slice(&std::fs::read(path)?).map_err(|error| failed(error.to_string()))?;
    let findings = value["data"]["assessment"]["findings"].as_array().ok_or_else(|| failed("it has no findings".into()))?;
    let word = |finding: &Value, name: &str| finding[name].as_str().map(str::to_owned);
    findings
        .iter()
        .map(|f| Some((word(f, "id")?, word(f, "source")?)))
        .collect::<Option<_>>()
        .ok_or_else(|| failed("a finding has no id".into()))
}

/// The findings that `--fail-on` names and the baseline does not have, for people.
pub fn fails(assessment: &Assessment, queue: &Queue, arguments: &Scan) -> Result<Vec<String>, Failure> {
    let known = arguments.baseline.as_deref().map(baseline).transpose()?.unwrap_or_default();
    let Some(kind) = arguments.fail_on.as_deref() else { return Ok(Vec::new()) };
    let overdue: BTreeSet<&str> = queue
        .updates
        .iter()
        .filter_map(|update| update.deadline.as_ref())
        .filter(|deadline| deadline.days_left.is_some_and(|left| left < 0))
        .map(|deadline| deadline.id.as_str())
        .collect();
    let at_least = |finding: &HostFinding, lowest| finding.cvss.is_some_and(|score| score.severity() >= lowest);
    let counts = |finding: &&HostFinding| {
        let fits = match kind {
            "vulnerable" => true,
            "fixable" => matches!(finding.installable, Installable::Yes { .. }),
            "kev" => finding.exploits.contains(&"KEV"),
            "critical" => at_least(finding, Severity::Critical),
            "high" => at_least(finding, Severity::High),
            "overdue" => overdue.contains(finding.id.as_str()),
            // Of updates, not of findings.
            _ => false,
        };
        fits && finding.class == Class::Security && !known.contains(&key(finding))
    };
    Ok(assessment
        .findings
        .iter()
        .filter(counts)
        .map(|f| format!("{} in {} {}: {}", f.id, f.source, f.version, report::action(f)))
        .collect())
}

/// Says on standard error what a pipeline failed on.
pub fn say(new: &[String]) {
    for line in new.iter().take(LINES_MAX) {
        eprintln!("fother: fails: {}", fother_core::text::printable(line, 300));
    }
    if new.len() > LINES_MAX {
        eprintln!("fother: fails: and {} more", new.len() - LINES_MAX);
    }
}

/// What of the queue fits the budget, where one is given.
pub fn chosen(queue: &Queue, arguments: &Scan) -> Option<Choice> {
    let windows = arguments.budget.as_ref()?;
    let budget = Budget { windows_s: windows.0.clone(), reboots: arguments.reboots };
    Some(budget::choose(&budget::candidates(&queue.updates), &budget))
}

/// What fits the budget, for people.
pub fn print_chosen(choice: &Choice) {
    println!(
        "\nin the budget: {} updates in {} min, {} reboots; they remove {} of {} expected risk (times are estimates, not rehearsed)",
        choice.taken.len(),
        choice.seconds.div_ceil(60),
        choice.reboots,
        rank::percent(choice.removed),
        rank::percent(choice.total)
    );
    for taken in choice.taken.iter().take(LINES_MAX) {
        println!("  window {}: {}: {}", taken.window, taken.name, taken.why);
    }
    for left in choice.left.iter().take(LINES_MAX) {
        println!("  left out: {}: {}", left.name, fother_core::text::printable(&left.why, 200));
    }
    let more = choice.taken.len().saturating_sub(LINES_MAX) + choice.left.len().saturating_sub(LINES_MAX);
    if more > 0 {
        println!("  … and {more} more (--format json has all)");
    }
}

/// The queue for people.
pub fn print(assessment: &Assessment, queue: &Queue) {
    let count = |wanted: &dyn Fn(&HostFinding) -> bool| assessment.findings.iter().filter(|f| wanted(f)).count();
    let (published, here) = (count(&|f| f.fixed.is_some()), count(&|f| matches!(f.installable, Installable::Yes { .. })));
    println!(
        "\nvulnerable {} · fix published {published} · installable here {here} · known exploited {}",
        assessment.findings.len(),
        count(&|f| f.exploits.contains(&"KEV"))
    );
    if !assessment.support.is_empty() {
        println!("{}: {}", assessment.release, assessment.support);
    }
    let rows: Vec<Vec<String>> = queue.updates.iter().take(LINES_MAX).enumerate().map(|(at, update)| row(at + 1, update)).collect();
    if !rows.is_empty() {
        println!();
        table(&["", "update", "to", "closes", "risk", "due", "installable", "because"], &rows);
    }
    if queue.updates.len() > LINES_MAX {
        println!("  … and {} more (--format json has all)", queue.updates.len() - LINES_MAX);
    }
    let open: Vec<&HostFinding> = assessment.findings.iter().filter(|finding| finding.fixed.is_none()).collect();
    for finding in open.iter().take(LINES_MAX) {
        let title = fother_core::text::printable(&finding.title, 80);
        let note = if finding.note.is_empty() { String::new() } else { format!(" [{}]", fother_core::text::printable(&finding.note, 100)) };
        println!("no fix: {} in {} {}: {} ({title}){note}", finding.id, finding.source, finding.version, report::action(finding));
    }
    if open.len() > LINES_MAX {
        println!("  … and {} more without a fix (--format json has all)", open.len() - LINES_MAX);
    }
    vex::print(assessment);
    for line in &assessment.unsupported {
        println!("support of {}: {}", line.source, fother_core::text::printable(&line.why, 160));
    }
}

fn row(at: usize, update: &Update) -> Vec<String> {
    let due = update.deadline.as_ref().map_or(String::new(), |deadline| match deadline.days_left {
        Some(left) if left < 0 => format!("{} (over)", deadline.day),
        Some(_) => deadline.day.to_string(),
        None => "on upgrade".into(),
    });
    let installable = match &update.installable {
        _ if update.reboot => "installed: reboot".to_owned(),
        _ if update.restart => "installed: restart".to_owned(),
        Installable::Yes { .. } => "yes".into(),
        Installable::Kept { why } => format!("kept: {why}"),
        Installable::No { .. } => "no".into(),
        Installable::NotPublished => "not published".into(),
        Installable::Unknown => "not looked at".into(),
    };
    vec![
        at.to_string(),
        update.source.clone(),
        update.to.clone().unwrap_or_default(),
        update.closes.len().to_string(),
        rank::percent(update.risk_millionths),
        due,
        installable,
        update.reasons.first().cloned().unwrap_or_default(),
    ]
}
