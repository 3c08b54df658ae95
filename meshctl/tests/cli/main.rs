//! Runs the real binary: without a control plane, and against one in this process.

#![forbid(unsafe_code)]

#[cfg(test)]
mod control;
#[cfg(test)]
mod describe;
#[cfg(test)]
mod health;
#[cfg(test)]
mod live;
#[cfg(test)]
mod node;
#[cfg(test)]
mod objects;
#[cfg(test)]
mod offline;
#[cfg(test)]
mod registry;
#[cfg(test)]
mod run;
#[cfg(test)]
mod stat;
