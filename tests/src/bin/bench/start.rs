//! What the hook adds to a container's start.

use crate::figure::{Figure, Goals};
use anyhow::Result;
use std::path::Path;
use tracer_tests::{Bundle, Daemon, HookStage, Rootfs, Runtime, wait};

/// Milliseconds that the hook may add.
const MEDIAN: f64 = 3.0;
const P99: f64 = 10.0;
const ABSENT: f64 = 3.0;

/// What the runtime has to run, and how long that took.
struct Kind {
    bundle: Bundle,
    takes: Figure,
    /// More than the start without a hook in the same round.
    added: Figure,
}

impl Kind {
    fn new(bundle: Bundle) -> Result<Self> {
        bundle.write()?;
        Ok(Self {
            bundle,
            takes: Figure::default(),
            added: Figure::default(),
        })
    }
}

pub(crate) fn print(quick: bool, goals: &mut Goals) -> Result<()> {
    let starts = if quick { 4 } else { 120 };
    let daemon = Daemon::quiet()?;
    // On a node that traces, the programs are attached: here as long as this one runs.
    let holder = Bundle::traced("holder", Rootfs::Busybox, &["/bin/sleep", "600"], &daemon)?;
    let holder = Runtime::Runc.start(holder)?.quiet();
    wait::until("the holder", wait::LONG, || {
        Ok(daemon.row(holder.id())?.map(|_| ()))
    })?;
    // In memory, as /run is: what a disk's journal takes for a marker is not the hook's time.
    let nobody = tempfile::tempdir_in("/dev/shm")?;
    let plain = || Bundle::new("start", Rootfs::Busybox, &["/bin/true"]);
    let hooked =
        |dir: &Path| Ok::<_, anyhow::Error>(plain()?.hook(HookStage::CreateRuntime, dir)?.annotate("true"));
    let idle = plain()?.program_as_hook(HookStage::CreateRuntime, Path::new("/bin/busybox"), &["true"]);
    let mut kinds = [
        Kind::new(plain()?)?,
        Kind::new(idle)?,
        Kind::new(hooked(daemon.dir())?)?,
        Kind::new(hooked(nobody.path())?)?,
    ];
    for round in 0..starts {
        // What one start leaves to be cleaned up costs the next: each follows each, and is first and last as often.
        let mut order: Vec<usize> = (0..kinds.len()).collect();
        order.rotate_left(round % kinds.len());
        if round / kinds.len() % 2 == 1 {
            order.reverse();
        }
        let mut took = vec![0.0; kinds.len()];
        for kind in order {
            if let (Some(kind), Some(took)) = (kinds.get_mut(kind), took.get_mut(kind)) {
                *took = Runtime::Runc.start_timed(&mut kind.bundle)?.as_secs_f64() * 1e3;
            }
        }
        let none = took.first().copied().unwrap_or_default();
        for (kind, took) in kinds.iter_mut().zip(took) {
            kind.takes.push(took);
            kind.added.push(took - none);
        }
    }
    let [none, idle, traced, absent] = &kinds;
    println!("## A container's start\n");
    println!(
        "`runc create` and `start` of busybox, {starts} rounds of one of each kind, in turn; another container is traced meanwhile. Added is the median of what a start took longer than \
         the one without a hook in its round; at the 99th percentile it is that of all less that of all. A hook that does nothing (`busybox true`, static) is what the runtime itself \
         takes to run one.\n"
    );
    println!("| hook | median | 99th percentile | added | goal |\n| --- | --- | --- | --- | --- |");
    let row = |name: &str, kind: &Kind, goal: &str| {
        println!(
            "| {name} | {:.1} ms | {:.1} ms | {:.1} ms, p99 {:.1} ms | {goal} |",
            kind.takes.median(),
            kind.takes.percentile(99),
            kind.added.median(),
            p99(kind, none)
        );
    };
    println!(
        "| none | {:.1} ms | {:.1} ms | | |",
        none.takes.median(),
        none.takes.percentile(99)
    );
    row("one that does nothing", idle, "");
    let over = traced.added.median() - idle.added.median();
    let least = format!(
        "a hook that does nothing adds {:.1} ms, ours {over:.1} ms over that",
        idle.added.median()
    );
    let least_p99 = format!("with a hook that does nothing {:.1} ms", p99(idle, none));
    let goal = format!(
        "{}; {}",
        goals.at_most(
            "a start, with the hook",
            traced.added.median(),
            MEDIAN,
            " ms",
            &least
        ),
        goals.at_most(
            "the same, 99th percentile",
            p99(traced, none),
            P99,
            " ms",
            &least_p99
        )
    );
    row("ours, with a daemon", traced, &goal);
    let least = format!("a hook that does nothing adds {:.1} ms", idle.added.median());
    let goal = goals.at_most(
        "a start, with the hook and no daemon",
        absent.added.median(),
        ABSENT,
        " ms",
        &least,
    );
    row("ours, with none", absent, &goal);
    println!(
        "\nOver the hook that does nothing, ours adds {over:.1} ms with a daemon, {:.1} ms with none.\n",
        absent.added.median() - idle.added.median()
    );
    Ok(())
}

fn p99(kind: &Kind, none: &Kind) -> f64 {
    kind.takes.percentile(99) - none.takes.percentile(99)
}
