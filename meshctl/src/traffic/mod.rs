//! What the control plane says about traffic, as `stat` and `top` show it.

mod columns;
mod found;
mod row;
mod scope;
#[cfg(test)]
pub(crate) mod tests;

pub(crate) use columns::Column;
pub(crate) use found::{Found, nothing, omitted, stale};
pub(crate) use row::{Counts, Row, Subject, headings};
pub(crate) use scope::{By, Scope, ScopeArgs};
