//! `fother demo`: the whole lifecycle, once around, on a real fleet; each stage uses the commands that a user has.

mod acquire;
mod assess;
mod deploy;
mod fleet;
mod prepare;
mod stages;
mod summary;
mod wrong;

use crate::{
    cli::Demo,
    failure::{FINE, Failure},
};

/// Runs the command.
pub fn run(arguments: &Demo) -> Result<u8, Failure> {
    Failure::need_root("the demo boots real hosts and")?;
    let mut fleet = fleet::Fleet::up(arguments)?;
    let result = stages::all(&mut fleet, arguments.quick);
    if result.is_err() {
        fleet.keep_logs();
    }
    if arguments.keep && result.is_ok() {
        fleet.keep();
        return Ok(FINE);
    }
    fleet.down()?;
    result.map(|()| FINE)
}
