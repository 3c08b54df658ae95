//! The decisions: pure functions, with randomness and state passed in.

#[cfg(any(test, feature = "user"))]
pub mod alias;
pub mod breaker;
pub mod connect;
pub mod enrol;
pub mod flows;
pub mod load;
#[cfg(any(test, feature = "user"))]
pub mod maglev;
pub mod outlier;
pub mod payload;
#[cfg(any(test, feature = "user"))]
pub mod round_robin;
pub mod stage;
pub mod table;

#[cfg(test)]
mod tests;
