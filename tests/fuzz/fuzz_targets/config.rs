//! The daemon's file, of any bytes.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| drop(tracer::fuzz::config(bytes)));
