//! What the programs keep for themselves between two connections; user space only reads it.

/// Value of `service_state`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct ServiceState {
    /// Connections sent so far by [`crate::service::Algorithm::ROUND_ROBIN`].
    pub cursor: u64,
}

/// Value of `backend_state`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct BackendState {
    /// Connections of this node that the backend has now, kept for services with
    /// [`crate::service::Algorithm::LEAST_CONNECTIONS`] only.
    pub active: u64,
}
