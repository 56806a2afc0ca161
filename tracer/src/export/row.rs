//! The table that Parquet and CSV share: its columns, and the row of an event. All events have one table: a cell that
//! says nothing of an event is empty.
//!
//! Columns may be added at the end; none is renamed, moved or changes its meaning. It must not know how cells are written.

use std::borrow::Cow;

use crate::{
    decode, errno,
    event::{Body, DeniedBy, Descriptors, Event, Exit, Lifecycle, Outcome, ProcessEvent, Syscall, Task},
    sinks::json,
};

/// What the cells of a column hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// UTF-8; what a container chose and is none has U+FFFD in its place.
    Text,
    /// JSON text.
    Json,
    /// A number of at most 31 bits.
    Int,
    /// A number of at most 63 bits.
    Long,
    /// Nanoseconds since 1970.
    Time,
    Flag,
}

/// The columns, in order.
macro_rules! columns {
    ($($column:ident $name:literal $kind:ident,)*) => {
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(super) enum Column { $($column,)* }

        /// Name and kind of each.
        pub(super) const COLUMNS: &[(&str, Kind)] = &[$(($name, Kind::$kind),)*];
    };
}

columns! {
    Type "type" Text,
    Time "time" Time,
    Ktime "ktime" Long,
    ContainerId "container_id" Text,
    ContainerName "container_name" Text,
    Pod "pod" Text,
    Namespace "namespace" Text,
    Image "image" Text,
    Cpu "cpu" Int,
    Seq "seq" Long,
    Phase "phase" Text,
    Via "via" Text,
    Pid "pid" Int,
    Tid "tid" Int,
    HostPid "host_pid" Int,
    HostTid "host_tid" Int,
    Comm "comm" Text,
    Arch "arch" Text,
    Nr "nr" Int,
    Syscall "syscall" Text,
    Ret "ret" Long,
    Errno "errno" Text,
    DurationNs "duration_ns" Long,
    Unfinished "unfinished" Flag,
    DeniedBy "denied_by" Text,
    RetNote "ret_note" Text,
    Args "args" Json,
    Arg0 "arg0" Text,
    Arg1 "arg1" Text,
    Arg2 "arg2" Text,
    Arg3 "arg3" Text,
    Arg4 "arg4" Text,
    Arg5 "arg5" Text,
    Event "event" Text,
    ChildHostTid "child_host_tid" Int,
    Path "path" Text,
    ExitCode "exit_code" Int,
    Signal "signal" Text,
    Count "count" Long,
    Reason "reason" Text,
    Why "why" Text,
    Detail "detail" Json,
}

const ARGS: [Column; 6] = [
    Column::Arg0,
    Column::Arg1,
    Column::Arg2,
    Column::Arg3,
    Column::Arg4,
    Column::Arg5,
];

/// A cell.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) enum Cell<'a> {
    #[default]
    Empty,
    Text(Cow<'a, str>),
    Number(i64),
    Flag(bool),
}

impl<'a> From<&'a str> for Cell<'a> {
    fn from(text: &'a str) -> Self {
        Self::Text(text.into())
    }
}

impl<'a> From<Cow<'a, str>> for Cell<'a> {
    fn from(text: Cow<'a, str>) -> Self {
        Self::Text(text)
    }
}

impl From<u64> for Cell<'_> {
    /// The greatest there is for what is greater.
    fn from(number: u64) -> Self {
        Self::Number(i64::try_from(number).unwrap_or(i64::MAX))
    }
}

impl From<u32> for Cell<'_> {
    fn from(number: u32) -> Self {
        Self::Number(number.into())
    }
}

/// An event's cells, one a column.
pub(super) struct Row<'a>([Cell<'a>; COLUMNS.len()]);

impl<'a> Row<'a> {
    /// Each with its place in [`COLUMNS`].
    pub(super) fn cells(&self) -> &[Cell<'a>] {
        &self.0
    }

    fn set(&mut self, column: Column, cell: impl Into<Cell<'a>>) {
        self.0[column as usize] = cell.into();
    }

    fn set_some(&mut self, column: Column, cell: Option<impl Into<Cell<'a>>>) {
        if let Some(cell) = cell {
            self.set(column, cell);
        }
    }

    /// The row of an event.
    pub(super) fn of(event: &'a Event, descriptors: Descriptors) -> Self {
        let mut row = Self([const { Cell::Empty }; COLUMNS.len()]);
        let container = &event.container;
        row.set(Column::Time, event.time_ns);
        row.set(Column::Ktime, event.ktime);
        row.set(Column::ContainerId, container.id.as_str());
        row.set(Column::ContainerName, container.name.as_str());
        row.set_some(Column::Pod, container.pod.as_deref());
        row.set_some(Column::Namespace, container.namespace.as_deref());
        row.set_some(Column::Image, container.image.as_deref());
        let kind = match &event.body {
            Body::Syscall(call) => {
                row.task(&call.task);
                row.syscall(call, descriptors);
                "syscall"
            }
            Body::Process(process) => {
                row.task(&process.task);
                row.process(&process.what);
                "process"
            }
            Body::Container(life) => {
                row.lifecycle(life);
                "container"
            }
            Body::Loss(loss) => {
                row.set(Column::Reason, loss.reason.name());
                row.set(Column::Count, loss.count);
                row.set_some(Column::Cpu, loss.hole.map(|hole| u32::from(hole.cpu)));
                "loss"
            }
            Body::Diagnosis(found) => {
                row.task(&found.task);
                if !found.is_of_process() {
                    row.set(Column::Arch, found.arch.name());
                    row.set(Column::Syscall, &*found.syscall);
                }
                row.set_some(Column::Errno, found.errno.map(errno::name));
                row.set(Column::Count, found.count);
                row.set(Column::Reason, found.verdict.cause.name());
                row.set(Column::Why, found.verdict.why.as_str());
                "diagnosis"
            }
        };
        row.set(Column::Type, kind);
        if !matches!(event.body, Body::Syscall(_)) {
            let mut line = Vec::new();
            json::write_event(&mut line, event, descriptors);
            row.set(Column::Detail, ascii(line));
        }
        row
    }

    fn task(&mut self, task: &'a Task) {
        self.set(Column::Cpu, u32::from(task.cpu));
        self.set(Column::Phase, task.phase.name());
        self.set(Column::Via, task.via.name());
        self.set(Column::Pid, task.pid);
        self.set(Column::Tid, task.tid);
        self.set(Column::HostPid, task.host_pid);
        self.set(Column::HostTid, task.host_tid);
        self.set(Column::Comm, String::from_utf8_lossy(task.comm.bytes()));
    }

    fn syscall(&mut self, call: &'a Syscall, descriptors: Descriptors) {
        self.set(Column::Seq, call.seq);
        self.set(Column::Arch, call.arch.name());
        self.set(Column::Nr, call.nr);
        self.set(Column::Syscall, &*call.name);
        match call.outcome {
            Outcome::Value(value) => self.0[Column::Ret as usize] = Cell::Number(value),
            Outcome::Error(errno) => {
                self.0[Column::Ret as usize] = Cell::Number(-1);
                self.set(Column::Errno, errno::name(errno));
            }
            Outcome::Unfinished => self.0[Column::Unfinished as usize] = Cell::Flag(true),
            Outcome::Refused => {}
        }
        self.set_some(Column::DurationNs, call.duration_ns);
        self.set_some(Column::DeniedBy, call.denied_by.map(DeniedBy::name));
        self.set_some(Column::RetNote, call.args.ret_note.as_deref());
        let mut args = Vec::with_capacity(call.args.text.len() + 48 * call.args.list.len());
        json::arguments(&mut args, &call.args, descriptors, false);
        self.set(Column::Args, ascii(args));
        for (column, arg) in ARGS.into_iter().zip(&call.args.list) {
            self.set(column, call.args.text_with(arg.text.clone(), descriptors));
        }
    }

    fn process(&mut self, what: &'a ProcessEvent) {
        match what {
            ProcessEvent::Fork { host_tid, .. } => {
                self.set(Column::Event, "fork");
                self.set(Column::ChildHostTid, *host_tid);
            }
            ProcessEvent::Exec { path, .. } => {
                self.set(Column::Event, "exec");
                self.set(Column::Path, String::from_utf8_lossy(path));
            }
            ProcessEvent::Exit { code, .. } => {
                self.set(Column::Event, "exit");
                self.exit(*code);
            }
            ProcessEvent::Join => self.set(Column::Event, "join"),
        }
    }

    fn exit(&mut self, exit: Exit) {
        match exit {
            Exit::Code(code) => self.set(Column::ExitCode, u32::from(code)),
            Exit::Signal { number, .. } => {
                self.set(Column::Signal, Cow::Owned(decode::signal_text(number)));
            }
        }
    }

    fn lifecycle(&mut self, life: &'a Lifecycle) {
        self.set(Column::Event, life.name());
        match life {
            Lifecycle::Gone { exit: Some(exit), .. } => self.exit(*exit),
            Lifecycle::Warning { text: why } | Lifecycle::Unregistered { reason: why } => {
                self.set(Column::Why, why.as_str());
            }
            _ => {}
        }
    }
}

/// What the JSON writer wrote: ASCII only, so this copies nothing. The end of a line does not belong to it.
fn ascii(mut json: Vec<u8>) -> Cow<'static, str> {
    if json.last() == Some(&b'\n') {
        json.pop();
    }
    Cow::Owned(String::from_utf8(json).unwrap_or_default())
}
