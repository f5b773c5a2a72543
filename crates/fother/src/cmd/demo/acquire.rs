//! Stage 3: what a bad mirror gives is refused, each with its own message, and the last good state stays.

use super::fleet::{Fleet, LAB};
use crate::{
    cmd::plan,
    failure::{FAILED, Failure},
};
use fother_lab::{SiteVersion, Spoil};
use serde_json::{Value, json};

/// Brings the archives up to date; an error names the first that was refused.
pub fn update(fleet: &Fleet) -> Result<(), Failure> {
    match refused(fleet)?.first() {
        None => Ok(()),
        Some(refused) => Err(Failure::new(FAILED, format!("an archive was refused: {refused}"), "see `fother archive ls`")),
    }
}

fn refused(fleet: &Fleet) -> Result<Vec<Value>, Failure> {
    let answer: Value = fleet.client()?.post("/api/v1/archives/update", &json!({}))?;
    Ok(answer["refused"].as_array().cloned().unwrap_or_default())
}

fn spoilt(fleet: &mut Fleet, what: &str, how: Spoil) -> Result<(), Failure> {
    fother_lab::spoil(LAB, how)?;
    let refused = refused(fleet)?;
    let [one] = &refused[..] else {
        return Err(Failure::new(FAILED, format!("{what}: {} archives were refused, one was expected", refused.len()), ""));
    };
    fleet.summary.figure(what, one["why"].as_str().unwrap_or_default());
    Ok(())
}

/// A tampered index, an expired one, a replayed older one, a tampered package.
pub fn tampered(fleet: &mut Fleet) -> Result<(), Failure> {
    fleet.summary.stage("2-3 Acquire: four tampered inputs");
    fother_lab::publish(LAB, SiteVersion::BrokenScript)?;
    spoilt(fleet, "tampered index", Spoil::Index)?;
    spoilt(fleet, "expired index", Spoil::Expired)?;
    fother_lab::publish(LAB, SiteVersion::BrokenScript)?;
    update(fleet)?;
    spoilt(fleet, "replayed index", Spoil::Replayed)?;
    fother_lab::spoil(LAB, Spoil::Package)?;
    update(fleet)?;
    match plan::new(&fleet.client()?, "web", &[], "") {
        Ok(plan) => return Err(Failure::new(FAILED, format!("a plan was made of a tampered package: {plan}"), "")),
        Err(refusal) => fleet.summary.figure("tampered package", refusal.what),
    }
    fother_lab::publish(LAB, SiteVersion::BrokenScript)?;
    update(fleet)
}
