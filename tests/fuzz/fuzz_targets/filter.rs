//! A filter as it is typed, of any bytes.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| drop(tracer::fuzz::filter(bytes)));
