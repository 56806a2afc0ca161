//! Loads the object: offsets into its constants, sizes into its maps, calls of kernel functions where the kernel has them;
//! then has each program verified. It attaches none.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use aya::{
    Btf, Ebpf, EbpfError, EbpfLoader,
    maps::{MapError, MapType},
    programs::{Program, ProgramError},
    sys::is_map_supported,
};
use tracer_common::share::{GRANTS, MAX_GRANT};

use super::{EMPTY, PROGRAMS, aggregates, capabilities, dentries, events, kfunc, offsets};
use crate::source::btf;

/// The object that `cargo xtask ebpf` builds from tracer-ebpf.
pub(super) static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../tracer-ebpf/prebuilt/tracer-ebpf.o"
));

/// What the verifier had to do for a program.
#[derive(Clone, Copy, Debug)]
pub struct Verified {
    pub program: &'static str,
    /// Instructions that it looked at, on all paths; it refuses a million. `None` before Linux 5.16, which does not tell.
    pub instructions: Option<u32>,
    /// How long the program took to load.
    pub took: Duration,
}

/// The programs that this kernel has a place for.
pub(super) struct Loaded {
    pub(super) ebpf: Ebpf,
    pub(super) verified: Vec<Verified>,
    /// Why capability checks are not seen.
    pub(super) unseen: Option<String>,
    /// Why look-ups of names are not watched.
    pub(super) unwatched: Option<String>,
    /// Why the programs are where this kernel skips them.
    pub(super) skipping: Option<String>,
}

/// Loads and verifies all programs.
///
/// # Errors
/// Names what the kernel lacks, or the verifier's last words.
pub(super) fn load(ring_bytes: u32, rows: u32) -> Result<Loaded> {
    let file = std::fs::read("/sys/kernel/btf/vmlinux")
        .context("read /sys/kernel/btf/vmlinux (the kernel needs CONFIG_DEBUG_INFO_BTF=y)")?;
    let own = btf::Btf::parse(&file).context("/sys/kernel/btf/vmlinux")?;
    let cpus = aya::util::nr_cpus().map_err(|(what, error)| anyhow!("{what}: {error}"))?;
    let grant = ring_bytes / GRANTS / u32::try_from(cpus)?.max(1);
    let preempted = kfunc::is_due_at_calls(&own);
    let events = if preempted {
        events::find().and_then(|()| events::field("sched_process_fork", "child_pid"))
    } else {
        Err(anyhow!("no program is skipped at tracepoints"))
    };
    let by_events = events.is_ok();
    let mut globals = offsets::globals(&own)?;
    globals.extend([
        ("PREEMPTED", u32::from(preempted && !by_events)),
        ("OFF_FORK_CHILD", *events.as_ref().unwrap_or(&0)),
        ("RING_BYTES", ring_bytes),
        ("GRANT", grant.min(MAX_GRANT)),
    ]);
    let mut loader = EbpfLoader::new();
    // aya 0.14 has no type for task storage; it creates the map all the same.
    loader.allow_unsupported_maps();
    loader.map_max_entries("EVENTS", ring_bytes);
    for map in aggregates::MAPS {
        loader.map_max_entries(map, rows);
    }
    for (name, value) in &globals {
        loader.override_global(name, value, true);
    }
    let btf = Btf::from_sys_fs().context("read /sys/kernel/btf/vmlinux")?;
    let has_tracepoint = own.has_typedef(capabilities::TRACEPOINT_TYPE);
    let mut verify = |object: &[u8]| verify(&mut loader, object, &btf, has_tracepoint, by_events);
    let loaded = match kfunc::with_calls(OBJECT, &own, preempted) {
        // Until 6.14 no global function may be called with preemption off. No program is preempted there.
        Some(object) if !preempted => verify(&object).or_else(|_| verify(OBJECT)),
        Some(object) => verify(&object),
        None => verify(OBJECT),
    }?;
    let skipping = events.err().filter(|_| preempted).map(|why| format!("{why:#}"));
    Ok(Loaded { skipping, ..loaded })
}

fn verify(
    loader: &mut EbpfLoader<'_>,
    object: &[u8],
    btf: &Btf,
    has_tracepoint: bool,
    by_events: bool,
) -> Result<Loaded> {
    let mut ebpf = loader.load(object).map_err(lacking)?;
    let mut verified = Vec::new();
    for (name, tracepoint) in PROGRAMS.iter().chain(&EMPTY) {
        let of_event = events::program(name, tracepoint).filter(|_| by_events);
        let of_object = of_event.as_deref().unwrap_or(name);
        let began = Instant::now();
        let info = match ebpf.program_mut(of_object) {
            Some(Program::BtfTracePoint(program)) => program.load(tracepoint, btf).map(|()| program.info()),
            Some(Program::TracePoint(program)) => program.load().map(|()| program.info()),
            _ => bail!("the eBPF object has no program {of_object}: it was built from other sources"),
        };
        let info = info
            .map_err(verdict)
            .with_context(|| format!("load program {of_object}"))?;
        verified.push(Verified {
            program: name,
            took: began.elapsed(),
            instructions: info.ok().and_then(|info| info.verified_instruction_count()),
        });
    }
    let unwatched = match dentries::load(&mut ebpf, btf)? {
        Ok(of_dentries) => {
            verified.extend(of_dentries);
            None
        }
        Err(why) => Some(why),
    };
    let began = Instant::now();
    let unseen = match capabilities::load(&mut ebpf, btf, has_tracepoint, by_events)? {
        Ok((program, instructions)) => {
            verified.push(Verified {
                program,
                instructions,
                took: began.elapsed(),
            });
            None
        }
        Err(why) => Some(why),
    };
    Ok(Loaded {
        ebpf,
        verified,
        unseen,
        unwatched,
        skipping: None,
    })
}

/// Why the object does not load at all: which kind of maps this kernel has not, or that the caller may not.
fn lacking(error: EbpfError) -> anyhow::Error {
    match &error {
        // The kernel refuses a type of maps that it does not know as an invalid argument: bpf(2), BPF_MAP_CREATE. Which
        // of them comes first is chance; that the newest of their types is not there says all.
        EbpfError::MapError(MapError::CreateError { io_error, .. })
            if io_error.raw_os_error() == Some(libc::EINVAL)
                && matches!(is_map_supported(MapType::TaskStorage), Ok(false)) =>
        {
            anyhow!(
                "this kernel has no task-local storage for tracing programs, which came with Linux 5.11: boot Linux \
                 5.15 or newer"
            )
        }
        _ => anyhow!(error).context("load the eBPF object (root, or CAP_BPF and CAP_PERFMON, is needed)"),
    }
}

/// The verifier's log is long; its end says why.
fn verdict(error: ProgramError) -> anyhow::Error {
    match error {
        ProgramError::LoadError {
            io_error,
            verifier_log,
        } => {
            let log = verifier_log.to_string();
            let tail: Vec<_> = log.lines().rev().take(40).collect();
            let tail: Vec<_> = tail.into_iter().rev().collect();
            anyhow!("the kernel refused it: {io_error}\n{}", tail.join("\n"))
        }
        other => other.into(),
    }
}
