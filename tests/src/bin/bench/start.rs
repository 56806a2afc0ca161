//! What the hook adds to a container's start.

use crate::figure::{Figure, Goals};
use anyhow::{Result, ensure};
use std::{fs::File, path::Path, process::Stdio, time::Instant};
use tracer_tests::{Bundle, Daemon, HookStage, Rootfs, Runtime, programs, unique_id, wait};

/// Milliseconds that the hook may add.
const MEDIAN: f64 = 3.0;
const P99: f64 = 10.0;
const ABSENT: f64 = 3.0;

pub(crate) fn print(quick: bool, goals: &mut Goals) -> Result<()> {
    let starts = if quick { 5 } else { 101 };
    let daemon = Daemon::quiet()?;
    // On a node that traces, the programs are attached: here as long as this one runs.
    let holder = Bundle::traced("holder", Rootfs::Busybox, &["/bin/sleep", "600"], &daemon)?;
    let holder = Runtime::Runc.start(holder)?.quiet();
    wait::until("the holder", wait::LONG, || {
        Ok(daemon.row(holder.id())?.map(|_| ()))
    })?;
    let nobody = tempfile::tempdir()?;
    let hooked = |dir: &Path| {
        Ok::<_, anyhow::Error>(
            Bundle::new("start", Rootfs::Busybox, &["/bin/true"])?
                .hook(HookStage::CreateRuntime, dir)?
                .annotate("true"),
        )
    };
    let mut kinds = [
        (
            Bundle::new("start", Rootfs::Busybox, &["/bin/true"])?,
            Figure::default(),
        ),
        (hooked(daemon.dir())?, Figure::default()),
        (hooked(nobody.path())?, Figure::default()),
    ];
    for (bundle, _) in &kinds {
        bundle.write()?;
    }
    for round in 0..starts {
        // What one start leaves to be cleaned up costs the next: each follows each.
        let order = if round % 2 == 0 { [0, 1, 2] } else { [2, 1, 0] };
        for kind in order {
            if let Some((bundle, figure)) = kinds.get_mut(kind) {
                figure.push(start(bundle)?);
            }
        }
    }
    let [none, traced, absent] = kinds.map(|(_, figure)| figure);
    println!("## A container's start\n");
    println!(
        "`runc create` and `start` of busybox, {starts} of each kind, in turn; another container is traced meanwhile.\n"
    );
    println!("| hook | median | 99th percentile | added | goal |\n| --- | --- | --- | --- | --- |");
    println!(
        "| none | {:.1} ms | {:.1} ms | | |",
        none.median(),
        none.percentile(99)
    );
    let (median, p99) = (
        traced.median() - none.median(),
        traced.percentile(99) - none.percentile(99),
    );
    println!(
        "| with a daemon | {:.1} ms | {:.1} ms | {median:.1} ms, p99 {p99:.1} ms | {}; {} |",
        traced.median(),
        traced.percentile(99),
        goals.at_most("the hook, median", median, MEDIAN, " ms"),
        goals.at_most("the hook, 99th percentile", p99, P99, " ms")
    );
    let added = absent.median() - none.median();
    println!(
        "| with none | {:.1} ms | {:.1} ms | {added:.1} ms | {} |\n",
        absent.median(),
        absent.percentile(99),
        goals.at_most("the hook without a daemon", added, ABSENT, " ms")
    );
    Ok(())
}

/// Milliseconds of `create` and `start`, under an id of its own.
fn start(bundle: &mut Bundle) -> Result<f64> {
    bundle.id = unique_id("start");
    let (id, path) = (bundle.id.clone(), bundle.path().display().to_string());
    let log = File::create(bundle.path().join("log"))?;
    let run = |args: &[&str]| -> Result<()> {
        let mut command = Runtime::Runc.command(args);
        // The container has them too: a pipe would end only with it.
        let status = command.stdout(Stdio::null()).stderr(log.try_clone()?).status()?;
        ensure!(status.success(), "{}: {status}", programs::show(&command));
        Ok(())
    };
    let begin = Instant::now();
    run(&["create", "-b", &path, &id])?;
    run(&["start", &id])?;
    let time = begin.elapsed();
    run(&["delete", "--force", &id])?;
    Ok(time.as_secs_f64() * 1e3)
}
