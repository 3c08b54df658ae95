//! What the kernel programs and user space must agree on: map keys and values, events, names,
//! and the pure decisions taken at `connect()`.
//!
//! No allocation, no dependency, no I/O: the same code runs inside the kernel and under proptest
//! on the host. The feature `user` adds what only user space needs (aya's `Pod`, and builders
//! that allocate).
//!
//! Where to look: [`names`] → [`frontend`] → [`enrol`] → [`service`] → [`affinity`] → [`slot`] →
//! [`backend`] is the path of one `connect()`, guarded by [`policy`]; [`conn`], [`flow`], [`guard`],
//! [`state`], [`counter`], [`edge`], [`inbound`], [`refusal`], [`event`] and [`reason`] are what it
//! leaves behind; [`logic`] holds the decisions; `layout` proves that no type has hidden padding.

#![no_std]
#![deny(unsafe_code)]
#![expect(
    clippy::inline_always,
    reason = "a call that is not inlined is a BPF-to-BPF call on the path of every connect()"
)]

#[cfg(any(test, feature = "user"))]
extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod accel;
pub mod addr;
pub mod affinity;
pub mod backend;
pub mod canary;
pub mod conn;
pub mod counter;
pub mod edge;
pub mod enrol;
pub mod event;
mod flags;
pub mod flow;
pub mod frontend;
pub mod guard;
pub mod inbound;
mod layout;
pub mod limits;
pub mod logic;
pub mod names;
pub mod policy;
pub mod reason;
pub mod refusal;
pub mod service;
pub mod slot;
pub mod state;
pub mod tunables;

/// Version of everything in this crate that the kernel and user space share. Raised whenever
/// the layout or the meaning of a map changes; an agent that finds another version in the pinned
/// `tunables` map does not touch the maps.
pub const ABI_VERSION: u32 = 2;
