//! `fother scan`: this machine, or a root directory, with nothing set up.

use super::{Context, findings, vex};
use crate::{
    cli::Scan,
    failure::{FINE, Failure, NO, UNKNOWN},
    output::{Format, table},
    reader,
};
use fother_core::{inventory::Reboot, package::UpdateClass, vex::subject::Subject};
use fother_host::{
    findings::Judge,
    image, inventory,
    root::Root,
    scan::{self, Scan as Found},
};

/// Most lines of a list on a screen; JSON has all.
const LINES_MAX: usize = 40;

/// Runs the command.
pub fn run(context: &Context, arguments: &Scan) -> Result<u8, Failure> {
    if let Some(file) = &arguments.file {
        return findings::document(context, arguments, file);
    }
    let (image, root) = match &arguments.image {
        Some(path) => {
            let (about, root) = image::unpack(path, arguments.platform.as_deref(), &reader::work()?)?;
            (Some(about), Root::open(&root)?)
        }
        None => (None, Root::open(&arguments.root)?),
    };
    let database = findings::database(arguments.db.as_deref(), context, arguments.fail_on.as_deref())?;
    let subject = image.as_ref().map(|about| Subject::of_image(about.image.clone())).unwrap_or_default();
    let vex = vex::given(arguments, subject)?;
    let judge = database.as_ref().map(|database| Judge { vex, ..Judge::new(database, arguments.feed_max_age) });
    // A running machine answers at once; its files are many, and a disk that has not read them lately needs minutes. A root is named to be looked through.
    let languages = arguments.deep || !(arguments.advisories_only || arguments.packages_only || root.is_live());
    // Only dpkg hosts have archives that are looked at here.
    if arguments.advisories_only || fother_host::foreign::is_there(&root) {
        return findings::advisories_only(context, arguments, &root, judge.as_ref(), languages, image);
    }
    let wanted = scan::Wanted { lists: None, judge: judge.as_ref(), languages };
    let mut found = match scan::scan(&root, &wanted) {
        Ok(found) => found,
        Err(error) => {
            let why = (unreadable(&root, &error), image);
            return findings::without_packages(context, arguments, &root, judge.as_ref().filter(|_| languages), why);
        }
    };
    found.unknown.extend(image.iter().flat_map(|image| image.unknown.iter().cloned()));
    found.image = image;
    let queue = found.assessment.as_ref().map(|assessment| findings::queue(assessment, arguments.exposed.as_deref())).transpose()?;
    let new = match (&found.assessment, &queue) {
        (Some(assessment), Some(queue)) => findings::fails(assessment, queue, arguments)?,
        _ => Vec::new(),
    };
    if context.wanted.is_for_findings() {
        let (Some(assessment), Some(queue)) = (&found.assessment, &queue) else { return Err(findings::no_database()) };
        let image = found.image.as_ref().map(|about| &about.image);
        let judged = findings::Judged { distribution: &found.distribution, image, packages: &found.packages, assessment };
        findings::write(context.wanted, &judged, queue)?;
    } else {
        match context.format {
            Format::Json => {
                let choice = queue.as_ref().and_then(|queue| findings::chosen(queue, arguments));
                findings::envelope("scan", &found, &found.unknown, found.assessment.as_ref(), queue.as_ref(), choice.as_ref())?;
            }
            Format::Table => {
                print(&found);
                match (&found.assessment, &queue) {
                    (Some(assessment), Some(queue)) => {
                        findings::print(assessment, queue);
                        findings::chosen(queue, arguments).iter().for_each(findings::print_chosen);
                    }
                    _ => eprintln!("fother: no advisories were taken in, so vulnerabilities are not judged: `fother feeds update`"),
                }
            }
        }
    }
    findings::say(&new);
    Ok(code(&found, arguments.fail_on.as_deref()).max(if new.is_empty() { FINE } else { NO }))
}

/// No dpkg database: it is named what stands there instead.
pub fn unreadable(root: &Root, error: &scan::Error) -> Failure {
    let system = inventory::distribution(root);
    let name = if system.id.is_empty() { "an unknown system".to_owned() } else { format!("{} {}", system.id, system.version) };
    let what = format!("{} holds {name}, which cannot be assessed: {error}", root.path().display());
    Failure::new(UNKNOWN, what, "supported: Debian 11, 12 and 13")
}

fn code(found: &Found, fail_on: Option<&str>) -> u8 {
    if !found.unknown.is_empty() || matches!(found.reboot, Reboot::Unknown { .. }) {
        return UNKNOWN;
    }
    let counts = |update: &&scan::Update| update.kept.is_none() && (fail_on == Some("any") || update.class == UpdateClass::Security);
    let due = matches!(fail_on, Some("security" | "any")) && found.updates.iter().any(|update| counts(&update));
    if due { NO } else { FINE }
}

fn print(found: &Found) {
    let security = found.updates.iter().filter(|update| update.class == UpdateClass::Security).count();
    let distribution = &found.distribution;
    println!(
        "{} {} ({}), {} packages: {} updates, {security} of them security",
        distribution.id,
        distribution.version,
        found.architecture,
        found.installed,
        found.updates.len()
    );
    if let Some(image) = &found.image {
        println!("{}", findings::image_line(image));
    }
    let mut updates: Vec<&scan::Update> = found.updates.iter().collect();
    updates.sort_by_key(|update| (update.class, update.name.clone()));
    let rows: Vec<Vec<String>> = updates
        .iter()
        .take(LINES_MAX)
        .map(|update| {
            let mut notes: Vec<String> = update.closes.iter().map(|closes| closes.cve.clone()).take(3).collect();
            if update.closes.len() > 3 {
                notes.push(format!("and {} more", update.closes.len() - 3));
            }
            notes.extend(update.kept.iter().map(|why| format!("kept back: {why}")));
            let class = format!("{:?}", update.class).to_lowercase();
            vec![update.name.clone(), update.from.to_string(), update.to.to_string(), class, update.suite.clone(), notes.join(", ")]
        })
        .collect();
    if !rows.is_empty() {
        println!();
        table(&["package", "installed", "offered", "class", "from", "notes"], &rows);
    }
    more(found.updates.len());
    list("not assessed", found.not_assessed.iter().map(|kept| format!("{}: {}", kept.name, kept.why)));
    list("half-done by dpkg", found.broken.iter().map(|kept| format!("{}: {}", kept.name, kept.why)));
    list("restart due", found.restarts.iter().map(|service| format!("{} still maps {}", service.unit, service.stale_files.join(", "))));
    match &found.languages {
        Some(languages) => findings::print_languages(languages),
        None => println!("\nlanguage packages were not looked for (--deep does)"),
    }
    list("other patchers", found.other_patchers.iter().cloned());
    list("could not tell", found.unknown.iter().cloned());
    match &found.reboot {
        Reboot::No => println!("\nreboot     not due"),
        Reboot::Needed { reasons } => println!("\nreboot     DUE: {}", reasons.join("; ")),
        Reboot::Unknown { reasons } => println!("\nreboot     could not tell: {}", reasons.join("; ")),
    }
    if !found.updates.is_empty() {
        println!("\nNext: sudo fother rehearse    (what upgrading would do, on a clone, changing nothing)");
    }
}

fn list(title: &str, lines: impl Iterator<Item = String>) {
    let lines: Vec<String> = lines.collect();
    if lines.is_empty() {
        return;
    }
    println!("\n{title} ({}):", lines.len());
    for line in lines.iter().take(LINES_MAX) {
        println!("  {}", fother_core::text::printable(line, 200));
    }
    more(lines.len());
}

fn more(count: usize) {
    if count > LINES_MAX {
        println!("  … and {} more (--format json has all)", count - LINES_MAX);
    }
}
