#![no_main]

use libfuzzer_sys::fuzz_target;
use tombolo_proxy_fuzz::Target;

fuzz_target!(|data: &[u8]| Target::Memcache.run(data));
