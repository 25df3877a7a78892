#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| staunch_fuzzing::shadow::run(data));
