//! The program at the kernel's capability checks, and the rows that it fills. The kernel may have no place for it: then
//! all else goes on without, and says why.

use std::collections::HashMap;

use anyhow::{Context, Result};
use aya::{
    Btf, Ebpf,
    maps::{self, MapData, MapError},
    programs::{Program, ProgramError},
};
use tracer_common::capability::{CheckKey, Checks, Held};

use super::{Abi, absent_is_fine, events, objects::Objects, table::Table};

/// The type that BTF has where the tracepoint is (6.14).
pub(super) const TRACEPOINT_TYPE: &str = "btf_trace_cap_capable";

const TRACEPOINT: &str = "cap_capable";
/// At the function's return, for kernels before.
const EXIT: &str = "cap_capable_exit";

pub(super) struct Capabilities {
    /// The program that loaded, or why none did.
    program: Result<&'static str, String>,
    rows: maps::HashMap<MapData, Abi<CheckKey>, Abi<Checks>>,
    held: Table<Held>,
}

/// Loads the one program that this kernel has a place for: which it was, and what the verifier had to do; or why there is
/// none.
pub(super) fn load(
    ebpf: &mut Ebpf,
    btf: &Btf,
    has_tracepoint: bool,
    by_events: bool,
) -> Result<Result<(&'static str, Option<u32>), String>> {
    let name = if has_tracepoint { TRACEPOINT } else { EXIT };
    let of_event = events::program(name, TRACEPOINT).filter(|_| by_events && has_tracepoint);
    let loaded = match ebpf.program_mut(of_event.as_deref().unwrap_or(name)) {
        Some(Program::TracePoint(program)) => program.load().map(|()| program.info().ok()),
        Some(Program::BtfTracePoint(program)) => {
            program.load("cap_capable", btf).map(|()| program.info().ok())
        }
        Some(Program::FExit(program)) => program.load("cap_capable", btf).map(|()| program.info().ok()),
        _ => anyhow::bail!("the eBPF object has no program {name}: it was built from other sources"),
    };
    let place = if has_tracepoint {
        "the tracepoint cap_capable"
    } else {
        "the return of cap_capable (the tracepoint came with Linux 6.14)"
    };
    Ok(match loaded {
        Ok(info) => Ok((name, info.and_then(|info| info.verified_instruction_count()))),
        Err(error) => Err(format!(
            "the kernel refused the program at {place}: {}",
            first_line(&error)
        )),
    })
}

impl Capabilities {
    /// `unseen` is why no program is loaded.
    pub(super) fn of(objects: &Objects, unseen: Option<String>) -> Result<Self> {
        let loaded = [TRACEPOINT, EXIT].into_iter().find(|name| objects.has(name));
        Ok(Self {
            program: loaded.ok_or_else(|| unseen.unwrap_or_default()),
            rows: objects.map("CHECKS")?,
            held: Table::of(objects, "HELD")?,
        })
    }

    /// Attaches it, if it is there and not attached. That it cannot be is no reason not to trace.
    pub(super) fn attach(&mut self, objects: &mut Objects) {
        if let Ok(name) = &self.program
            && let Err(error) = objects.attach(name, TRACEPOINT)
        {
            self.program = Err(format!("{error:#}"));
        }
    }

    pub(super) fn detach(&self, objects: &mut Objects) {
        if let Ok(name) = &self.program {
            objects.detach(name);
        }
    }

    pub(super) fn attached(&self, objects: &Objects) -> bool {
        self.program.as_ref().is_ok_and(|name| objects.attached(name))
    }

    /// The program that is loaded.
    pub(super) fn program(&self) -> Option<&'static str> {
        self.program.as_ref().ok().copied()
    }

    /// Why checks are not seen.
    pub(super) fn absent(&self) -> Option<&str> {
        self.program.as_ref().err().map(String::as_str)
    }

    /// The rows of a use of a slot.
    pub(super) fn rows(&self, slot: u32, generation: u32) -> Result<HashMap<CheckKey, Checks>> {
        let mut rows = HashMap::new();
        for entry in self.rows.iter() {
            match entry {
                Ok((Abi(key), Abi(checks))) => {
                    if u32::from(key.slot) == slot && u32::from(key.generation) == generation & 0xffff {
                        rows.insert(key, checks);
                    }
                }
                // A row that a removal took while we walked.
                Err(MapError::KeyNotFound) => {}
                Err(error) => return Err(error).context("read the capability checks"),
            }
        }
        Ok(rows)
    }

    /// What the slot's init held when its application began; `None` where nobody saw that.
    pub(super) fn held(&self, slot: u32) -> Result<Option<Held>> {
        let held = self.held.get(slot)?;
        Ok((held.user_ns != 0).then_some(held))
    }

    /// Removes the rows of these slots and what they held, whatever their generation.
    pub(super) fn forget(&mut self, slots: &[u32]) -> Result<()> {
        for slot in slots {
            self.held.set(*slot, &Held::default())?;
        }
        let keys: Vec<_> = self
            .rows
            .keys()
            .filter_map(Result::ok)
            .filter(|key| slots.contains(&u32::from(key.0.slot)))
            .collect();
        for key in keys {
            absent_is_fine(self.rows.remove(&key)).context("remove a row of capability checks")?;
        }
        Ok(())
    }
}

/// The verifier's log says more than a line holds.
pub(super) fn first_line(error: &ProgramError) -> String {
    match error {
        ProgramError::LoadError { io_error, .. } => io_error.to_string(),
        other => other.to_string(),
    }
}
