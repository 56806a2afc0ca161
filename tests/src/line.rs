//! Reads strace's lines: a call's name, its arguments and what it returned.
//!
//! It knows the syntax alone (quotes, brackets, comments, unfinished and resumed calls), no system call and no file.

use std::collections::{BTreeMap, HashMap};

/// A call, as its line has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    pub name: String,
    pub args: Vec<String>,
    /// What follows `=`: value, error and note.
    pub ret: String,
}

/// The calls of each task, in order.
pub type Tasks = BTreeMap<u32, Vec<Line>>;

/// Reads `PID call(…) = …` (strace -f -o) or `[pid PID] call(…) = … <seconds>` (ours). What is no call is left out.
pub fn parse(text: &str) -> Tasks {
    let mut tasks = Tasks::new();
    let mut begun: HashMap<u32, String> = HashMap::new();
    for line in text.lines() {
        let Some((pid, call)) = task(line) else { continue };
        let whole = if let Some(start) = call.strip_suffix(" <unfinished ...>") {
            begun.insert(pid, start.to_owned());
            continue;
        } else if let Some(resumed) = call.strip_prefix("<... ") {
            let Some((_, end)) = resumed.split_once(" resumed>") else {
                continue;
            };
            format!("{}{end}", begun.remove(&pid).unwrap_or_default())
        } else {
            call.to_owned()
        };
        if let Some(line) = read(&whole) {
            tasks.entry(pid).or_default().push(line);
        }
    }
    tasks
}

fn task(line: &str) -> Option<(u32, &str)> {
    let (pid, call) = match line.strip_prefix("[pid") {
        Some(ours) => ours.split_once(']')?,
        None => line.split_once(' ')?,
    };
    Some((pid.trim().parse().ok()?, call.trim()))
}

/// Reads one call; `None` for what is none (signals, exits).
pub fn read(text: &str) -> Option<Line> {
    let (name, rest) = text.split_once('(')?;
    if name.is_empty() || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
        return None;
    }
    let (args, rest) = split(rest);
    let ret = rest.trim_start().strip_prefix('=')?.trim();
    let ret = match ret.rsplit_once(" <") {
        Some((value, time)) if time.ends_with('>') => value,
        _ => ret,
    };
    Some(Line {
        name: name.to_owned(),
        args,
        ret: ret.trim().to_owned(),
    })
}

/// Splits at the commas between arguments; what is left begins after the parenthesis that ends them.
fn split(text: &str) -> (Vec<String>, &str) {
    let bytes = text.as_bytes();
    let (mut args, mut start, mut depth, mut at) = (Vec::new(), 0, 0_u32, 0);
    let mut rest = "";
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'"' => at = end_of_string(bytes, at),
            b'/' if bytes.get(at + 1) == Some(&b'*') => {
                at += text
                    .get(at..)
                    .and_then(|tail| tail.find("*/"))
                    .map_or(1, |end| end + 1);
            }
            b'(' | b'[' | b'{' => depth += 1,
            b')' if depth == 0 => {
                rest = text.get(at + 1..).unwrap_or_default();
                break;
            }
            b')' | b']' | b'}' => depth = depth.saturating_sub(1),
            b',' if depth == 0 => {
                args.push(text.get(start..at).unwrap_or_default().trim().to_owned());
                start = at + 1;
            }
            _ => {}
        }
        at += 1;
    }
    // What an unfinished call says is no argument.
    let last = text.get(start..at).unwrap_or_default().trim();
    let last = last.strip_suffix("<unfinished ...>").unwrap_or(last).trim();
    if !last.is_empty() || !args.is_empty() {
        args.push(last.to_owned());
    }
    (args, rest)
}

/// Where the string that begins there has its closing quote.
fn end_of_string(bytes: &[u8], start: usize) -> usize {
    let mut at = start + 1;
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'\\' => at += 1,
            b'"' => return at,
            _ => {}
        }
        at += 1;
    }
    bytes.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_told_apart() {
        let line = read(
            r#"f(1, "a, \")", {x=[1, 2], y="}"}, 3 /* a, b */, B(4, 5)) = -1 ENOENT (No such file) <0.01>"#,
        );
        let line = line.unwrap();
        assert_eq!(
            line.args,
            [
                "1",
                r#""a, \")""#,
                r#"{x=[1, 2], y="}"}"#,
                "3 /* a, b */",
                "B(4, 5)"
            ]
        );
        assert_eq!(
            (line.name.as_str(), line.ret.as_str()),
            ("f", "-1 ENOENT (No such file)")
        );
        assert_eq!(read("getpid()   = 3").unwrap().args, Vec::<String>::new());
        assert_eq!(
            read("pause(<unfinished ...>) = ?").unwrap().args,
            Vec::<String>::new()
        );
        assert_eq!(read("--- SIGCHLD {si_signo=SIGCHLD} ---"), None);
    }

    #[test]
    fn a_call_in_two_lines_is_one() {
        let tasks = parse("3 read(0,  <unfinished ...>\n4 getpid() = 4\n3 <... read resumed>\"x\", 1) = 1\n");
        assert_eq!(tasks[&3][0].args, ["0", "\"x\"", "1"]);
        let ours = parse("[pid     3] read(0, \"x\", 1) = 1 <0.000001>\n");
        assert_eq!(ours[&3], tasks[&3]);
    }
}
