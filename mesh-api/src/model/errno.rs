//! The errors that a refused connection can meet, with the numbers that Linux gives them.

use std::fmt;

/// Why `connect()` failed, as the application sees it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Errno {
    /// `EHOSTUNREACH`: what most clients retry, and no real server sends.
    #[default]
    HostUnreachable,
    /// `ECONNREFUSED`: as if nothing listened there.
    ConnectionRefused,
    /// `ENETUNREACH`.
    NetworkUnreachable,
    /// `EACCES`.
    AccessDenied,
    /// `EPERM`: as a firewall rule on this machine does.
    NotPermitted,
    /// `ETIMEDOUT`, though nothing is waited for.
    TimedOut,
    /// `ECONNRESET`.
    ConnectionReset,
    /// `EAGAIN`.
    TryAgain,
}

impl Errno {
    /// All of them, the default first.
    pub const ALL: [Self; 8] = [
        Self::HostUnreachable,
        Self::ConnectionRefused,
        Self::NetworkUnreachable,
        Self::AccessDenied,
        Self::NotPermitted,
        Self::TimedOut,
        Self::ConnectionReset,
        Self::TryAgain,
    ];

    /// The number, positive; the same on all architectures that use
    /// `include/uapi/asm-generic/errno.h`, x86-64 and arm64 among them.
    #[must_use]
    pub const fn number(self) -> u32 {
        match self {
            Self::HostUnreachable => 113,
            Self::ConnectionRefused => 111,
            Self::NetworkUnreachable => 101,
            Self::AccessDenied => 13,
            Self::NotPermitted => 1,
            Self::TimedOut => 110,
            Self::ConnectionReset => 104,
            Self::TryAgain => 11,
        }
    }

    /// The name used in manifests and in `errno.h`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::HostUnreachable => "EHOSTUNREACH",
            Self::ConnectionRefused => "ECONNREFUSED",
            Self::NetworkUnreachable => "ENETUNREACH",
            Self::AccessDenied => "EACCES",
            Self::NotPermitted => "EPERM",
            Self::TimedOut => "ETIMEDOUT",
            Self::ConnectionReset => "ECONNRESET",
            Self::TryAgain => "EAGAIN",
        }
    }
}

impl fmt::Display for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
