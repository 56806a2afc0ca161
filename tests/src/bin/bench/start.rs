//! What the hook adds to a container's start.

use crate::figure::{Figure, Goals};
use anyhow::Result;
use std::path::Path;
use tracer_tests::{Bundle, Daemon, HookStage, Rootfs, Runtime, wait};

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
    // In memory, as /run is: what a disk's journal takes for a marker is not the hook's time.
    let nobody = tempfile::tempdir_in("/dev/shm")?;
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
                figure.push(Runtime::Runc.start_timed(bundle)?.as_secs_f64() * 1e3);
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
