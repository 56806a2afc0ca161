//! A Chrome trace: the Trace Event Format in its JSON object form, as Perfetto and chrome://tracing open it.
//!
//! A thread is a track: host ids are its numbers, since containers' own repeat. A call is a slice (`X`) that ends when
//! the call returned; calls of one thread follow each other, and where two claim the same time (a thread's last call and
//! that of the one that took its number in execve) the later begins when the earlier ended. Process events and diagnoses
//! are instants on the thread, a container's life and losses instants of a process of its own, which gives the
//! container's processes their group. An arrow leads from a fork to the first call of the child.
//!
//! Times are CLOCK_MONOTONIC, in microseconds with three decimals. What is held is the threads that live.

use std::{
    collections::HashMap,
    io::{self, Write},
};

use super::{Buffered, Export};
use crate::{
    errno,
    event::{
        Body, Comm, Container, Descriptors, Diagnosis, Event, Lifecycle, Loss, Outcome, Process,
        ProcessEvent, Syscall, Task,
    },
    sinks::json::{self, field, number, padded, string},
};

/// Ids of the containers' own processes begin here: PID_MAX_LIMIT, which no task has (include/linux/threads.h).
const CONTAINERS: u32 = 1 << 22;
/// Threads that are kept; with more, all are forgotten and told anew.
const MOST: usize = 65_536;

pub(super) struct Chrome<W: Write> {
    to: Buffered<W>,
    descriptors: Descriptors,
    /// Whether an event stands already.
    begun: bool,
    /// By host tid.
    threads: HashMap<u32, Thread>,
    /// Names that processes were given, by host pid.
    processes: HashMap<u32, Comm>,
    /// Places of containers by id, from 0.
    containers: HashMap<String, u32>,
    arrows: u64,
    /// Of the first event: CLOCK_MONOTONIC and since 1970.
    first: Option<(u64, u64)>,
}

/// What was told of a thread.
struct Thread {
    host_pid: u32,
    comm: Comm,
    /// When its last slice ended.
    end: u64,
}

impl<W: Write> Chrome<W> {
    pub(super) fn begin(to: W, descriptors: Descriptors) -> io::Result<Self> {
        let mut to = Buffered::new(to);
        to.bytes
            .extend_from_slice(b"{\"displayTimeUnit\":\"ns\",\"traceEvents\":[");
        Ok(Self {
            to,
            descriptors,
            begun: false,
            threads: HashMap::new(),
            processes: HashMap::new(),
            containers: HashMap::new(),
            arrows: 0,
            first: None,
        })
    }

    /// How many threads and processes are kept.
    #[cfg(test)]
    pub(super) fn held(&self) -> usize {
        self.threads.len() + self.processes.len()
    }

    /// Begins an event: all that must stand before its arguments, which close it.
    fn event(
        &mut self,
        phase: u8,
        (pid, tid): (u32, u32),
        ktime: u64,
        name: &str,
        category: &str,
    ) -> &mut Vec<u8> {
        let out = self.next(phase, (pid, tid));
        out.extend_from_slice(b",\"ts\":");
        micros(out, ktime);
        out.extend_from_slice(b",\"cat\":\"");
        out.extend_from_slice(category.as_bytes());
        out.extend_from_slice(b"\",\"name\":");
        string(out, name);
        out
    }

    fn next(&mut self, phase: u8, (pid, tid): (u32, u32)) -> &mut Vec<u8> {
        let out = &mut self.to.bytes;
        out.extend_from_slice(if self.begun { b",\n" } else { b"\n" });
        self.begun = true;
        out.extend_from_slice(b"{\"ph\":\"");
        out.push(phase);
        field(out, b"\",\"pid\":", pid.into());
        field(out, b",\"tid\":", tid.into());
        out
    }

    /// An event that names something.
    fn names(&mut self, ids: (u32, u32), what: &str, key: &str, write: impl FnOnce(&mut Vec<u8>)) {
        let out = self.next(b'M', ids);
        out.extend_from_slice(b",\"name\":\"");
        out.extend_from_slice(what.as_bytes());
        out.extend_from_slice(b"\",\"args\":{\"");
        out.extend_from_slice(key.as_bytes());
        out.extend_from_slice(b"\":");
        write(out);
        out.extend_from_slice(b"}}");
    }

    /// The container's own process and track; tells of it the first time.
    fn container(&mut self, container: &Container) -> (u32, u32) {
        let id = match self.containers.get(&container.id) {
            Some(place) => CONTAINERS + place,
            None => {
                let place = u32::try_from(self.containers.len()).unwrap_or(u32::MAX - CONTAINERS);
                self.containers.insert(container.id.clone(), place);
                let id = CONTAINERS + place;
                let name = format!("container {}", label(container));
                self.names((id, id), "process_name", "name", |out| string(out, &name));
                self.sorted(id, place, 0);
                self.names((id, id), "thread_name", "name", |out| {
                    string(out, "life and losses")
                });
                id
            }
        };
        (id, id)
    }

    /// Puts a container's processes one after the other.
    fn sorted(&mut self, pid: u32, place: u32, after: u32) {
        let index = u64::from(place) * 2 + u64::from(after);
        self.names((pid, pid), "process_sort_index", "sort_index", |out| {
            number(out, index)
        });
    }

    /// Tells of a thread and its process what was not told yet.
    fn thread(&mut self, container: &Container, task: &Task) -> &mut Thread {
        let (pid, tid) = (task.host_pid, task.host_tid);
        if self.threads.len() >= MOST {
            self.threads.clear();
            self.processes.clear();
        }
        let told = self.threads.get(&tid);
        let end = told.map_or(0, |thread| thread.end);
        if told.is_none_or(|thread| thread.host_pid != pid || thread.comm != task.comm) {
            let leads = pid == tid;
            let process = self.processes.get(&pid);
            if process.is_none() || (leads && process != Some(&task.comm)) {
                let (own, _) = self.container(container);
                let name = format!("{} {} in {}", comm(&task.comm), task.pid, label(container));
                self.names((pid, pid), "process_name", "name", |out| string(out, &name));
                if self.processes.insert(pid, task.comm).is_none() {
                    self.names((pid, pid), "process_labels", "labels", |out| {
                        string(out, &label(container));
                    });
                    self.sorted(pid, own - CONTAINERS, 1);
                }
            }
            let name = format!("{} {}", comm(&task.comm), task.tid);
            self.names((pid, tid), "thread_name", "name", |out| string(out, &name));
        }
        let thread = Thread {
            host_pid: pid,
            comm: task.comm,
            end,
        };
        self.threads.entry(tid).insert_entry(thread).into_mut()
    }

    fn syscall(&mut self, event: &Event, call: &Syscall) {
        let thread = self.thread(&event.container, &call.task);
        let ids = (call.task.host_pid, call.task.host_tid);
        let began = event
            .ktime
            .saturating_sub(call.duration_ns.unwrap_or(0))
            .max(thread.end);
        let ended = event.ktime.max(began);
        thread.end = ended;
        let category = if matches!(call.outcome, Outcome::Error(_) | Outcome::Refused) {
            "syscall,failed"
        } else {
            "syscall"
        };
        let descriptors = self.descriptors;
        let timed = call.duration_ns.is_some();
        let out = self.event(if timed { b'X' } else { b'i' }, ids, began, &call.name, category);
        if timed {
            out.extend_from_slice(b",\"dur\":");
            micros(out, ended - began);
        } else {
            // How long it took is not known, only when it ended.
            out.extend_from_slice(b",\"s\":\"t\"");
        }
        out.extend_from_slice(b",\"args\":{\"arguments\":{");
        for (at, arg) in call.args.list.iter().enumerate() {
            if at > 0 {
                out.push(b',');
            }
            // Parameter names are C identifiers.
            out.push(b'"');
            out.extend_from_slice(arg.name.as_bytes());
            out.extend_from_slice(b"\":");
            string(out, &call.args.text_with(arg.text.clone(), descriptors));
        }
        out.push(b'}');
        match call.outcome {
            Outcome::Value(value) => {
                out.extend_from_slice(b",\"ret\":");
                out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
            }
            Outcome::Error(code) => {
                out.extend_from_slice(b",\"ret\":-1,\"errno\":");
                string(out, &errno::name(code));
            }
            Outcome::Unfinished => out.extend_from_slice(b",\"unfinished\":true"),
            Outcome::Refused => {}
        }
        if let Some(by) = call.denied_by {
            out.extend_from_slice(b",\"denied_by\":");
            string(out, by.name());
        }
        out.extend_from_slice(b",\"phase\":\"");
        out.extend_from_slice(call.task.phase.name().as_bytes());
        field(out, b"\",\"cpu\":", call.task.cpu.into());
        field(out, b",\"seq\":", call.seq);
        out.extend_from_slice(b"}}");
    }

    fn process(&mut self, event: &Event, process: &Process) {
        let task = &process.task;
        let ids = (task.host_pid, task.host_tid);
        self.thread(&event.container, task);
        if let Some(child) = process.child() {
            self.thread(&event.container, &child);
            self.arrows += 1;
            let arrow = self.arrows;
            for (phase, ids) in [(b's', ids), (b'f', (child.host_pid, child.host_tid))] {
                let out = self.event(phase, ids, event.ktime, "fork", "process");
                field(out, b",\"id\":", arrow);
                out.push(b'}');
            }
        }
        match &process.what {
            ProcessEvent::Fork { .. } => {}
            ProcessEvent::Exec { path, .. } => {
                let name = format!("exec {}", String::from_utf8_lossy(path));
                self.instant(event, ids, b't', &name, "process");
            }
            ProcessEvent::Exit { .. } => {
                self.instant(event, ids, b't', "exit", "process");
                self.threads.remove(&task.host_tid);
                if task.host_pid == task.host_tid {
                    self.processes.remove(&task.host_pid);
                }
            }
            ProcessEvent::Join => self.instant(event, ids, b't', "join", "process"),
        }
    }

    fn lifecycle(&mut self, event: &Event, life: &Lifecycle) {
        let ids = self.container(&event.container);
        self.instant(event, ids, b'p', life.name(), "container");
    }

    fn loss(&mut self, event: &Event, loss: &Loss) {
        let ids = self.container(&event.container);
        let name = format!("{} lost: {}", loss.count, loss.reason.name());
        self.instant(event, ids, b'p', &name, "loss");
    }

    fn diagnosis(&mut self, event: &Event, found: &Diagnosis) {
        let ids = (found.task.host_pid, found.task.host_tid);
        self.thread(&event.container, &found.task);
        let name = format!("{}: {}", found.verdict.cause.name(), found.verdict.why);
        self.instant(event, ids, b't', &name, "diagnosis");
    }

    /// An instant whose argument is the event's line in JSON.
    fn instant(&mut self, event: &Event, ids: (u32, u32), scope: u8, name: &str, category: &str) {
        let descriptors = self.descriptors;
        let out = self.event(b'i', ids, event.ktime, name, category);
        out.extend_from_slice(b",\"s\":\"");
        out.push(scope);
        out.extend_from_slice(b"\",\"args\":{\"event\":");
        json::write_event(out, event, descriptors);
        // The end of the line.
        out.pop();
        out.extend_from_slice(b"}}");
    }
}

impl<W: Write> Export for Chrome<W> {
    fn take(&mut self, event: &Event) -> io::Result<()> {
        self.first.get_or_insert((event.ktime, event.time_ns));
        match &event.body {
            Body::Syscall(call) => self.syscall(event, call),
            Body::Process(process) => self.process(event, process),
            Body::Container(life) => self.lifecycle(event, life),
            Body::Loss(loss) => self.loss(event, loss),
            Body::Diagnosis(found) => self.diagnosis(event, found),
        }
        self.to.drain()
    }

    fn finish(&mut self) -> io::Result<()> {
        let out = &mut self.to.bytes;
        out.extend_from_slice(b"\n],\"otherData\":{\"writer\":\"container-tracer ");
        out.extend_from_slice(env!("CARGO_PKG_VERSION").as_bytes());
        out.extend_from_slice(b"\",\"clock\":\"CLOCK_MONOTONIC\"");
        if let Some((ktime, time_ns)) = self.first {
            out.extend_from_slice(b",\"first_ts\":");
            micros(out, ktime);
            out.extend_from_slice(b",\"first_time\":\"");
            json::time(out, time_ns);
            out.push(b'"');
        }
        out.extend_from_slice(b"}}\n");
        self.to.finish()
    }
}

/// Microseconds with three decimals, which are exact.
fn micros(out: &mut Vec<u8>, ns: u64) {
    number(out, ns / 1000);
    out.push(b'.');
    padded(out, ns % 1000, 3);
}

/// A container as people know it.
fn label(container: &Container) -> String {
    match (&container.namespace, &container.pod) {
        (Some(namespace), Some(pod)) => format!("{namespace}/{pod}/{}", container.name),
        (None, Some(pod)) => format!("{pod}/{}", container.name),
        _ => container.name.clone(),
    }
}

/// A task's name; before its first execve was seen there is none.
fn comm(comm: &Comm) -> std::borrow::Cow<'_, str> {
    match comm.bytes() {
        [] => "task".into(),
        bytes => String::from_utf8_lossy(bytes),
    }
}
