//! What an agent must decide, and must not forget, without a host: its queue and its transactions. Pure; the agent and the simulator drive it.

pub mod queue;
pub mod transaction;
