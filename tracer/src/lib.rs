//! The daemon and its command line, as a library.
pub mod event;
