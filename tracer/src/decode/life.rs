//! Records of a task's life: fork, exec, exit, join.

use tracer_common::record::{self, Kind, flag};

use super::{Reader, Undecodable, show::Captured, task};
use crate::event::{Comm, Exit, Process, ProcessEvent};

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
        },
        Kind::Join | Kind::Syscall => ProcessEvent::Join,
    };
    if kind != Kind::Fork {
        task.comm = comm;
    }
    Ok(Process { task, what })
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
