//! The server from outside and inside: scripted agents, restarts, kills. Touches temporary directories and loopback.

mod affected;
mod archives;
mod baselines;
mod door;
mod epoch;
mod fleet;
mod identities;
mod kill;
mod lifecycle;
mod locks;
mod policies;
mod ranking;
mod relay;
mod replicas;
mod schedules;
