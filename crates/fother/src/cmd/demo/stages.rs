//! The demo's stages, top to bottom as a user would go; each in a file of its own.

use super::{acquire, assess, deploy, fleet::Fleet, prepare, wrong};
use crate::failure::Failure;

/// Every stage. The quick way leaves out what rehearsal stops, and the way back by hand.
pub fn all(fleet: &mut Fleet, quick: bool) -> Result<(), Failure> {
    fleet.start_traffic()?;
    assess::plain_apt(fleet)?;
    assess::inventory(fleet)?;
    acquire::tampered(fleet)?;
    let (change, plan) = prepare::without_what_breaks(fleet)?;
    let rollout = deploy::good_path(fleet, &change, plan)?;
    deploy::verify(fleet)?;
    if !quick {
        wrong::stopped_by_rehearsal(fleet)?;
    }
    wrong::only_under_traffic(fleet)?;
    wrong::directives(fleet)?;
    if !quick {
        deploy::back_by_hand(fleet, &rollout)?;
    }
    wrong::stolen_keys(fleet)?;
    deploy::log(fleet)?;
    fleet.summary.print();
    Ok(())
}
