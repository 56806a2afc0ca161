//! An OCI state, or a bundle's configuration, of any bytes.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| drop(tracer::fuzz::state(bytes)));
