//! The harness of the kernel tests, the demo and the benchmarks: builders for network
//! namespaces, cgroups, nodes, control planes, backends and traffic. Everything is a real
//! process on the real kernel, and every builder takes its thing away again when dropped.

#![deny(unsafe_code)]

pub mod accel;
pub mod backend;
pub mod bench;
pub mod bins;
pub mod bpftool;
pub mod browser;
pub mod cgroup;
pub mod cleanup;
pub mod control;
pub mod demo;
pub mod dnsmasq;
pub mod farm;
pub mod faults;
pub mod firewall;
pub mod foreign;
pub mod grafana;
pub mod guards;
pub mod http;
pub mod load;
pub mod manifest;
pub mod maps;
pub mod matrix;
pub mod meshctl;
pub mod metrics;
pub mod netns;
pub mod nginx;
pub mod node;
pub mod otlp;
pub mod process;
pub mod programs;
pub mod prometheus;
pub mod require;
pub mod scratch;
pub mod script;
pub mod stats;
mod sys;
mod sys_bpf;
pub mod tap;
pub mod terminal;
pub mod testbed;
pub mod torture;
pub mod traffic;
pub mod ui;
pub mod wait;
pub mod xds;
