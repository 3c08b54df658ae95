//! Ends sockets that were sent to a backend which has been removed: finds them with the kernel's
//! socket diagnostics (`NETLINK_SOCK_DIAG`) and destroys them (`SOCK_DESTROY`, Linux 4.5, with
//! `CONFIG_INET_DIAG_DESTROY`), in every network namespace of the machine.
//!
//! A connected datagram socket whose peer is gone never notices; a TCP connection may be kept
//! for `drainTimeout`. Only sockets are ended that point at the backend now and that have a
//! record saying that the mesh sent them there: one that has connected elsewhere is left alone,
//! and so is one that found the same address by itself. The application sees
//! ECONNABORTED once; a datagram socket that only sends sees EDESTADDRREQ.
//!
//! `drain` says when and `stale` which (both pure); `wire` and `filter` are the kernel's format
//! (pure); `diag` talks to one namespace; `terminator` puts it together, and `follower` runs it.

pub mod diag;
pub mod drain;
mod filter;
pub mod follower;
mod pass;
pub mod stale;
pub mod terminator;
pub mod wire;

pub use self::diag::{Diag, DiagError, Fate};
pub use self::drain::{BackendId, Drain, Removal};
pub use self::stale::{Records, Stale};
pub use self::terminator::{Counts, Report, Terminator, Totals};
pub use self::wire::{Socket, State};
