//! Records of a task's life: fork, exec, exit, join.

use tracer_common::record::{self, Kind, flag};

use super::{Reader, Undecodable, show::Captured, task};
use crate::event::{Comm, Exit, OutOfMemory, Process, ProcessEvent};

pub(super) fn process(
    mut reader: Reader<'_>,
    header: &record::Header,
    kind: Kind,
) -> Result<Process, Undecodable> {
    let (other_tid, other_ns_tgid, other_ns_tid, other_tgid) =
        (reader.u32()?, reader.u32()?, reader.u32()?, reader.u32()?);
    let comm = Comm(reader.array()?);
    let mut task = task(header);
    let what = match kind {
        Kind::Fork => ProcessEvent::Fork {
            pid: other_ns_tgid,
            tid: other_ns_tid,
            host_pid: other_tgid,
            host_tid: other_tid,
            comm,
            thread: header.flags & flag::THREAD != 0,
        },
        Kind::Exec => {
            let path = reader
                .section()?
                .map_or_else(Captured::empty, |path| path.captured);
            ProcessEvent::Exec {
                path: path.bytes.to_vec(),
                truncated: path.cut,
            }
        }
        Kind::Exit => ProcessEvent::Exit {
            code: exit(header.nr),
            oom: (header.flags & flag::OOM != 0)
                .then(|| out_of_memory([other_tid, other_ns_tgid, other_ns_tid, other_tgid])),
        },
        Kind::Join | Kind::Syscall => ProcessEvent::Join,
    };
    if kind != Kind::Fork {
        task.comm = comm;
    }
    Ok(Process { task, what })
}

fn out_of_memory(words: [u32; 4]) -> OutOfMemory {
    let record::OutOfMemory { level, max } = record::OutOfMemory::of(words);
    // Without a limit it is LONG_MAX, in whole pages.
    let is_limit = |max: &u64| *max < 1 << 62;
    OutOfMemory {
        level: level.checked_sub(1),
        max: Some(max).filter(|max| level > 0 && is_limit(max)),
    }
}

/// An exit code as wait(2) encodes it.
fn exit(status: u16) -> Exit {
    let [low, code] = status.to_le_bytes();
    match low & 0x7f {
        0 => Exit::Code(code),
        number => Exit::Signal {
            number,
            core_dumped: low & 0x80 != 0,
        },
    }
}
