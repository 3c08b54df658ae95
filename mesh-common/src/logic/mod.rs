//! The decisions: pure functions, with randomness and state passed in.

#[cfg(any(test, feature = "user"))]
pub mod alias;
pub mod connect;
pub mod enrol;
pub mod flows;
pub mod payload;
pub mod stage;
pub mod table;

#[cfg(test)]
mod tests;
