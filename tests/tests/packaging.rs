//! The units are what systemd understands, and keep the daemon small in rights.

use anyhow::{Result, ensure};
use std::{fs, path::Path};
use tracer_tests::programs;

/// What `systemd-analyze security` may score at most, in tenths.
const EXPOSURE: &str = "35";

#[test]
fn systemd_understands_the_units() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let units = Path::new(env!("CARGO_MANIFEST_DIR")).join("../packaging/systemd");
    let mut paths = Vec::new();
    for name in ["tracer.service", "tracer.socket"] {
        // The program need not be installed here.
        let text = fs::read_to_string(units.join(name))?.replace("/usr/bin/tracer", "/bin/true");
        let path = dir.path().join(name);
        fs::write(&path, text)?;
        paths.push(path);
    }
    let out = programs::output(
        programs::command("systemd-analyze")
            .args(["verify", "--man=no"])
            .args(&paths),
    )?;
    // It ends with 0 where it ignores a line that it does not know.
    ensure!(
        out.status.success() && out.stderr.is_empty(),
        "{}",
        programs::both(&out)
    );
    let service = paths.first().map(|path| path.as_path()).unwrap_or(dir.path());
    let mut security = programs::command("systemd-analyze");
    security
        .args([
            "security",
            "--offline=true",
            "--no-pager",
            "--threshold",
            EXPOSURE,
        ])
        .arg(service);
    programs::success(&mut security).map(|_| ())
}
