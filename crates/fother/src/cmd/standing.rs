//! `fother standing`: what people sign once, so that schedules may roll out by themselves what it covers.

use super::{Context, sign, status::text};
use crate::{
    cli::Standing as Verb,
    client::Client,
    failure::{FAILED, FINE, Failure, NO, USAGE},
    output::{Format, envelope, table},
};
use fother_core::{
    Digest,
    standing::{AUTHOR_NAMESPACE, NAMESPACE, Standing},
    text::printable,
};
use serde_json::{Value, json};
use std::path::Path;

/// Runs the command.
pub fn run(context: &Context, verb: &Verb) -> Result<u8, Failure> {
    let client = context.client()?;
    match verb {
        Verb::Draft { group, name, classes, packages, reboot, origin, acknowledge, days, key } => {
            let wish = json!({"group": group, "name": name, "classes": classes, "packages": packages, "reboot": reboot, "origins": origin,
                "acknowledge": acknowledge, "days": days});
            let answer: Value = client.post("/api/v1/standings/draft", &json!({"wish": wish, "key": sign::public(key)?}))?;
            let drafted: Standing = serde_json::from_str(&text(&answer["standing"]))?;
            println!("{}", serde_json::to_string_pretty(&drafted)?);
            eprintln!("read it, take hosts out that it shall not cover, then: fother standing submit FILE --key {}", key.display());
            Ok(FINE)
        }
        Verb::Submit { draft, key, sure } => {
            let standing = read(draft)?;
            terms(&standing);
            if !sure.ask(&format!("sign it with {} and submit it", key.display()))? {
                return Ok(FINE);
            }
            let bytes = standing.bytes()?;
            let signature = sign::sign(key, AUTHOR_NAMESPACE, &bytes)?;
            let ask = json!({"standing": String::from_utf8(bytes)?, "signature": signature});
            let answer: Value = client.post("/api/v1/standings", &ask)?;
            println!("{}", text(&answer["standing"]));
            eprintln!("ask somebody else: fother standing approve {} --key KEY", standing.name);
            Ok(FINE)
        }
        Verb::Approve { standing, key, sure } => {
            let digest = find(&client, standing)?;
            let signed = fetched(&client, digest)?;
            terms(&signed);
            if !sure.ask(&format!("sign {digest} with {}", key.display()))? {
                return Ok(FINE);
            }
            let signature = sign::sign(key, NAMESPACE, &signed.bytes()?)?;
            let _: Value = client.post(&format!("/api/v1/standings/{}/approve", digest.hex()), &json!({"signature": signature}))?;
            eprintln!("approved {digest}");
            Ok(FINE)
        }
        Verb::Revoke { standing, reason, sure } => {
            let digest = find(&client, standing)?;
            if sure.go(&format!("let {digest} count no more")) {
                let _: Value = client.post(&format!("/api/v1/standings/{}/revoke", digest.hex()), &json!({"reason": reason}))?;
                eprintln!(
                    "nothing begins under it any more; a server that is not this one is bounded by its expiry, a host by its trust file"
                );
            }
            Ok(FINE)
        }
        Verb::Ls => list(context, &client),
        Verb::Show { standing } => show(context, &client, find(&client, standing)?),
    }
}

fn read(path: &Path) -> Result<Standing, Failure> {
    let text =
        std::fs::read_to_string(path).map_err(|error| Failure::new(USAGE, format!("{} cannot be read: {error}", path.display()), ""))?;
    let standing: Standing = serde_json::from_str(&text)
        .map_err(|error| Failure::new(USAGE, format!("{} is no draft: {error}", path.display()), "see `fother standing draft`"))?;
    standing.check().map_err(|why| Failure::new(USAGE, why, "draft it again"))?;
    Ok(standing)
}

/// What is signed: the blob whose digest is the name, checked here and not taken on trust.
fn fetched(client: &Client, digest: Digest) -> Result<Standing, Failure> {
    let standing: Standing = client.blob("standing", digest)?;
    if Standing::digest_of(&standing.bytes()?) != digest {
        return Err(Failure::new(FAILED, "the server's standing approval is not what its digest names", "run `fother log verify`"));
    }
    Ok(standing)
}

/// What it covers, for whoever signs.
fn terms(standing: &Standing) {
    let list = |items: &mut dyn Iterator<Item = String>| items.map(|item| printable(&item, 120)).collect::<Vec<_>>().join(", ");
    println!("name       {}, group {}", standing.name, standing.group);
    println!("author     {} ({})", standing.author, standing.author_key);
    println!(
        "covers     {} updates from {}",
        list(&mut standing.classes.iter().map(|class| format!("{class:?}").to_lowercase())),
        list(&mut standing.origins.iter().cloned())
    );
    let reboot = if standing.reboot { "a reboot where it is needed" } else { "no reboot" };
    println!("at most    {} packages of a host, none new, none removed, none older; {reboot}", standing.packages);
    println!("asks       {}; soak {} s", list(&mut standing.checks.iter().map(|check| check.name().to_owned())), standing.soak_s);
    if !standing.acknowledged.is_empty() {
        println!("accepts    not exercised by rehearsals: {}", list(&mut standing.acknowledged.iter().cloned()));
    }
    match (standing.window.first(), standing.window.len()) {
        (None, _) => println!("window     at any time"),
        (Some(next), count) => println!("window     {count} openings, the first {} to {}", next.start, next.end),
    }
    println!("counts     {} to {}", standing.from, standing.expires);
    println!("hosts      {}", standing.hosts.len());
    for (host, key) in &standing.hosts {
        println!("           {host} vouches with {key}");
    }
}

/// A standing approval by digest, its first digits, or its name if only one that counts or is open has it.
fn find(client: &Client, wanted: &str) -> Result<Digest, Failure> {
    let all: Value = client.get("/api/v1/standings")?;
    let digits = wanted.strip_prefix("sha256:").unwrap_or(wanted);
    let entries = || all.as_object().into_iter().flatten();
    let by_digest: Vec<&String> = entries().map(|(digest, _)| digest).filter(|digest| digest[7..].starts_with(digits)).collect();
    let alive = |one: &Value| matches!(one[0].as_str(), Some("open" | "in-force"));
    let by_name: Vec<&String> = entries().filter(|(_, one)| one[1]["name"] == wanted && alive(one)).map(|(digest, _)| digest).collect();
    match (&by_name[..], &by_digest[..]) {
        ([one], _) | ([], [one]) => Ok(one.parse()?),
        ([], []) => Err(Failure::new(USAGE, format!("there is no standing approval `{wanted}`"), "see `fother standing ls`")),
        _ => Err(Failure::new(USAGE, format!("several standing approvals are called `{wanted}`"), "give more digits of the digest")),
    }
}

fn list(context: &Context, client: &Client) -> Result<u8, Failure> {
    let all: Value = client.get("/api/v1/standings")?;
    if context.format == Format::Json {
        envelope("standings", &all, &[])?;
        return Ok(FINE);
    }
    let row = |(digest, one): (&String, &Value)| {
        let (status, stood) = (&one[0], &one[1]);
        let have = stood["approvals"].as_object().map_or(0, serde_json::Map::len);
        vec![
            digest.get(7..19).unwrap_or(digest).to_owned(),
            text(&stood["name"]),
            text(&stood["group"]),
            stood["hosts"].to_string(),
            format!("{have}/{}", stood["needed"]),
            text(status),
            text(&stood["expires"]),
        ]
    };
    let rows: Vec<Vec<String>> = all.as_object().into_iter().flatten().map(row).collect();
    table(&["standing", "name", "group", "hosts", "approvals", "state", "expires"], &rows);
    Ok(FINE)
}

fn show(context: &Context, client: &Client, digest: Digest) -> Result<u8, Failure> {
    let view: Value = client.get(&format!("/api/v1/standings/{}", digest.hex()))?;
    let left = view["left_alone"].as_object().cloned().unwrap_or_default();
    let code = if left.is_empty() && view["status"] == "in-force" { FINE } else { NO };
    if context.format == Format::Json {
        envelope("standing", &view, &[])?;
        return Ok(code);
    }
    println!("standing   {digest}");
    println!("state      {}", text(&view["status"]));
    terms(&fetched(client, digest)?);
    let stood = &view["stood"];
    let people: Vec<String> = stood["approvals"].as_object().into_iter().flatten().map(|(person, _)| person.clone()).collect();
    println!("approvals  {} of {} ({})", people.len(), stood["needed"], people.join(", "));
    if let Some(why) = stood["revoked"].as_str() {
        println!("revoked    {}", printable(why, 400));
    }
    for (host, why) in &left {
        println!("NOT covered: {host}: {}", printable(&text(why), 200));
    }
    Ok(code)
}
