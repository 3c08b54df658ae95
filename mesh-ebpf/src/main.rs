//! The eBPF programs. What they decide is in mesh-common; here it is looked up, asked for, and
//! written back. `programs` has the entry points.
//!
//! Path of a connection: `connect` (`select`, `records`) → (TCP handshake) → `sockops` →
//! `release`; `peername` whenever the application asks. Path of a datagram: `datagram`.

#![no_std]
#![no_main]
#![feature(core_intrinsics)]
#![expect(internal_features, reason = "the target has no other atomic addition")]
#![expect(
    clippy::inline_always,
    reason = "a call that is not inlined is a BPF-to-BPF call on the path of every connect()"
)]

mod accel;
mod connect;
mod ctx;
mod datagram;
mod edge;
mod guard;
mod inbound;
mod leave;
mod log;
mod maps;
mod panic;
mod parts;
mod peername;
mod programs;
mod records;
mod refusal;
mod release;
mod select;
mod sockops;
mod telemetry;
mod timeouts;

/// The kernel lets only programs under a GPL-compatible licence call the helpers used here.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 4] = *b"GPL\0";
