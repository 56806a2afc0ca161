//! `cargo xtask ebpf`: the kernel programs from source, and the proof that the committed object is what they give.
//!
//! The one place that names the toolchain. The object is the same byte for byte wherever the checkout, cargo's home
//! and the toolchain lie: paths are remapped and the DWARF, which nobody loads, is stripped; BTF and BTF.ext stay.

use crate::sh;
use anyhow::{Context, Result, bail, ensure};
use sha2::{Digest, Sha256};
use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

/// What `rustc -V` of the nightly must say.
const RUSTC: &str = "rustc 1.97.0-nightly (e50aa6fba 2026-05-19)";
/// Names under which rustup may hold it: the dated one, or a `nightly` of that day.
const TOOLCHAINS: [&str; 2] = ["nightly-2026-05-20", "nightly"];
/// What `bpf-linker --version` must say. It uses the toolchain's own LLVM; a release once gave BTF that kernels refuse.
const LINKER: &str = "bpf-linker 0.10.3";
const TARGET: &str = "bpfel-unknown-none";

/// The release profile, whatever the workspace's own says.
const PROFILE: [(&str, &str); 6] = [
    ("CARGO_PROFILE_RELEASE_OPT_LEVEL", "3"),
    ("CARGO_PROFILE_RELEASE_DEBUG", "2"),
    ("CARGO_PROFILE_RELEASE_LTO", "fat"),
    ("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "1"),
    ("CARGO_PROFILE_RELEASE_PANIC", "abort"),
    ("CARGO_PROFILE_RELEASE_STRIP", "none"),
];
/// BTF-defined maps and task storage need debug information and `--btf`.
const FLAGS: [&str; 8] = [
    "-C",
    "debuginfo=2",
    "-C",
    "target-cpu=v3",
    "-C",
    "link-arg=--btf",
    "--cfg",
    "bpf_target_arch=\"x86_64\"",
];

/// What the object is made from.
const SOURCES: [&str; 4] = [
    "tracer-ebpf/src",
    "tracer-ebpf/Cargo.toml",
    "tracer-common/src",
    "tracer-common/Cargo.toml",
];
const OBJECT: &str = "tracer-ebpf/prebuilt/tracer-ebpf.o";
const SUMS: &str = "tracer-ebpf/prebuilt/sources.sha256";

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Write nothing: compare the committed object with the sources, and with a rebuild where the toolchain is there
    #[arg(long)]
    check: bool,
    /// With --check: a toolchain that is not there is a failure
    #[arg(long, requires = "check")]
    rebuild: bool,
    /// Install what is missing (nightly, rust-src, bpf-linker), then stop
    #[arg(long, conflicts_with = "check")]
    setup: bool,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    match args {
        Args { setup: true, .. } => setup(),
        Args {
            check: true, rebuild, ..
        } => check(*rebuild),
        Args { .. } => write(),
    }
}

fn write() -> Result<()> {
    let toolchain = Toolchain::find().or_else(|_| setup().and_then(|()| Toolchain::find()))?;
    // Hashed before they are read, and looked at again after: an edit meanwhile would vouch for an object without it.
    let sources = hash_sources()?;
    let object = toolchain.build(&sh::target().join("ebpf"))?;
    ensure!(
        sources == hash_sources()?,
        "the sources of {OBJECT} changed while it was built: run `cargo xtask ebpf` again"
    );
    let sums = Sums {
        sources,
        object: hex(&object),
        core: toolchain.hash_core()?,
    };
    let path = sh::root().join(OBJECT);
    fs::create_dir_all(path.parent().context("the object has no folder")?)?;
    fs::write(&path, &object)?;
    fs::write(sh::root().join(SUMS), sums.to_text())?;
    println!("{OBJECT}: {} bytes, sha256 {}", object.len(), sums.object);
    Ok(())
}

/// Compares the committed object with its sources, and with a rebuild where that is possible.
pub(crate) fn check(rebuild: bool) -> Result<()> {
    const STALE: &str = "run `cargo xtask ebpf` and commit tracer-ebpf/prebuilt";
    let committed = fs::read(sh::root().join(OBJECT)).with_context(|| format!("{OBJECT}: {STALE}"))?;
    let sums =
        Sums::parse(&fs::read_to_string(sh::root().join(SUMS)).with_context(|| format!("{SUMS}: {STALE}"))?)?;
    let sources = hash_sources()?;
    ensure!(
        sums.sources == sources,
        "{OBJECT} is stale: built from {}, the sources are {sources}: {STALE}",
        sums.sources
    );
    ensure!(
        sums.object == hex(&committed),
        "{OBJECT} is not the object that {SUMS} was written with: {STALE}"
    );

    let toolchain = match Toolchain::find() {
        Ok(toolchain) => toolchain,
        Err(why) if rebuild => return Err(why.context("the rebuild was asked for")),
        Err(why) => {
            println!("{OBJECT}: matches the hash of its sources; not rebuilt: {why:#}");
            return Ok(());
        }
    };
    let core = toolchain.hash_core()?;
    let dir = tempfile::tempdir()?;
    let rebuilt = toolchain.build(dir.path())?;
    if rebuilt == committed {
        println!("{OBJECT}: a rebuild gives the same {} bytes", committed.len());
        return Ok(());
    }
    let differ = format!(
        "{OBJECT}: committed {} bytes, sha256 {}; a rebuild gives {} bytes, sha256 {}",
        committed.len(),
        sums.object,
        rebuilt.len(),
        hex(&rebuilt)
    );
    // The core library is compiled in: other sources of it may give another object from the same programs.
    ensure!(core != sums.core, "{differ}: {STALE}");
    println!(
        "{differ}: not comparable, built with core {}, here it is {core}",
        sums.core
    );
    Ok(())
}

/// The three lines of `sources.sha256`.
struct Sums {
    sources: String,
    object: String,
    core: String,
}

impl Sums {
    fn to_text(&self) -> String {
        format!(
            "{}  sources\n{}  tracer-ebpf.o\n{}  core\n",
            self.sources, self.object, self.core
        )
    }

    fn parse(text: &str) -> Result<Self> {
        let of = |name: &str| {
            let line = text
                .lines()
                .find_map(|line| line.strip_suffix(&format!("  {name}")));
            line.map(str::to_owned)
                .with_context(|| format!("{SUMS} has no line for {name}"))
        };
        Ok(Self {
            sources: of("sources")?,
            object: of("tracer-ebpf.o")?,
            core: of("core")?,
        })
    }
}

/// The pinned nightly with its core library's source, and the linker.
struct Toolchain {
    name: &'static str,
    sysroot: PathBuf,
}

impl Toolchain {
    fn find() -> Result<Self> {
        let name = installed_nightly()?;
        let sysroot = PathBuf::from(sh::output(
            rustup_run(name, "rustc").args(["--print", "sysroot"]),
        )?);
        let toolchain = Self { name, sysroot };
        ensure!(
            toolchain.library().join("core/src/lib.rs").is_file(),
            "{name} has no rust-src: run `cargo xtask ebpf --setup`"
        );
        let linker = sh::output(clean(Command::new("bpf-linker")).arg("--version")).unwrap_or_default();
        ensure!(
            linker == LINKER,
            "{LINKER} is needed, there is {linker:?}: run `cargo xtask ebpf --setup`"
        );
        Ok(toolchain)
    }

    fn library(&self) -> PathBuf {
        self.sysroot.join("lib/rustlib/src/rust/library")
    }

    fn hash_core(&self) -> Result<String> {
        let mut hash = Sha256::new();
        hash_tree(&mut hash, &self.library(), Path::new("core/src"))?;
        Ok(to_hex(&hash.finalize()))
    }

    /// Builds in `dir` and returns the object.
    fn build(&self, dir: &Path) -> Result<Vec<u8>> {
        // Fetched first: where cargo unpacks crates, it names a folder by the registry they came from.
        sh::run(rustup_run(self.name, "cargo").args(["fetch", "--quiet", "--locked"]))?;
        let mut flags: Vec<String> = FLAGS.map(str::to_owned).to_vec();
        let mut places = vec![
            (sh::root(), "/tracer"),
            (self.sysroot.clone(), "/rust"),
            (dir.to_owned(), "/target"),
        ];
        for registry in fs::read_dir(cargo_home()?.join("registry/src")).context("cargo's registry")? {
            places.push((registry?.path(), "/crates"));
        }
        for (from, to) in places {
            // The last match wins, so a target directory inside the checkout is still named /target.
            flags.push(format!("--remap-path-prefix={}={to}", from.display()));
        }
        sh::run(
            rustup_run(self.name, "cargo")
                .args([
                    "build",
                    "--locked",
                    "--release",
                    "--package",
                    "tracer-ebpf",
                    "--bin",
                    "tracer-ebpf",
                ])
                .args(["-Z", "build-std=core", "--target", TARGET, "--target-dir"])
                .arg(dir)
                .envs(PROFILE)
                .env("CARGO_ENCODED_RUSTFLAGS", flags.join("\x1f")),
        )?;
        let linked = dir.join(TARGET).join("release/tracer-ebpf");
        let stripped = dir.join("tracer-ebpf.o");
        let objcopy = self
            .sysroot
            .join("lib/rustlib")
            .join(host(self.name)?)
            .join("bin/rust-objcopy");
        let mut strip = clean(Command::new(objcopy));
        strip.arg("--strip-debug").arg(&linked).arg(&stripped);
        // It is built for rustup's own layout, and finds the toolchain's LLVM only so.
        sh::run(strip.env("LD_LIBRARY_PATH", self.sysroot.join("lib")))?;
        let object = fs::read(&stripped).with_context(|| stripped.display().to_string())?;
        for home in [sh::root(), cargo_home()?, self.sysroot.clone()] {
            let home = home.display().to_string();
            let leaks = object.windows(home.len()).any(|bytes| bytes == home.as_bytes());
            ensure!(
                !leaks,
                "the object names {home}: it would differ from machine to machine"
            );
        }
        Ok(object)
    }
}

fn host(toolchain: &str) -> Result<String> {
    let text = sh::output(rustup_run(toolchain, "rustc").arg("-vV"))?;
    let host = text.lines().find_map(|line| line.strip_prefix("host: "));
    host.map(str::to_owned).context("rustc -vV names no host")
}

pub(crate) fn installed_nightly() -> Result<&'static str> {
    let mut seen = Vec::new();
    for name in TOOLCHAINS {
        match sh::output(rustup_run(name, "rustc").arg("-V")) {
            Ok(version) if version == RUSTC => return Ok(name),
            Ok(version) => seen.push(format!("{name} is {version}")),
            Err(_) => seen.push(format!("{name} is not installed")),
        }
    }
    bail!(
        "{RUSTC} is needed: {}: run `cargo xtask ebpf --setup`",
        seen.join(", ")
    )
}

/// Installs what `Toolchain::find` looks for, as far as this machine lets us.
pub(crate) fn setup() -> Result<()> {
    let name = match installed_nightly() {
        Ok(name) => name,
        Err(_) => {
            let install = ["toolchain", "install", TOOLCHAINS[0], "--profile", "minimal"];
            sh::run(&mut clean(sh::command("rustup", install)))?;
            installed_nightly()?
        }
    };
    let sysroot = PathBuf::from(sh::output(
        rustup_run(name, "rustc").args(["--print", "sysroot"]),
    )?);
    let source = sysroot.join("lib/rustlib/src/rust");
    if !source.join("library/core/src/lib.rs").is_file() {
        let added = sh::run(&mut clean(sh::command(
            "rustup",
            ["component", "add", "rust-src", "--toolchain", name],
        )));
        match (
            added,
            env::var_os("TRACER_RUST_SRC").filter(|path| !path.is_empty()),
        ) {
            (Ok(()), _) => {}
            (Err(_), Some(tarball)) => {
                fs::create_dir_all(&source)?;
                // Said aloud, since it changes the toolchain and not the checkout.
                println!("{}: from {}", source.display(), tarball.display());
                sh::run(Command::new("tar").arg("-C").arg(&source).arg("-xf").arg(tarball))?;
            }
            (Err(why), None) => {
                bail!("{why:#}; without it, set TRACER_RUST_SRC to a tarball that holds library/ of {RUSTC}")
            }
        }
    }
    let there = sh::output(clean(Command::new("bpf-linker")).arg("--version")).unwrap_or_default();
    if there != LINKER {
        let version = LINKER.trim_start_matches("bpf-linker ");
        sh::run(rustup_run(name, "cargo").args([
            "install",
            "bpf-linker",
            "--locked",
            "--force",
            "--version",
            version,
        ]))?;
    }
    Toolchain::find().map(|_| ())
}

pub(crate) fn rustup_run(toolchain: &str, program: &str) -> Command {
    clean(sh::command("rustup", ["run", toolchain, program]))
}

/// Without what the outer cargo sets for its own toolchain (it would reach rustc and the LLVM that bpf-linker loads), and
/// without what would make another object of the same sources.
fn clean(mut command: Command) -> Command {
    for name in [
        "CARGO",
        "RUSTC",
        "RUSTDOC",
        "RUSTFLAGS",
        "RUSTUP_TOOLCHAIN",
        "LD_LIBRARY_PATH",
        "CARGO_ENCODED_RUSTFLAGS",
    ] {
        command.env_remove(name);
    }
    // Profiles that the environment sets are not ours: an incremental build, for one, is another object.
    for (name, _) in env::vars_os() {
        let text = name.to_string_lossy();
        if text == "CARGO_INCREMENTAL" || text.starts_with("CARGO_PROFILE_") {
            command.env_remove(&name);
        }
    }
    command
}

fn cargo_home() -> Result<PathBuf> {
    let home = || env::var_os("HOME").map(|home| PathBuf::from(home).join(".cargo"));
    env::var_os("CARGO_HOME")
        .map(PathBuf::from)
        .or_else(home)
        .context("neither CARGO_HOME nor HOME is set")
}

/// The hash of all that decides what the object is, but for the core library.
fn hash_sources() -> Result<String> {
    let root = sh::root();
    let mut hash = Sha256::new();
    for part in [RUSTC, LINKER, TARGET]
        .into_iter()
        .chain(FLAGS)
        .chain(PROFILE.iter().flat_map(|(k, v)| [*k, *v]))
    {
        hash.update(part);
        hash.update("\0");
    }
    // The crates that the programs link, as the lock file pins them.
    let lock = fs::read_to_string(root.join("Cargo.lock")).context("Cargo.lock")?;
    for package in lock
        .split("\n\n")
        .filter(|p| p.contains("name = \"aya-ebpf") || p.contains("name = \"aya-log-"))
    {
        hash.update(package);
    }
    for source in SOURCES {
        hash_tree(&mut hash, &root, Path::new(source))?;
    }
    Ok(to_hex(&hash.finalize()))
}

/// Adds name and bytes of each file below `base/path`, in the order of their names.
fn hash_tree(hash: &mut Sha256, base: &Path, path: &Path) -> Result<()> {
    let full = base.join(path);
    if !full.is_dir() {
        let bytes = fs::read(&full).with_context(|| full.display().to_string())?;
        hash.update(format!("{}\0{}\0", path.display(), bytes.len()));
        hash.update(bytes);
        return Ok(());
    }
    let mut names = fs::read_dir(&full)?
        .map(|e| Ok(e?.file_name()))
        .collect::<Result<Vec<_>>>()?;
    names.sort();
    names
        .iter()
        .try_for_each(|name| hash_tree(hash, base, &path.join(name)))
}

fn hex(bytes: &[u8]) -> String {
    to_hex(&Sha256::digest(bytes))
}

fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
