//! `fother explain --fleet`: which hosts a vulnerability, a package or an update is on, in which cohorts, why and by when; or all about one host.

use super::{
    super::{host::affected::escaped, plan::queue},
    Context, line,
};
use crate::{
    cli::Explain,
    failure::{FINE, Failure, UNKNOWN},
    output::Format,
};
use fother_core::{rank::percent, text::printable};
use serde_json::{Value, json};

/// Findings that are derived in full; JSON has all.
const FINDINGS_SHOWN: usize = 5;
/// Lines of a queue and of what could not be told.
const LINES_MAX: usize = 25;

/// Asks and prints.
pub fn run(context: &Context, arguments: &Explain) -> Result<u8, Failure> {
    let exposed = arguments.exposed.as_deref().map(|answer| format!("&exposed={}", answer == "yes")).unwrap_or_default();
    let mut answer: Value = context.client()?.get(&format!("/api/v1/explain?what={}{exposed}", escaped(&arguments.what)))?;
    let (unknown, feeds) = (answer["unknown"].take(), answer["feeds"].take());
    let unknown: Vec<String> = unknown.as_array().into_iter().flatten().map(text).collect();
    let code = if unknown.is_empty() { FINE } else { UNKNOWN };
    if context.format == Format::Json {
        let value = json!({"schema": "fother.explain-fleet/1", "data": answer, "unknown": unknown, "feeds": feeds, "errors": []});
        println!("{}", serde_json::to_string_pretty(&value)?);
        return Ok(code);
    }
    if answer["kind"] == "host" {
        host(&answer)
    } else {
        subject(&answer)
    }
    println!("\nrests on {} feeds", feeds.as_array().map_or(0, Vec::len));
    unknown.iter().take(LINES_MAX).for_each(|why| println!("could not tell: {}", printable(why, 300)));
    Ok(code)
}

/// A value for people.
fn text(value: &Value) -> String {
    if value.is_null() { "not known".to_owned() } else { super::super::status::text(value) }
}

fn each(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

/// Texts of a list, joined.
fn joined(list: &Value) -> String {
    each(list).map(text).collect::<Vec<_>>().join(", ")
}

fn host(answer: &Value) {
    let host = &answer["host"];
    println!("{} ({})", printable(&text(&host["hostname"]), 80), text(&host["id"]));
    line(
        "system",
        format!("{} {}, {} packages", text(&host["distribution"]["id"]), text(&host["distribution"]["version"]), host["packages"]),
    );
    let labels = host["labels"].as_object().into_iter().flatten().map(|(name, value)| format!("{name}={}", text(value)));
    line("labels", labels.collect::<Vec<_>>().join(" "));
    line("patching", if host["observe"] == true { "off: it only observes" } else { "on" });
    line("heard of", if host["lost"] == true { "no: LOST" } else { "yes" });
    line("findings", &host["findings"]);
    for (at, update) in each(&answer["queue"]["updates"]).take(LINES_MAX).enumerate() {
        println!("  {}", queue::line(at + 1, update));
    }
    cohorts(&answer["cohorts"]);
}

fn subject(answer: &Value) {
    println!("{}: {} hosts", printable(&text(&answer["what"]), 80), answer["hosts"]);
    let vuln = &answer["vulnerability"];
    if !vuln.is_null() {
        line("title", text(&vuln["title"]));
        line(
            "CVSS",
            format!(
                "{} {}",
                vuln["cvss"].as_u64().map_or("not known".into(), |tenths| format!("{}.{}", tenths / 10, tenths % 10)),
                text(&vuln["vector"])
            ),
        );
        line("EPSS", vuln["epss_millionths"].as_u64().map_or("not known".into(), |epss| format!("0.{epss:06} within 30 days")));
        let exploits = joined(&vuln["exploits"]);
        line("exploits", if exploits.is_empty() { "none known" } else { &exploits });
        if !vuln["kev_added"].is_null() {
            line("exploited since", format!("{} (CISA; due {})", text(&vuln["kev_added"]), text(&vuln["kev_due"])));
        }
    }
    each(&answer["groups"]).for_each(group);
    if answer["more"].as_u64() > Some(0) {
        println!("\nand {} more versions of packages (--format json names the hosts with `fother host ls --affected`)", answer["more"]);
    }
}

fn group(group: &Value) {
    let release = if group["release"].is_null() { String::new() } else { format!(" ({})", text(&group["release"])) };
    println!("\n{} {}{release}: {} hosts", printable(&text(&group["package"]), 80), text(&group["version"]), group["hosts"]);
    let named = joined(&group["named"]);
    let more = group["hosts"].as_u64().unwrap_or_default().saturating_sub(each(&group["named"]).count() as u64);
    line("hosts", if more > 0 { format!("{named} and {more} more") } else { named });
    for finding in each(&group["findings"]).take(FINDINGS_SHOWN) {
        derivation(finding, &group["chances"][text(&finding["id"])]);
    }
    let findings = each(&group["findings"]).count();
    if findings > FINDINGS_SHOWN {
        line("", format!("and {} more findings", findings - FINDINGS_SHOWN));
    }
    for update in each(&group["updates"]) {
        line(
            "update",
            format!(
                "{} {} → {}, closes {}",
                text(&update["source"]),
                text(&update["from"]),
                text(&update["to"]),
                each(&update["closes"]).count()
            ),
        );
        line("removes risk", percent(update["risk_millionths"].as_u64().unwrap_or_default()));
        each(&update["reasons"]).for_each(|reason| line("because", text(reason)));
        line("due", queue::deadline(&update["deadline"]));
    }
    cohorts(&group["cohorts"]);
}

fn derivation(finding: &Value, chance: &Value) {
    line("finding", format!("{} in {} {}", text(&finding["id"]), text(&finding["source"]), text(&finding["version"])));
    let fixed = if finding["fixed"].is_null() { "none".to_owned() } else { text(&finding["fixed"]) };
    let before = finding["fixed"]
        .as_str()
        .map_or("no version is fixed".into(), |fixed| format!("{} sorts before {fixed}", text(&finding["version"])));
    line("  vulnerable?", format!("{}: {before}", text(&finding["status"])));
    line("  fix published?", format!("{fixed}, {} {}", text(&finding["published"]), joined(&finding["advisories"])));
    line(
        "  in use?",
        if finding["in_use_because"].is_null() { "not told by its hosts".to_owned() } else { text(&finding["in_use_because"]) },
    );
    line("  chance", text(&chance["why"]));
    for point in each(&chance["lines"]) {
        let missing = if point["missing"] == true { " (missing: the stricter answer)" } else { "" };
        line("", format!("{:>3} {}{missing}", text(&point["points"]), text(&point["what"])));
    }
    line("  says who", joined(&finding["feeds"]));
}

fn cohorts(cohorts: &Value) {
    if each(cohorts).next().is_none() {
        line("cohorts", "in no plan yet: `fother plan new GROUP`");
    }
    for cohort in each(cohorts) {
        let short = |value: &Value| text(value).get(7..19).unwrap_or_default().to_owned();
        let what = if let Some(why) = cohort["left_out"].as_str() {
            format!("left out: {why}")
        } else if cohort["to"].is_null() {
            format!("{} packages", cohort["packages"])
        } else {
            let closes = if cohort["closes"] == true { ", closes it by its signed changelog" } else { "" };
            format!("to {}{closes}", text(&cohort["to"]))
        };
        let verdict = cohort["verdict"].as_str().unwrap_or("not rehearsed");
        line(
            "cohort",
            format!(
                "{} of plan {} ({}): {} of these hosts; {what}; {verdict}",
                short(&cohort["cohort"]),
                short(&cohort["plan"]),
                text(&cohort["group"]),
                cohort["hosts"]
            ),
        );
    }
}
