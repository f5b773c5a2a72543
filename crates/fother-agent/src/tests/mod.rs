//! Tests of the agent over a fake host in a temporary directory.

mod apply;
mod archives;
mod crash;
pub(crate) mod harness;
mod hostile;
mod refusals;
mod standing;
mod wire;
mod witness;
