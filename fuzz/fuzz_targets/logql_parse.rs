#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| loki_fuzz::logql_parse::run(data));
