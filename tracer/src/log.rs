//! What the daemon says of itself: one line each on stderr, which is the journal under systemd.

use std::io::Write;

/// Writes a line. Nothing can be done when nobody reads it.
pub(crate) fn note(line: &str) {
    let _nobody = writeln!(std::io::stderr().lock(), "tracer: {line}");
}
