//! One self-contained page: no script, no request to anywhere, dark and light. What others named is escaped by `maud`.

use super::{Subject, action, page, severity};
use crate::{
    assess::{
        host::{HostFinding, InEffect, Installable},
        in_use::InUse,
    },
    rank::Update,
    text::printable,
};
use maud::{DOCTYPE, Markup, PreEscaped, html};

/// Most rows of a table; the JSON form has all.
const ROWS_MAX: usize = 500;
const CELL_CHARS_MAX: usize = 400;
/// Width and height of the bar, in its own units.
const BAR: (usize, usize) = (1_000, 36);

const STYLE: &str = "\
:root{color-scheme:light dark;--paper:#fff;--ink:#1b1f24;--soft:#59636e;--line:#d1d9e0;--card:#f6f8fa;--link:#0550ae;\
--a:#1a7f37;--b:#9a6700;--c:#bc4c00;--d:#cf222e;--e:#6e7781;--f:#8250df;--g:#0969da}\
@media(prefers-color-scheme:dark){:root{--paper:#0d1117;--ink:#e6edf3;--soft:#9198a1;--line:#3d444d;--card:#161b22;--link:#79c0ff;\
--a:#3fb950;--b:#d29922;--c:#db6d28;--d:#f85149;--e:#8b949e;--f:#a371f7;--g:#4493f8}}\
*{box-sizing:border-box}body{margin:0 auto;max-width:84rem;padding:1.5rem;background:var(--paper);color:var(--ink);\
font:15px/1.5 system-ui,'Segoe UI',Roboto,'DejaVu Sans',sans-serif}\
h1{font-size:1.5rem;margin:0}h2{font-size:1.1rem;margin:2rem 0 .5rem}p{margin:.3rem 0}.soft{color:var(--soft)}a{color:var(--link)}\
.numbers{display:flex;flex-wrap:wrap;gap:.75rem;margin:1.2rem 0}.numbers div{background:var(--card);border:1px solid var(--line);\
border-radius:.5rem;padding:.6rem 1rem;min-width:8.5rem}.numbers b{display:block;font-size:1.6rem;line-height:1.2;font-variant-numeric:tabular-nums}\
svg.bar{width:100%;height:2.25rem;display:block;border-radius:.4rem}.key{display:flex;flex-wrap:wrap;gap:.3rem 1.2rem;padding:0;margin:.6rem 0;list-style:none}\
.key i{display:inline-block;width:.8rem;height:.8rem;border-radius:.2rem;margin-right:.4rem;vertical-align:-.05rem}\
.wide{overflow-x:auto;border:1px solid var(--line);border-radius:.5rem}table{border-collapse:collapse;width:100%}\
th,td{text-align:left;vertical-align:top;padding:.45rem .7rem;border-top:1px solid var(--line)}thead th{border-top:0;background:var(--card);\
font-size:.8rem;color:var(--soft);white-space:nowrap}td.n{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}\
td.id,td.day{white-space:nowrap}td.v{white-space:nowrap;max-width:20rem;overflow:hidden;text-overflow:ellipsis}td.w{min-width:18rem}\
.late{color:var(--d);font-weight:600}.tag{border:1px solid currentColor;border-radius:1rem;padding:0 .5rem;font-size:.8rem;white-space:nowrap}\
.d{color:var(--d)}.b{color:var(--b)}.a{color:var(--a)}.e{color:var(--soft)}ul.plain{padding-left:1.2rem;margin:.3rem 0}\
details summary{cursor:pointer}@media print{body{max-width:none;padding:0}.wide{overflow:visible}}";

/// Which of the answers a finding is shown under, in the order of the bar.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Group {
    Here,
    Restart,
    Kept,
    Elsewhere,
    NoFix,
    NotRunning,
    NotLooked,
}

impl Group {
    const ALL: [Self; 7] = [Self::Here, Self::Restart, Self::Kept, Self::Elsewhere, Self::NoFix, Self::NotRunning, Self::NotLooked];

    fn of(finding: &HostFinding) -> Self {
        if finding.in_effect == InEffect::NotBooted {
            return Self::NotRunning;
        }
        if matches!(finding.in_effect, InEffect::AfterReboot | InEffect::AfterRestart) {
            return Self::Restart;
        }
        match finding.installable {
            Installable::Yes { .. } => Self::Here,
            Installable::Kept { .. } => Self::Kept,
            Installable::No { .. } => Self::Elsewhere,
            Installable::NotPublished => Self::NoFix,
            Installable::Unknown => Self::NotLooked,
        }
    }

    fn words(self) -> &'static str {
        match self {
            Self::Here => "fix installable here",
            Self::Restart => "fix installed, waits for a restart",
            Self::Kept => "offered, kept back",
            Self::Elsewhere => "published, not offered here",
            Self::NoFix => "no fix published",
            Self::NotRunning => "in a kernel that is not booted",
            Self::NotLooked => "fix published, archives not looked at",
        }
    }

    fn colour(self) -> &'static str {
        match self {
            Self::Here => "var(--a)",
            Self::Restart => "var(--g)",
            Self::Kept => "var(--b)",
            Self::Elsewhere => "var(--c)",
            Self::NoFix => "var(--d)",
            Self::NotRunning => "var(--e)",
            Self::NotLooked => "var(--f)",
        }
    }
}

/// The page.
#[must_use]
pub fn page_of(subject: &Subject<'_>) -> String {
    let assessment = subject.assessment;
    let name = format!("{} {}", subject.distribution.id, subject.distribution.version);
    let name = if name.trim().is_empty() { "Packages".to_owned() } else { name };
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="referrer" content="no-referrer";
                title { "Fother: " (cell(&name)) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                h1 { (cell(&name)) ": vulnerabilities and what to do" }
                p.soft {
                    (subject.packages.len()) " packages · " (subject.at.to_string()) " · fother " (subject.version)
                    @if !assessment.support.is_empty() { " · " (cell(&assessment.support)) }
                }
                (numbers(subject))
                h2 { "Findings by answer" }
                (bar(subject))
                (queue(subject))
                (without_fix(subject))
                (unknown(subject))
                (feeds(subject))
            }
        }
    }
    .into_string()
}

fn cell(text: &str) -> String {
    printable(text, CELL_CHARS_MAX)
}

fn numbers(subject: &Subject<'_>) -> Markup {
    let findings = &subject.assessment.findings;
    let count = |wanted: &dyn Fn(&HostFinding) -> bool| findings.iter().filter(|finding| wanted(finding)).count();
    let overdue = subject.queue.updates.iter().filter(|update| left(update).is_some_and(|left| left < 0)).count();
    let shown = [
        ("findings", findings.len()),
        ("updates", subject.queue.updates.len()),
        ("overdue", overdue),
        ("known exploited", count(&|f| f.exploits.contains(&"KEV"))),
        ("run by a process that others can reach", count(&|f| f.in_use == InUse::Listening)),
        ("could not be told", subject.assessment.unknown.len()),
    ];
    html! { div.numbers { @for (what, number) in shown { div { b { (number) } span.soft { (what) } } } } }
}

fn bar(subject: &Subject<'_>) -> Markup {
    let findings = &subject.assessment.findings;
    let counts: Vec<(Group, usize)> = Group::ALL
        .into_iter()
        .map(|group| (group, findings.iter().filter(|finding| Group::of(finding) == group).count()))
        .filter(|(_, count)| *count > 0)
        .collect();
    if counts.is_empty() {
        return html! { p { "There are none." } };
    }
    let total = findings.len().max(1);
    let mut parts = Vec::new();
    let mut before = 0;
    for (group, count) in &counts {
        let (from, to) = (before * BAR.0 / total, (before + count) * BAR.0 / total);
        before += count;
        parts.push((*group, *count, from, (to - from).max(2)));
    }
    let label: Vec<String> = counts.iter().map(|(group, count)| format!("{count} {}", group.words())).collect();
    html! {
        svg.bar viewBox={ "0 0 " (BAR.0) " " (BAR.1) } preserveAspectRatio="none" role="img" aria-label=(label.join(", ")) {
            @for (group, count, from, width) in &parts {
                rect x=(from) y="0" width=(width) height=(BAR.1) style={ "fill:" (group.colour()) } {
                    title { (count) " " (group.words()) }
                }
            }
        }
        ul.key {
            @for (group, count) in &counts {
                li { i style={ "background:" (group.colour()) } {} b { (count) } " " (group.words()) }
            }
        }
    }
}

fn left(update: &Update) -> Option<i64> {
    update.deadline.as_ref().and_then(|deadline| deadline.days_left)
}

fn due(update: &Update) -> Markup {
    let Some(deadline) = &update.deadline else { return html! { span.soft { "none" } } };
    html! {
        @match deadline.days_left {
            Some(left) if left < 0 => { span.late { (deadline.day.to_string()) br; (-left) " days over" } },
            Some(left) => { (deadline.day.to_string()) br; span.soft { (left) " days left" } },
            None => { "on upgrade" },
        }
        br;
        span.soft { (cell(&deadline.pack)) }
    }
}

fn installable(update: &Update) -> Markup {
    if update.reboot {
        return html! { span.tag.b { "installed: reboot" } };
    }
    if update.restart {
        return html! { span.tag.b { "installed: restart" } };
    }
    match &update.installable {
        Installable::Yes { .. } => html! { span.tag.a { "yes" } },
        Installable::Kept { why } => html! { span.tag.b { "kept back" } br; span.soft { (cell(why)) } },
        Installable::No { .. } => html! { span.tag.d { "no" } },
        Installable::NotPublished => html! { span.tag.d { "not published" } },
        Installable::Unknown => html! { span.tag.e { "not looked at" } },
    }
}

fn queue(subject: &Subject<'_>) -> Markup {
    let updates = &subject.queue.updates;
    html! {
        h2 { "Updates, the most urgent first" }
        @if updates.is_empty() {
            p { "There is no update that closes anything." }
        } @else {
            div.wide { table {
                thead { tr { th { "#" } th { "Update" } th { "To" } th { "Closes" } th { "Risk" } th { "Due" } th { "Installable" } th { "Because" } } }
                tbody {
                    @for (at, update) in updates.iter().take(ROWS_MAX).enumerate() {
                        tr {
                            td.n { (at + 1) }
                            td.v { b { (cell(&update.source)) } br; span.soft { (cell(&update.from)) } }
                            td.v { (cell(update.to.as_deref().unwrap_or("none"))) }
                            td.n { (update.closes.len()) }
                            td.n { (update.risk_millionths / 10_000) "." (format!("{:02}", update.risk_millionths % 10_000 / 100)) " %" }
                            td.day { (due(update)) }
                            td { (installable(update)) }
                            td.w {
                                @if update.exploited > 0 { span.tag.d { "known exploited" } " " }
                                (reasons(&update.reasons))
                            }
                        }
                    }
                }
            } }
            (rest(updates.len()))
        }
    }
}

/// The first reason; the others unfold, without a script.
fn reasons(all: &[String]) -> Markup {
    let Some((first, others)) = all.split_first() else { return html! {} };
    html! {
        @if others.is_empty() {
            (cell(first))
        } @else {
            details { summary { (cell(first)) } @for reason in others { (cell(reason)) br; } }
        }
    }
}

fn without_fix(subject: &Subject<'_>) -> Markup {
    let open: Vec<&HostFinding> = subject.assessment.findings.iter().filter(|finding| finding.fixed.is_none()).collect();
    html! {
        @if !open.is_empty() {
            h2 { "No fix published" }
            div.wide { table {
                thead { tr { th { "Vulnerability" } th { "Package" } th { "Severity" } th { "What to do" } } }
                tbody {
                    @for finding in open.iter().take(ROWS_MAX) {
                        tr {
                            td.id { a href=(page(&finding.id)) rel="noreferrer" { (cell(&finding.id)) } }
                            td.v { (cell(&finding.source)) br; span.soft { (cell(&finding.version)) } }
                            td { (severity(finding)) }
                            td.w { (cell(&action(finding))) br; span.soft { (cell(&finding.title)) } }
                        }
                    }
                }
            } }
            (rest(open.len()))
        }
    }
}

fn rest(count: usize) -> Markup {
    html! { @if count > ROWS_MAX { p.soft { "… and " (count - ROWS_MAX) " more; --format json has all." } } }
}

fn unknown(subject: &Subject<'_>) -> Markup {
    let unknown = &subject.assessment.unknown;
    html! {
        @if !unknown.is_empty() {
            h2 { "Could not be told" }
            ul.plain { @for why in unknown.iter().take(ROWS_MAX) { li { (cell(why)) } } }
            (rest(unknown.len()))
        }
    }
}

fn feeds(subject: &Subject<'_>) -> Markup {
    html! {
        h2 { "Rests on" }
        div.wide { table {
            thead { tr { th { "Feed" } th { "Newest entry" } th { "Records" } th { "SHA-256" } } }
            tbody {
                @for feed in &subject.assessment.feeds {
                    tr { td { (cell(&feed.name)) } td.day { (feed.date.to_string()) } td.n { (feed.records) } td.v { (feed.sha256.get(..16).unwrap_or_default()) "…" } }
                }
            }
        } }
        @if let Some(database) = subject.assessment.database { p.soft { "Database " (database.to_string()) } }
    }
}
