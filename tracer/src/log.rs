//! What the daemon says of itself: one line each on stderr, which is the journal under systemd.

use std::io::Write;

use crate::report::table::safe;

/// Writes a line. Parts of it may be a container's, or a stranger's at a socket: no byte of theirs begins another line or
/// drives a terminal. Nothing can be done when nobody reads it.
pub(crate) fn note(line: &str) {
    let _nobody = writeln!(std::io::stderr().lock(), "tracer: {}", safe(line));
}
