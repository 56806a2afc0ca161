//! Messages of a hook and of the daemon, of any bytes.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| drop(tracer::fuzz::hook(bytes)));
