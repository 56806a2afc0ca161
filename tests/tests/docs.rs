//! Every command in the documents does what they say: the pages are run, each on a node of its own, and what is printed
//! is compared (`tracer_tests::page` has the form). `UPDATE=1` writes what was printed into the page, to be read and cut.

use anyhow::{Context, Result, ensure};
use std::{collections::BTreeMap, fs, path::Path};
use tracer_tests::{
    node::{ADD_USER, IMAGES, Node, Who},
    page::{Kind, Page},
};

/// What a page takes for granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Begins {
    /// The programs are installed.
    Installed,
    /// The quick start has been read: the daemon runs, and podman has the hook.
    Started,
}

/// Runs a page; `before` makes what it takes for granted beside that.
fn run(path: &str, begins: Begins, reader: Who, before: &[&str]) -> Result<()> {
    let page = Page::read(path)?;
    let mut node = Node::new()?;
    if reader == Who::User {
        node.success(ADD_USER)?;
    }
    if begins == Begins::Started {
        node.success("tracer hook install --runtime podman --write && systemctl start tracer")?;
    }
    for image in IMAGES
        .iter()
        .filter(|image| page.mentions(&format!("library/{image}")))
    {
        let import = format!("podman import --quiet /run/images/{image}.tar docker.io/library/{image}");
        node.success(&import)?;
        if reader == Who::User {
            let shell = node.shell(Who::User)?;
            let said = node.start(shell, &import)?.end()?;
            ensure!(said.code == Some(0), "{}", said.text);
        }
    }
    for command in before {
        node.success(command)?;
    }
    page.run(&mut node, reader)
}

/// One test a page: `page!(name, path, what it begins with)`.
macro_rules! pages {
    ($($name:ident: $path:literal, $begins:ident, $reader:ident, [$($before:literal),*];)*) => {
        /// The pages that are run.
        const RUN: &[&str] = &[$($path),*];
        $(
            #[test]
            fn $name() -> Result<()> {
                run($path, Begins::$begins, Who::$reader, &[$($before),*])
            }
        )*
    };
}

pages! {
    readme: "README.md", Started, Root, [];
    quick_start: "docs/quick-start.md", Installed, Root, [];
    hook: "docs/hook.md", Installed, Root, [];
    podman: "docs/runtimes/podman.md", Installed, Root, [];
    podman_rootless: "docs/runtimes/podman-rootless.md", Started, User, [];
    bundle: "docs/runtimes/bundle.md", Installed, Root, [];
    docker: "docs/runtimes/docker.md", Installed, Root, [];
    docker_rootless: "docs/runtimes/docker-rootless.md", Started, User, [];
    containerd: "docs/runtimes/containerd.md", Installed, Root, [];
    cri_o: "docs/runtimes/cri-o.md", Installed, Root, [];
    commands: "docs/commands.md", Started, Root, [];
    stats: "docs/stats.md", Started, Root, [];
    filters: "docs/filters.md", Started, Root, [];
    explain: "docs/explain.md", Started, Root, [];
    caps: "docs/caps.md", Started, Root, [];
    dentry: "docs/dentry.md", Started, Root, [];
    profile: "docs/profile.md", Started, Root, [];
    annotations: "docs/annotations.md", Started, Root, [];
    events: "docs/events.md", Installed, Root, [];
    recordings: "docs/recordings.md", Started, Root, [];
    export: "docs/export.md", Installed, Root, [];
    top: "docs/top.md", Started, Root, [];
    config: "docs/config.md", Installed, Root, [];
    sinks: "docs/sinks.md", Started, Root, [];
    metrics: "docs/metrics.md", Started, Root, [];
    report: "docs/report.md", Started, Root, [];
}

/// Blocks that nothing runs, by page: how many there are at most, and why.
const NOT_RUN: &[(&str, usize, &str)] = &[
    (
        "README.md",
        1,
        "cargo xtask demo and test: CI is the one, demo.rs the other",
    ),
    (
        "docs/case-study-ros.md",
        1,
        "its image takes minutes: ros.rs, outside CI",
    ),
    ("docs/contributing/add-a-syscall.md", 1, "builds"),
    ("docs/contributing/add-a-test.md", 1, "runs tests"),
    ("docs/contributing/add-an-explain-rule.md", 1, "runs tests"),
    ("docs/contributing/change-the-book.md", 1, "would run itself"),
    ("docs/contributing/change-the-ebpf-object.md", 2, "builds"),
    (
        "docs/contributing/debug-the-verifier.md",
        2,
        "needs a program that does not load",
    ),
    (
        "docs/export.md",
        1,
        "DuckDB is not in Debian: export.rs reads the file by other means",
    ),
    (
        "docs/hook.md",
        1,
        "a build takes minutes; `cargo xtask test` makes it first",
    ),
    (
        "docs/install.md",
        6,
        "installs on the machine itself: packages.rs, on machines of its own",
    ),
    ("docs/nri.md", 1, "Debian 12's containerd has no NRI: nri.rs"),
    (
        "docs/quick-start.md",
        1,
        "a build takes minutes; `cargo xtask test` makes it first",
    ),
    (
        "docs/runtimes/containerd.md",
        2,
        "NRI, and a client for CRI, are not in Debian 12: nri.rs, install.rs",
    ),
    ("docs/runtimes/kubernetes.md", 2, "a cluster"),
];

/// All pages of the book, by path in the checkout.
fn book() -> Result<Vec<Page>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut paths = vec!["README.md".to_owned()];
    let mut folders = vec!["docs".to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(root.join(&folder))? {
            let entry = entry?;
            let path = format!("{folder}/{}", entry.file_name().to_str().context("name")?);
            if entry.file_type()?.is_dir() {
                folders.push(path);
            } else if path.ends_with(".md") {
                paths.push(path);
            }
        }
    }
    paths.sort();
    paths.iter().map(|path| Page::read(path)).collect()
}

#[test]
fn every_command_is_run_or_says_why_not() -> Result<()> {
    let mut left_out: BTreeMap<String, usize> = BTreeMap::new();
    for page in book()? {
        let strays = page.strays();
        ensure!(
            strays.is_empty(),
            "these stand in no console block, so nothing runs them:\n{}",
            strays.join("\n")
        );
        for block in &page.blocks {
            if matches!(block.kind, Kind::NotRun(_)) {
                *left_out.entry(page.path.clone()).or_default() += 1;
            } else {
                ensure!(
                    RUN.contains(&&*page.path),
                    "{}:{}: the page is not in the list of those that are run",
                    page.path,
                    block.line
                );
            }
        }
    }
    let allowed: BTreeMap<String, usize> = NOT_RUN
        .iter()
        .map(|(path, count, _)| ((*path).to_owned(), *count))
        .collect();
    assert_eq!(left_out, allowed, "blocks that are not run, by page");
    Ok(())
}

/// What docs/reliability.md says that a test shows, a test of that name is there for.
#[test]
fn the_tests_that_are_named_are_there() -> Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let page = fs::read_to_string(root.join("docs/reliability.md"))?;
    let mut sources = String::new();
    for folder in ["tests/tests", "tracer/src/sinks/file"] {
        for entry in fs::read_dir(root.join(folder))? {
            let path = entry?.path();
            if path.is_file() {
                sources += &fs::read_to_string(path)?;
            }
        }
    }
    let words = page.split('`').skip(1).step_by(2);
    let names = words.filter(|word| word.matches('_').count() > 2 && !word.contains(' '));
    let mut found = 0;
    for name in names {
        ensure!(
            sources.contains(&format!("fn {name}(")),
            "there is no test {name}"
        );
        found += 1;
    }
    ensure!(found > 20, "{found} tests are named");
    Ok(())
}
