//! The decisions: pure functions, with randomness and state passed in.

#[cfg(any(test, feature = "user"))]
pub mod alias;
pub mod connect;
pub mod payload;
pub mod stage;

#[cfg(test)]
mod tests;
