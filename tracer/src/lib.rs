//! The daemon and its command line, as a library. Data flows one way:
//!
//! ```text
//! OCI runtime -> hook -> registration -> registry --FilterChange--> source::kernel --maps--> eBPF admit
//!                                                                                              |
//!                                                                    capture -> emit -> ring buffer
//!                                                                                              v
//! CLI <- sinks <------------------- enrich <----------- decode <------- bounded queue <- source
//! ```
//!
//! ARCHITECTURE.md has a row a stage, with the same words as the file names, and who may know whom.

pub mod audit;
pub mod capabilities;
mod cgroup;
pub mod cli;
pub mod client;
pub mod commands;
pub mod complete;
pub mod config;
pub mod control;
pub mod daemon;
pub mod decode;
pub mod enrich;
mod errno;
pub mod event;
pub mod explain;
pub mod export;
pub mod filter;
pub mod follow;
pub mod freezer;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
pub mod histogram;
pub mod identity;
pub mod install;
mod log;
pub mod metrics;
pub mod missed;
pub mod names;
pub mod node;
pub mod nri;
mod numbers;
pub mod observe;
pub mod options;
pub mod page;
pub mod pipeline;
pub mod profile;
pub mod quota;
pub mod recording;
pub mod registration;
pub mod registry;
pub mod report;
pub mod run;
pub mod runtimes;
pub mod selector;
pub mod sinks;
mod slots;
pub mod source;
pub mod top;
pub mod units;
