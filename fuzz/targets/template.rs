//! Templates: an error is one line that names the place.

#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use portolan_render::Template;

fuzz_target!(|text: &str| {
    if let Err(error) = Template::parse(Path::new("t.j2"), text) {
        let error = error.to_string();
        assert!(error.starts_with("t.j2") && !error.contains(['\n', '\u{1b}']), "{error:?}");
    }
});
