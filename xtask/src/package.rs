//! `cargo xtask package`: the .deb and the .rpm of this checkout, in cargo's target folder. What goes where is said once, in
//! `tracer/Cargo.toml`, for each of the two tools; here stands what has to be made first.

use crate::{prepare, sh};
use anyhow::{Context, Result};
use std::{
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
};

/// Makes both, or one.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Which; none means all
    #[arg(value_enum)]
    kinds: Vec<Kind>,
}

#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Kind {
    Deb,
    Rpm,
}

impl Kind {
    const ALL: [Self; 2] = [Self::Deb, Self::Rpm];

    /// cargo's verb, the crate that has it, and its version.
    fn tool(self) -> (&'static str, &'static str, &'static str) {
        match self {
            Self::Deb => ("deb", "cargo-deb", "3.8.0"),
            Self::Rpm => ("generate-rpm", "cargo-generate-rpm", "0.21.1"),
        }
    }

    /// The package, in the folder of packages.
    fn file(self) -> &'static str {
        match self {
            Self::Deb => "container-tracer.deb",
            Self::Rpm => "container-tracer.rpm",
        }
    }
}

pub(crate) fn run(args: &Args) -> Result<()> {
    prepare::build()?;
    let kinds = if args.kinds.is_empty() {
        &Kind::ALL[..]
    } else {
        &args.kinds
    };
    make(kinds)
}

/// Both, of what is built already.
pub(crate) fn all() -> Result<()> {
    make(&Kind::ALL)
}

fn make(kinds: &[Kind]) -> Result<()> {
    kinds.iter().try_for_each(|kind| install(*kind))?;
    stage(&folder().join("files"))?;
    for kind in kinds {
        let to = folder().join(kind.file());
        let (verb, ..) = kind.tool();
        let mut cargo = sh::cargo([verb, "--package", "tracer"]);
        if *kind == Kind::Deb {
            cargo.args(["--no-build", "--no-strip", "--quiet"]);
        }
        sh::output(cargo.arg("--output").arg(&to))?;
        println!("{}", to.display());
    }
    Ok(())
}

fn folder() -> PathBuf {
    sh::target().join("release/package")
}

/// The tool that makes it. Built fast: it runs for seconds.
fn install(kind: Kind) -> Result<()> {
    let (verb, name, version) = kind.tool();
    let there = sh::output(&mut sh::cargo([verb, "--version"])).unwrap_or_default();
    if there.split_whitespace().any(|word| word == version) {
        return Ok(());
    }
    let mut install = sh::cargo(["install", name, "--locked", "--force", "--version", version]);
    for (setting, value) in [
        ("OPT_LEVEL", "0"),
        ("LTO", "off"),
        ("CODEGEN_UNITS", "64"),
        ("DEBUG", "0"),
    ] {
        install.env(format!("CARGO_PROFILE_RELEASE_{setting}"), value);
    }
    sh::run(&mut install).with_context(|| format!("install {name} {version}"))
}

/// What the packages hold beside the files of the checkout, in `dir`.
fn stage(dir: &Path) -> Result<()> {
    if dir.exists() {
        fs::remove_dir_all(dir)?;
    }
    fs::create_dir_all(dir)?;
    for built in ["release/tracer", "hook/tracer-hook"] {
        let from = sh::target().join(built);
        let name = from.file_name().context("a program has a name")?;
        let arguments = [OsStr::new("-o"), dir.join(name).as_os_str(), from.as_os_str()].map(OsStr::to_owned);
        sh::run(sh::command("strip", arguments).arg("--remove-section=.comment"))?;
    }
    let tracer = dir.join("tracer");
    let tracer = tracer.to_str().context("the target folder's name is not UTF-8")?;
    let man = dir.join("man");
    sh::run(sh::command(tracer, ["man", "--out"]).arg(&man))?;
    let written = fs::read_dir(sh::root().join("packaging/man"))?;
    let written = written
        .map(|entry| Ok(entry?.path()))
        .collect::<Result<Vec<_>>>()?;
    for page in &written {
        fs::copy(page, man.join(page.file_name().context("a page has a name")?))?;
    }
    let changes = dir.join("changelog");
    fs::copy(sh::root().join("CHANGELOG.md"), &changes)?;
    let pages = fs::read_dir(&man)?.map(|entry| Ok(entry?.path()));
    let pages = pages.collect::<Result<Vec<_>>>()?;
    // Without name and time: the same files give the same package.
    sh::run(sh::command("gzip", ["-9", "-n"]).args(&pages).arg(&changes))?;
    for (shell, file) in [
        ("bash", "tracer.bash"),
        ("zsh", "_tracer"),
        ("fish", "tracer.fish"),
    ] {
        let script = sh::output(&mut sh::command(tracer, ["completions", shell]))?;
        fs::write(dir.join(file), script + "\n")?;
    }
    Ok(())
}
