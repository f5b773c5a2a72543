//! What the server runs beside the files: compared in words, applied, proposed, approved. Talks to the server; signs with `ssh-keygen`.

use super::{
    Context,
    files::{self, Files},
};
use crate::{
    client::Client,
    cmd::{sign, status::text},
    failure::{FAILED, FINE, Failure, NO, REFUSED, USAGE},
    output::{Format, envelope, table},
    sure::Sure,
};
use fother_core::{
    Digest, Timestamp,
    approval::fingerprint,
    decide::{APPROVAL_LIFE, loosens},
    id::HostId,
    inventory::Labels,
    policy::{
        Policy,
        change::{Difference, Effect, affected, demands, differences},
        proposal::{AUTHOR_NAMESPACE, NAMESPACE, Statement},
    },
};
use fother_server::{Became, InForce, Proposed, Wanted};
use serde_json::{Value, json};
use std::{collections::BTreeMap, path::Path};

/// Hosts of the fleet with their labels.
fn hosts(client: &Client) -> Result<BTreeMap<HostId, Labels>, Failure> {
    let state: Value = client.get("/api/v1/state")?;
    let mut hosts = BTreeMap::new();
    for (id, host) in state["hosts"].as_object().into_iter().flatten().filter(|(_, host)| host["retired"] != true) {
        hosts.insert(id.parse()?, serde_json::from_value(host["labels"].clone())?);
    }
    Ok(hosts)
}

/// Each difference with the number of hosts that it is about.
struct Compared {
    list: Vec<(Difference, usize)>,
}

impl Compared {
    fn new(old: &Policy, new: &Policy, hosts: &BTreeMap<HostId, Labels>) -> Self {
        let with = |one: Difference| {
            let count = affected(old, new, &one, hosts).len();
            (one, count)
        };
        Self { list: differences(old, new).into_iter().map(with).collect() }
    }

    fn loosens(&self) -> bool {
        self.list.iter().any(|(one, _)| one.effect == Effect::Loosens)
    }

    fn json(&self) -> Vec<Value> {
        let one = |(one, hosts): &(Difference, usize)| json!({"key": one.key, "what": one.what, "effect": one.effect, "groups": one.groups, "hosts": hosts});
        self.list.iter().map(one).collect()
    }

    fn print(&self) {
        if self.list.is_empty() {
            return println!("nothing that the server runs would change");
        }
        let word = |effect| match effect {
            Effect::Same => "",
            Effect::Tightens => "tightens",
            Effect::Loosens => "LOOSENS",
        };
        let row =
            |(one, hosts): &(Difference, usize)| vec![word(one.effect).to_owned(), one.what.clone(), format!("{hosts} hosts affected")];
        table(&["", "what", ""], &self.list.iter().map(row).collect::<Vec<_>>());
    }
}

/// `fother policy diff`.
pub fn diff(context: &Context, dir: &Path) -> Result<u8, Failure> {
    let new = files::policy(dir)?;
    let client = context.client()?;
    let running: InForce = client.get("/api/v1/policy")?;
    let compared = Compared::new(&running.policy, &new, &hosts(&client)?);
    let demanded = demands(&running.policy, &differences(&running.policy, &new));
    if context.format == Format::Json {
        let data = json!({"base": running.digest, "policy": new.digest()?, "differences": compared.json(), "demands": demanded});
        envelope("policy-diff", &data, &[])?;
    } else {
        compared.print();
        demanded.iter().for_each(|demand| println!("needs {demand}"));
    }
    Ok(if compared.loosens() { NO } else { FINE })
}

/// `fother policy apply`.
pub fn apply(context: &Context, dir: &Path, key: Option<&Path>, sure: Sure) -> Result<u8, Failure> {
    let files = Files::read(dir)?;
    let new = files.parse().map_err(|error| Failure::new(USAGE, error.to_string(), "mend it, and see `fother policy check`"))?;
    let client = context.client()?;
    let running: InForce = client.get("/api/v1/policy")?;
    let compared = Compared::new(&running.policy, &new, &hosts(&client)?);
    if context.format == Format::Table {
        compared.print();
    }
    let demanded = demands(&running.policy, &differences(&running.policy, &new));
    let signed = match (demanded.is_empty(), key) {
        (true, _) => None,
        (false, None) if sure.dry_run => None,
        (false, None) => {
            let needed = demanded.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
            let what = format!("this loosens the policy in force and needs {needed}");
            return Err(Failure::new(REFUSED, what, "sign it as its author: fother policy apply --key KEY; then others approve it"));
        }
        (false, Some(key)) => Some(key),
    };
    let doing = if demanded.is_empty() { "bring it into force" } else { "sign it as its author and propose it" };
    if !sure.ask(&format!("{doing} ({})", new.digest()?))? {
        return Ok(FINE);
    }
    let signed = signed.map(|key| propose(&client, &running, &new, key)).transpose()?;
    let wanted = Wanted { files: files.texts(), base: running.digest, signed };
    let became: Became = client.post("/api/v1/policy", &wanted)?;
    told(context, &became)
}

/// The statement and its author's signature.
fn propose(client: &Client, running: &InForce, new: &Policy, key: &Path) -> Result<(String, String), Failure> {
    let public = sign::public(key)?;
    let author_key = fingerprint(&public).map_err(|why| Failure::new(USAGE, why, ""))?;
    // The server's clock decides about the expiry; the name belongs to the key there.
    let status: Value = client.get("/api/v1/status")?;
    let now: Timestamp = serde_json::from_value(status["now"].clone())?;
    let owner: Value = client.post("/api/v1/policy/author", &json!({"key": public}))?;
    let statement = Statement {
        policy: new.digest()?,
        base: running.digest,
        loosens: loosens(&differences(&running.policy, new)),
        author: text(&owner["author"]),
        author_key,
        expires: now + APPROVAL_LIFE,
    };
    let bytes = statement.bytes()?;
    let signature = sign::sign(key, AUTHOR_NAMESPACE, &bytes)?;
    Ok((String::from_utf8_lossy(&bytes).into_owned(), signature))
}

fn told(context: &Context, became: &Became) -> Result<u8, Failure> {
    if context.format == Format::Json {
        envelope("policy-apply", became, &[])?;
        return Ok(FINE);
    }
    if became.applied {
        println!("in force: {}", became.policy);
        return Ok(FINE);
    }
    println!("proposed: {}", became.policy);
    became.missing.iter().for_each(|demand| println!("needs {demand}"));
    eprintln!("ask somebody else: fother policy approve {} --key KEY", became.policy.short());
    Ok(FINE)
}

/// A proposal, with everything that its statement says computed from the policies themselves.
fn proposal<'a>(running: &'a InForce, wanted: &str) -> Result<(Digest, &'a Proposed), Failure> {
    let wanted = if wanted.starts_with("sha256:") { wanted.to_owned() } else { format!("sha256:{wanted}") };
    let found: Vec<_> = running.proposals.iter().filter(|(digest, _)| digest.to_string().starts_with(&wanted)).collect();
    let [(digest, proposed)] = found[..] else {
        let what = if found.is_empty() { "no proposal begins" } else { "several proposals begin" };
        return Err(Failure::new(USAGE, format!("{what} with `{wanted}`"), "see `fother policy show`"));
    };
    let statement = &proposed.statement;
    let found = loosens(&differences(&running.policy, &proposed.policy));
    if (statement.policy, statement.base) != (proposed.policy.digest()?, running.policy.digest()?) || statement.loosens != found {
        let what = "the server's statement says something else than the policies that it shows";
        return Err(Failure::new(FAILED, what, "do not sign; run `fother log verify` and look at the server"));
    }
    Ok((*digest, proposed))
}

/// `fother policy approve`.
pub fn approve(context: &Context, wanted: &str, key: &Path, sure: Sure) -> Result<u8, Failure> {
    let client = context.client()?;
    let running: InForce = client.get("/api/v1/policy")?;
    let (digest, proposed) = proposal(&running, wanted)?;
    if context.format == Format::Table {
        println!("author     {}", proposed.statement.author);
        Compared::new(&running.policy, &proposed.policy, &hosts(&client)?).print();
    }
    if !sure.ask(&format!("sign the policy {digest} with {}", key.display()))? {
        return Ok(FINE);
    }
    let signature = sign::sign(key, NAMESPACE, &proposed.statement.bytes()?)?;
    let became: Became = client.post(&format!("/api/v1/policy/{}/approve", digest.hex()), &json!({"signature": signature}))?;
    told(context, &became)
}

/// `fother policy show`.
pub fn show(context: &Context) -> Result<u8, Failure> {
    let client = context.client()?;
    let running: InForce = client.get("/api/v1/policy")?;
    if context.format == Format::Json {
        envelope("policy", &running, &[])?;
        return Ok(FINE);
    }
    println!("in force   {}", running.digest);
    println!("{}", super::counted(&running.policy));
    let rows: Vec<Vec<String>> = running
        .policy
        .group
        .iter()
        .map(|(name, group)| {
            let unavailable = serde_json::to_value(group.budget.unavailable).unwrap_or_default();
            let unavailable = unavailable.as_str().map_or_else(|| unavailable.to_string(), str::to_owned);
            vec![
                name.clone(),
                group.select.clone(),
                group.window.clone(),
                unavailable,
                group.approvals.required.to_string(),
                group.baseline.clone().unwrap_or_default(),
            ]
        })
        .collect();
    table(&["group", "selects", "window", "budget", "approvals", "baseline"], &rows);
    for (digest, proposed) in &running.proposals {
        println!("\nproposed   {digest} by {}, until {}", proposed.statement.author, proposed.statement.expires);
        proposed.statement.loosens.iter().for_each(|what| println!("  loosens  {}", fother_core::text::printable(what, 400)));
        println!("  approved {}", proposed.approved.iter().cloned().collect::<Vec<_>>().join(", "));
        proposed.missing.iter().for_each(|demand| println!("  needs    {demand}"));
    }
    Ok(FINE)
}
