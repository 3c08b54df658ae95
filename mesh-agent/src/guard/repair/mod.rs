//! Finds what got lost of connections, and puts it right: the end of a connection that no program
//! saw (they were detached, or another's program took the socket's callbacks away) leaves a record
//! in the table and a place in the loads.
//!
//! `leak` finds records without a socket, `surplus` loads without a record and ejections that are
//! miscounted (both pure); `apply` writes, `look` reads table and sockets, `runner` runs it.

pub mod apply;
pub mod leak;
pub mod look;
pub mod runner;
pub mod surplus;
#[cfg(test)]
mod tests;

/// What was put right since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Repairs {
    /// Records without a socket.
    pub records: u64,
    /// Loads of services that were not those of their connections.
    pub services: u64,
    /// Loads of backends.
    pub backends: u64,
    /// Numbers of ejected backends.
    pub ejected: u64,
}

impl Repairs {
    /// Each by its name.
    #[must_use]
    pub const fn kinds(&self) -> [(&'static str, u64); 4] {
        [
            ("record", self.records),
            ("service_load", self.services),
            ("backend_load", self.backends),
            ("ejected", self.ejected),
        ]
    }
}
