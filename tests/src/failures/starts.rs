//! Containers whose own program does not start: the calls that fail are the container runtime's.

use super::{Failure, Fix, How, in_root};
use std::fs;

const PLAIN: How = How::Runc(|bundle, _| bundle);

pub(super) fn rows() -> Vec<Failure> {
    vec![
        Failure {
            name: "the container's program is for another machine",
            how: PLAIN,
            run: "/srv/arm-alone map 4096",
            call: "execve",
            errno: libc::ENOEXEC,
            part: "/srv/arm-alone",
            causes: &["architecture"],
            names: &["arm64"],
            fix: Fix::File(|ground| {
                fs::copy(in_root(ground, "bin/fail"), in_root(ground, "srv/arm-alone"))?;
                Ok(())
            }),
        },
        Failure {
            name: "the container's program is not there",
            how: PLAIN,
            run: "/srv/late map 4096",
            call: "newfstatat",
            errno: libc::ENOENT,
            part: "/srv/late",
            causes: &["missing"],
            names: &["there is no late in /srv"],
            fix: Fix::File(|ground| {
                fs::copy(in_root(ground, "bin/fail"), in_root(ground, "srv/late"))?;
                Ok(())
            }),
        },
        Failure {
            name: "the container's program is in no directory of its PATH",
            how: How::Podman(""),
            run: "serves map 4096",
            call: "newfstatat",
            errno: libc::ENOENT,
            part: "/serves",
            causes: &["missing"],
            names: &["serves is in none of the"],
            fix: Fix::Start(How::Podman("-e PATH=/bin:/srv")),
        },
        Failure {
            name: "rootless: the container's program has a loader that is not in the image",
            how: How::Rootless(""),
            run: "/srv/loader map 4096",
            call: "execve",
            errno: libc::ENOENT,
            part: "/srv/loader",
            causes: &["interpreter"],
            names: &["ld-musl"],
            fix: Fix::Run("/bin/fail map 4096"),
        },
        Failure {
            name: "rootless: the container's program has lines that end with CR LF",
            how: How::Rootless(""),
            run: "/srv/script-dos",
            call: "execve",
            errno: libc::ENOENT,
            part: "/srv/script-dos",
            causes: &["interpreter"],
            names: &["carriage return"],
            fix: Fix::Run(
                "sh: tr -d '\\r' </srv/script-dos >/srv/fixed; chmod +x /srv/fixed; exec /srv/fixed",
            ),
        },
    ]
}
