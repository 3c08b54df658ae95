//! Health of endpoints: gathered from whoever checks them, published to the agents, shown to
//! people. Kept in memory only.

pub mod aggregate;
