//! What rpm's packages are asked under: modules and their streams, sources, and products that are layered on Enterprise Linux. Pure.

use super::{Verdict, host::Assessment, installed::Judged, judge, package, releases};
use crate::advisory::{
    Bytes,
    format::{Claim, Text},
    reader::{Database, Error, ReleaseInfo},
};

/// Answers for a component: rpm's under all its names, others under their one.
///
/// # Errors
/// Where the database is damaged.
pub(super) fn ask<B: Bytes>(
    db: &Database<B>,
    release: &ReleaseInfo,
    judged: &Judged,
    source: &str,
    out: &mut Assessment,
) -> Result<Verdict, Error> {
    if release.scheme != crate::version::scheme::Scheme::Rpm {
        return package(db, release, &judged.source, &judged.version);
    }
    let modular = judged.source.contains(':') && judged.source.contains('/');
    if !modular && judged.version.contains(".module") {
        let why = format!("{} {}: it is of a module, and of which stream is not said", judged.source, judged.version);
        out.unknown.push(why);
        return Ok(Verdict::default());
    }
    let names = releases::names(&judged.source, source);
    let mut claims = Vec::new();
    let tag = releases::product_tag(&judged.version).filter(|_| release.name.starts_with("Red Hat:"));
    match &tag {
        None => {
            for name in &names {
                claims.extend(db.claims(&release.record, name)?);
            }
        }
        Some(tag) => {
            let layers = layers(db, release)?;
            if layers.is_empty() {
                out.unknown
                    .push(format!("{} {}: built for another product ({tag}), of which no feed speaks", judged.source, judged.version));
            }
            for layer in layers {
                let own = is_of(&layer.name, tag);
                for name in &names {
                    let all = db.claims(&layer.record, name)?;
                    claims.extend(if own { all } else { of_tag(db, &all, tag)? });
                }
            }
        }
    }
    judge(db, release.scheme, &claims, &judged.source, &judged.version)
}

/// Releases of products that are built on this one: `Red Hat:openshift:4.12::el8` on `Red Hat:enterprise_linux:8`.
fn layers<B: Bytes>(db: &Database<B>, release: &ReleaseInfo) -> Result<Vec<ReleaseInfo>, Error> {
    let major = release.name.rsplit(':').next().unwrap_or_default();
    let ends = format!("::el{major}");
    let of_openshift = |name: &str| name.starts_with("Red Hat:openshift:") && !name.contains("::");
    let fits = |name: &String| name.starts_with("Red Hat:") && name.ends_with(&ends) || of_openshift(name);
    let names = db.releases()?.into_iter().map(|(name, _)| name).filter(fits);
    names.filter_map(|name| db.release(&name).transpose()).collect()
}

/// Whether a layered product's release is the one that a package says it was built for: `rhaos4.12` is `openshift:4.12` and `openshift:4`.
fn is_of(release: &str, tag: &str) -> bool {
    let Some(version) = tag.strip_prefix("rhaos") else { return false };
    let Some(own) = release.strip_prefix("Red Hat:openshift:").and_then(|rest| rest.split(':').next()) else { return false };
    own == version || version.split('.').next() == Some(own)
}

/// Claims whose versions were built for the same product; those without a version speak of another's too, so they are left out.
fn of_tag<B: Bytes>(db: &Database<B>, claims: &[Claim], tag: &str) -> Result<Vec<Claim>, Error> {
    let mut out = Vec::new();
    for claim in claims {
        let version = if claim.end == Text::default() { claim.introduced } else { claim.end };
        if releases::product_tag(&db.text(version)?).as_deref() == Some(tag) {
            out.push(*claim);
        }
    }
    Ok(out)
}
