//! The verbs, one file each.

pub(crate) mod apply;
pub(crate) mod bug_report;
pub(crate) mod completion;
pub(crate) mod connections;
pub(crate) mod delete;
pub(crate) mod deregister;
pub(crate) mod describe;
pub(crate) mod diff;
pub(crate) mod get;
pub(crate) mod grpc_bootstrap;
pub(crate) mod health;
pub(crate) mod history;
pub(crate) mod log;
pub(crate) mod proxy_status;
pub(crate) mod register;
pub(crate) mod rollback;
pub(crate) mod stat;
pub(crate) mod status;
mod stay;
pub(crate) mod tap;
pub(crate) mod top;
pub(crate) mod version;
mod wait;
mod watch;
pub(crate) mod workloads;
