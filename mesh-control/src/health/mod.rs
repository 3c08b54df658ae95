//! Health of endpoints: gathered from whoever checks them, published to the agents, shown to
//! people. Kept in memory only: after a restart the agents say it again.
//!
//! `aggregate` decides, and is pure. `book` tells everybody, `prober` checks the endpoints that
//! have no agent, `target` says where.

pub mod aggregate;
pub mod book;
pub mod metrics;
pub mod prober;
mod show;
mod target;
#[cfg(test)]
mod tests;

pub use show::status_of;
