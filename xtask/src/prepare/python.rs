//! Python packages that the end-to-end tests read our files with, and that their receiver of OTLP is made of: in an
//! environment of their own in the build folder. Nothing is installed.

use crate::sh;
use anyhow::{Context, Result};

/// Name and version, as PyPI has them.
const PACKAGES: [&str; 2] = ["duckdb==2.0.1", "opentelemetry-proto==1.45.2"];

/// Takes what is not there yet, by the machine's own pip settings.
pub(crate) fn fetch() -> Result<()> {
    let to = sh::target().join("python");
    let python = to.join("bin/python");
    // A mark beside it: an environment that was made in part is made again.
    let mark = to.join("packages");
    let wanted = PACKAGES.join("\n");
    if std::fs::read_to_string(&mark).is_ok_and(|there| there == wanted) {
        return Ok(());
    }
    sh::run(sh::command("/usr/bin/python3", ["-m", "venv", "--clear"]).arg(&to))?;
    let install = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check"];
    let mut command = std::process::Command::new(&python);
    sh::run(command.args(install).args(PACKAGES)).context("install Python packages for the tests")?;
    std::fs::write(&mark, wanted).with_context(|| mark.display().to_string())
}
