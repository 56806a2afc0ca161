//! The processes of containers as a tree, each with the programs that it ran and how it ended.
//!
//! It gathers from events and writes once, at the end. As in text lines, what a container chose is printable ASCII.

use std::collections::HashMap;

use super::text;
use crate::event::{Body, Event, Exit, Outcome, ProcessEvent, Task};

/// Processes that are kept; what comes after is only counted.
const MOST: usize = 65_536;

/// A process.
#[derive(Clone, Debug, Default, PartialEq)]
struct Node {
    pid: u32,
    /// The command lines that it became.
    programs: Vec<String>,
    threads: u32,
    exit: Option<Exit>,
    children: Vec<usize>,
}

/// One container's.
#[derive(Clone, Debug, Default, PartialEq)]
struct Container {
    name: String,
    nodes: Vec<Node>,
    roots: Vec<usize>,
    /// The latest process of a number.
    latest: HashMap<u32, usize>,
    more: u64,
}

/// What is gathered.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tree {
    containers: Vec<(String, Container)>,
}

impl Tree {
    /// Takes what the event says of processes.
    pub fn take(&mut self, event: &Event) {
        let task = match &event.body {
            Body::Syscall(call) if matches!(&*call.name, "execve" | "execveat") => &call.task,
            Body::Process(process) => &process.task,
            _ => return,
        };
        let container = self.container(event);
        let Some(node) = container.process(task) else {
            return;
        };
        match &event.body {
            Body::Syscall(call) if call.outcome == Outcome::Value(0) => {
                let text = |name| {
                    call.args
                        .list
                        .iter()
                        .find(|arg| arg.name == name)
                        .map(|arg| call.args.text_of(arg))
                };
                node.programs.push(program(
                    text("filename").unwrap_or("?"),
                    text("argv").unwrap_or_default(),
                ));
            }
            Body::Process(process) => match &process.what {
                // A thread's number is its own; the process ends with its last.
                ProcessEvent::Exit { code, .. } if task.pid == task.tid => node.exit = Some(*code),
                ProcessEvent::Fork { thread: true, .. } => node.threads += 1,
                ProcessEvent::Fork { pid, host_pid, .. } => container.fork(task.host_pid, *host_pid, *pid),
                _ => {}
            },
            _ => {}
        }
    }

    fn container(&mut self, event: &Event) -> &mut Container {
        let id = &event.container.id;
        let index = self
            .containers
            .iter()
            .position(|(known, _)| known == id)
            .unwrap_or_else(|| {
                let new = Container {
                    name: event.container.name.clone(),
                    ..Container::default()
                };
                self.containers.push((id.clone(), new));
                self.containers.len() - 1
            });
        &mut self.containers[index].1
    }

    /// Writes all trees, each under its container's name.
    pub fn write(&self, out: &mut Vec<u8>) {
        for (_, container) in &self.containers {
            text::escaped(out, container.name.as_bytes());
            out.push(b'\n');
            container.write(out);
        }
    }
}

impl Container {
    /// The task's process; one whose beginning was not seen is a root. `None` when there are too many.
    fn process(&mut self, task: &Task) -> Option<&mut Node> {
        let index = match self.latest.get(&task.host_pid) {
            Some(index) => *index,
            None => {
                let index = self.add(task.host_pid, task.pid)?;
                self.roots.push(index);
                index
            }
        };
        self.nodes.get_mut(index)
    }

    fn add(&mut self, host_pid: u32, pid: u32) -> Option<usize> {
        if self.nodes.len() >= MOST {
            self.more += 1;
            return None;
        }
        self.nodes.push(Node {
            pid,
            ..Node::default()
        });
        self.latest.insert(host_pid, self.nodes.len() - 1);
        Some(self.nodes.len() - 1)
    }

    fn fork(&mut self, parent: u32, host_pid: u32, pid: u32) {
        let parent = self.latest.get(&parent).copied();
        if let Some(child) = self.add(host_pid, pid)
            && let Some(parent) = parent.and_then(|parent| self.nodes.get_mut(parent))
        {
            parent.children.push(child);
        }
    }

    fn write(&self, out: &mut Vec<u8>) {
        // Depth first, without recursion: a container chooses how deep its processes nest.
        let children = |of: &[usize], before: &str| -> Vec<(usize, String, bool)> {
            let last = of.len().saturating_sub(1);
            let each = of.iter().enumerate().rev();
            each.map(|(at, index)| (*index, before.to_owned(), at == last))
                .collect()
        };
        let mut todo = children(&self.roots, "");
        while let Some((index, before, last)) = todo.pop() {
            let Some(node) = self.nodes.get(index) else {
                continue;
            };
            out.extend_from_slice(before.as_bytes());
            out.extend_from_slice(if last { "└─ " } else { "├─ " }.as_bytes());
            node.write(out);
            // Deeper than a page is wide, the indent stays.
            let indent = if before.chars().count() > 120 {
                before
            } else {
                before + if last { "   " } else { "│  " }
            };
            todo.extend(children(&node.children, &indent));
        }
        if self.more > 0 {
            out.extend_from_slice(
                format!("and more: {} events of processes beyond {MOST}\n", self.more).as_bytes(),
            );
        }
    }
}

impl Node {
    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.pid.to_string().as_bytes());
        for (at, program) in self.programs.iter().enumerate() {
            out.extend_from_slice(if at == 0 { b" " } else { b" => " });
            out.extend_from_slice(program.as_bytes());
        }
        out.extend_from_slice(b" (");
        if self.threads > 0 {
            out.extend_from_slice(format!("{} threads, ", u64::from(self.threads) + 1).as_bytes());
        }
        match self.exit {
            Some(exit) => text::exit(out, exit),
            None => out.extend_from_slice(b"running"),
        }
        out.extend_from_slice(b")\n");
    }
}

/// The path, and the arguments after the program's own name, each quoted only if it must be.
fn program(path: &str, argv: &str) -> String {
    let mut line = bare(path);
    for word in words(argv).skip(1) {
        line.push(' ');
        line += &bare(word);
    }
    line
}

/// The elements of `["a", "b c"...]`.
fn words(argv: &str) -> impl Iterator<Item = &str> {
    let mut rest = argv.trim_start_matches('[').trim_end_matches(']');
    std::iter::from_fn(move || {
        rest = rest.trim_start_matches([',', ' ']);
        let mut quoted = false;
        let mut escape = false;
        let end = rest.find(|c: char| {
            let ends = c == ',' && !quoted;
            quoted ^= c == '"' && !escape;
            escape = c == '\\' && !escape;
            ends
        });
        let (word, after) = rest.split_at(end.unwrap_or(rest.len()));
        rest = after;
        (!word.is_empty()).then_some(word)
    })
}

/// A quoted word without its quotes, where they are needed for nothing.
fn bare(word: &str) -> String {
    let inner = word.strip_prefix('"').and_then(|word| word.strip_suffix('"'));
    match inner {
        Some(inner) if !inner.is_empty() && inner.bytes().all(is_plain) => inner.to_owned(),
        _ => word.to_owned(),
    }
}

fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"/._-+=:,@%".contains(&byte)
}

#[cfg(test)]
mod tests;
