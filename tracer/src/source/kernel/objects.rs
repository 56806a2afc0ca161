//! The maps and programs as descriptors: made by loading the object, or taken over from a daemon before this one. What
//! a descriptor is of lives as long as some process holds it: a link keeps its program attached, a program its maps.

use std::{
    collections::BTreeMap,
    os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd},
};

use anyhow::{Context, Result, anyhow, ensure};
use aya::{
    Ebpf,
    maps::{Map, MapData, MapError},
    programs::Program,
};
use aya_obj::generated::{bpf_cmd, bpf_prog_info, bpf_prog_type};

use super::{bpf, events};

/// The maps that this side reads or writes. The others are the programs' alone, and live as long as those.
const MAPS: [&str; 18] = [
    "EVENTS",
    "PLANS",
    "CONTAINERS",
    "FILTERS",
    "RATES",
    "SHARES",
    "MOUNT_NAMESPACES",
    "PID_NAMESPACES",
    "EXCLUDED",
    "PROOFS",
    "BOOKS",
    "ROWS",
    "ROW_NUMBERS",
    "FREE_ROWS",
    "CHECKS",
    "HELD",
    "COUNTS",
    EPOCH,
];

/// The programs' one variable.
pub(super) const EPOCH: &str = ".bss";

/// What stands before a name where descriptors of all three kinds are together.
const KINDS: [&str; 3] = ["map.", "program.", "link."];

/// Descriptors by name.
#[derive(Debug, Default)]
pub(super) struct Objects {
    maps: BTreeMap<String, OwnedFd>,
    programs: BTreeMap<String, OwnedFd>,
    links: BTreeMap<String, OwnedFd>,
}

impl Objects {
    /// Of an object whose programs are loaded, those of them that are.
    pub(super) fn of(ebpf: &mut Ebpf) -> Result<Self> {
        let mut objects = Self::default();
        for name in MAPS {
            let map = ebpf.take_map(name);
            let map = map.with_context(|| {
                format!("the eBPF object has no map {name}: it was built from other sources")
            })?;
            objects.maps.insert(name.to_owned(), descriptor(&map)?);
        }
        for (name, program) in ebpf.programs() {
            let fd = match program {
                Program::BtfTracePoint(program) => program.fd(),
                Program::TracePoint(program) => program.fd(),
                Program::FEntry(program) => program.fd(),
                Program::FExit(program) => program.fd(),
                _ => continue,
            };
            // One that is not loaded has none: the kernel has no place for it. Of a pair one is, so they have one name.
            if let Ok(fd) = fd {
                let name = name.strip_suffix(events::SUFFIX).unwrap_or(name);
                objects.programs.insert(name.to_owned(), copy(fd.as_fd())?);
            }
        }
        Ok(objects)
    }

    /// Those of a daemon before this one, by the names that [`Self::descriptors`] gave them; what is none of ours stays.
    ///
    /// # Errors
    /// When a map is missing.
    pub(super) fn taken_over(from: &mut BTreeMap<String, OwnedFd>) -> Result<Self> {
        let mut take = |kind: &str| -> BTreeMap<String, OwnedFd> {
            let ours: Vec<_> = from
                .keys()
                .filter(|name| name.starts_with(kind))
                .cloned()
                .collect();
            let named = ours.into_iter().filter_map(|name| {
                let fd = from.remove(&name)?;
                Some((name.strip_prefix(kind)?.to_owned(), fd))
            });
            named.collect()
        };
        let [maps, programs, links] = KINDS.map(&mut take);
        for name in MAPS {
            ensure!(maps.contains_key(name), "map {name} is not among the descriptors");
        }
        Ok(Self {
            maps,
            programs,
            links,
        })
    }

    /// All of them, by names that tell them apart.
    pub(super) fn descriptors(&self) -> Vec<(String, BorrowedFd<'_>)> {
        let kinds = KINDS.into_iter().zip([&self.maps, &self.programs, &self.links]);
        kinds
            .flat_map(|(kind, all)| {
                all.iter()
                    .map(move |(name, fd)| (format!("{kind}{name}"), fd.as_fd()))
            })
            .collect()
    }

    /// A map, as this program expects it.
    pub(super) fn map<M: TryFrom<Map, Error = MapError>>(&self, name: &str) -> Result<M> {
        let expected = || format!("map {name} is not what this program expects");
        let map = Map::from_map_data(self.data(name)?).with_context(expected)?;
        M::try_from(map).with_context(expected)
    }

    /// A map without a type.
    pub(super) fn data(&self, name: &str) -> Result<MapData> {
        let fd = self.maps.get(name).with_context(|| format!("no map {name}"))?;
        MapData::from_fd(copy(fd.as_fd())?).with_context(|| format!("look at map {name}"))
    }

    /// Whether a program is loaded.
    pub(super) fn has(&self, program: &str) -> bool {
        self.programs.contains_key(program)
    }

    /// Attaches a program to what it was loaded for, if it is not attached.
    ///
    /// # Errors
    /// When it is not loaded, or the kernel refuses.
    pub(super) fn attach(&mut self, program: &str, to: &str) -> Result<()> {
        if self.attached(program) {
            return Ok(());
        }
        let fd = self.programs.get(program);
        let fd = fd.with_context(|| format!("program {program} is not loaded"))?;
        let link = attach(fd.as_fd(), to).with_context(|| format!("attach program {program}"))?;
        self.links.insert(program.to_owned(), link);
        Ok(())
    }

    /// Whether a program is at the trace event of its tracepoint.
    ///
    /// # Errors
    /// When it is not loaded, or the kernel refuses.
    pub(super) fn is_at_event(&self, program: &str) -> Result<bool> {
        let fd = self.programs.get(program);
        let fd = fd.with_context(|| format!("program {program} is not loaded"))?;
        is_for_events(fd.as_fd())
    }

    /// How often the kernel skipped a program, since it was in progress on that CPU.
    ///
    /// # Errors
    /// When it is not loaded, or the kernel refuses.
    pub(super) fn missed_runs(&self, program: &str) -> Result<u64> {
        let fd = self.programs.get(program);
        let fd = fd.with_context(|| format!("program {program} is not loaded"))?;
        let info = info(fd.as_fd()).with_context(|| format!("look at program {program}"))?;
        Ok(info.recursion_misses)
    }

    pub(super) fn detach(&mut self, program: &str) {
        self.links.remove(program);
    }

    pub(super) fn attached(&self, program: &str) -> bool {
        self.links.contains_key(program)
    }
}

/// BPF_RAW_TRACEPOINT_OPEN without a name: the place is the one that the program was verified for
/// (kernel/bpf/syscall.c, bpf_raw_tracepoint_open). One at a trace event is verified for none.
fn attach(program: BorrowedFd<'_>, to: &str) -> Result<OwnedFd> {
    if is_for_events(program)? {
        return events::attach(program, to);
    }
    let mut attr = bpf::nothing();
    attr.raw_tracepoint.prog_fd = u32::try_from(program.as_raw_fd())?;
    // SAFETY: it points to nothing.
    let fd = unsafe { bpf::call(bpf_cmd::BPF_RAW_TRACEPOINT_OPEN, &mut attr)? };
    // SAFETY: the kernel has just made it for us.
    Ok(unsafe { OwnedFd::from_raw_fd(i32::try_from(fd)?) })
}

/// Whether a program was verified for trace events: BPF_PROG_TYPE_TRACEPOINT, as others have it at a tracepoint itself.
fn is_for_events(program: BorrowedFd<'_>) -> Result<bool> {
    Ok(info(program)?.type_ == bpf_prog_type::BPF_PROG_TYPE_TRACEPOINT as u32)
}

/// BPF_OBJ_GET_INFO_BY_FD (bpf(2)), since aya 0.14 leaves out what is asked for here. An older kernel leaves what it does
/// not tell as zero.
fn info(program: BorrowedFd<'_>) -> Result<bpf_prog_info> {
    // SAFETY: all of its members are integers; zero is "not told".
    let mut info: bpf_prog_info = unsafe { std::mem::zeroed() };
    let mut attr = bpf::nothing();
    attr.info.bpf_fd = u32::try_from(program.as_raw_fd())?;
    attr.info.info_len = u32::try_from(size_of::<bpf_prog_info>())?;
    attr.info.info = (&raw mut info).addr() as u64;
    // SAFETY: the kernel writes at most so many bytes to a structure that outlives the call.
    unsafe { bpf::call(bpf_cmd::BPF_OBJ_GET_INFO_BY_FD, &mut attr)? };
    Ok(info)
}

fn descriptor(map: &Map) -> Result<OwnedFd> {
    match map {
        Map::Array(map) | Map::HashMap(map) | Map::PerCpuArray(map) | Map::Queue(map) | Map::RingBuf(map) => {
            copy(map.fd().as_fd())
        }
        other => Err(anyhow!(
            "a map of type {other:?}: the eBPF object was built from other sources"
        )),
    }
}

fn copy(fd: BorrowedFd<'_>) -> Result<OwnedFd> {
    fd.try_clone_to_owned().context("copy a descriptor")
}
