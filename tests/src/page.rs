//! A page of the documents: its commands, what they print, and whether they do.
//!
//! A block of code that begins with ```` ```console ```` has commands and their output. `# ` stands before a command of
//! root, `$ ` before one of whoever reads the page: root too, but on pages about rootless engines. A command that ends with `\` goes
//! on in the next line, and one with `<<'END'` to the line `END`. In the output `…` stands for anything within a line, and in a line of its own for any lines; numbers
//! that vary by nature need none ([`plain`]). The words after `console` say more:
//!
//! - `second terminal`: the commands run beside those that follow, and have to be done at the page's end;
//! - `not run: REASON`: nothing runs it.

use crate::node::{Node, ROOT, Said, Started, Who};
use anyhow::{Context, Result, bail, ensure};
use regex_lite::Regex;
use std::{env, fmt::Write, fs, path::Path, sync::OnceLock, time::Instant};

/// A page's blocks with commands.
pub struct Page {
    /// Its path in the checkout.
    pub path: String,
    lines: Vec<String>,
    pub blocks: Vec<Block>,
}

/// One block.
pub struct Block {
    pub line: usize,
    pub kind: Kind,
    pub steps: Vec<Step>,
}

/// Where a block runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    Here,
    Beside,
    NotRun(String),
}

/// A command, and the lines of its output; line numbers begin with 1.
pub struct Step {
    pub line: usize,
    pub root: bool,
    pub command: String,
    first: usize,
    expected: Vec<String>,
}

impl Page {
    /// Reads it; `path` is its path in the checkout.
    pub fn read(path: &str) -> Result<Self> {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path);
        let text = fs::read_to_string(&file).with_context(|| file.display().to_string())?;
        let lines: Vec<String> = text.lines().map(str::to_owned).collect();
        let blocks = blocks(&lines).with_context(|| path.to_owned())?;
        Ok(Self {
            path: path.to_owned(),
            lines,
            blocks,
        })
    }

    /// Whether it has that text anywhere.
    pub fn mentions(&self, text: &str) -> bool {
        self.lines.iter().any(|line| line.contains(text))
    }

    /// Lines outside of such blocks that look like commands: nothing would run them.
    pub fn strays(&self) -> Vec<String> {
        let mut strays = Vec::new();
        let mut inside = false;
        for (number, line) in self.lines.iter().enumerate() {
            if line.trim_start().starts_with("```") {
                inside = !inside && line.trim_start().starts_with("```console");
            }
            if !inside && line.trim_start().starts_with("$ ") {
                strays.push(format!("{}:{}: {line}", self.path, number + 1));
            }
        }
        strays
    }

    /// Runs all of it; each command that says something else is told. `reader` is who reads the page.
    ///
    /// With `UPDATE=1` in the environment what was said takes the place of what the page has, to be read and cut.
    pub fn run(&self, node: &mut Node, reader: Who) -> Result<()> {
        let own = match reader {
            Who::Root => ROOT,
            Who::User => node.shell(Who::User)?,
        };
        let began = Instant::now();
        let mut done: Vec<(&Step, Said)> = Vec::new();
        let mut beside: Vec<(&Step, Started)> = Vec::new();
        for block in &self.blocks {
            for step in &block.steps {
                let place = || format!("{}:{}: {}", self.path, step.line, step.command);
                match block.kind {
                    Kind::NotRun(_) => {}
                    Kind::Here => {
                        let shell = if step.root { ROOT } else { own };
                        let started = node.start(shell, &step.command)?;
                        let mut said = started.end().with_context(place)?;
                        if step.command.ends_with('&') {
                            // What it does in the background may take its time; what is said in the end is judged below.
                            said = started.until(|said| fits(step, &said.text)).unwrap_or(said);
                        }
                        eprintln!("{:7.3} s {}", began.elapsed().as_secs_f64(), place());
                        done.push((step, said));
                    }
                    Kind::Beside => {
                        let shell = node.shell(if step.root { Who::Root } else { reader })?;
                        let started = node.start(shell, &step.command)?;
                        if let Some(first) = step.expected.first() {
                            let first = plain(first);
                            started
                                .until(|said| said.text.lines().any(|line| matches(&first, &plain(line))))
                                .with_context(place)?;
                        }
                        beside.push((step, started));
                    }
                }
            }
        }
        for (step, started) in beside {
            let said = started
                .end()
                .with_context(|| format!("{}:{}", self.path, step.line))?;
            done.push((step, said));
        }
        done.retain(|(step, said)| !fits(step, &said.text));
        if done.is_empty() {
            return Ok(());
        }
        if env::var_os("UPDATE").is_some() {
            self.update(&done)?;
        }
        let mut report = String::new();
        for (step, said) in &done {
            self.differs(step, said, &mut report)?;
        }
        bail!(
            "{} of the page's commands say something else\n{report}",
            done.len()
        );
    }

    fn update(&self, done: &[(&Step, Said)]) -> Result<()> {
        let mut lines = self.lines.clone();
        let mut done: Vec<_> = done.iter().collect();
        done.sort_by_key(|(step, _)| std::cmp::Reverse(step.first));
        for (step, said) in done {
            let from = step.first - 1;
            lines.splice(
                from..from + step.expected.len(),
                said.text.lines().map(|line| line.trim_end().to_owned()),
            );
        }
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(&self.path);
        Ok(fs::write(file, lines.join("\n") + "\n")?)
    }

    /// The first line that differs, with those before it and what was said instead.
    fn differs(&self, step: &Step, said: &Said, report: &mut String) -> Result<()> {
        let got: Vec<&str> = said.text.trim_end().lines().collect();
        let right = (0..=step.expected.len())
            .rev()
            .find(|count| {
                let mut begin = step.expected[..*count].to_vec();
                begin.push("…".to_owned());
                same(&begin, &said.text)
            })
            .unwrap_or(0);
        writeln!(
            report,
            "\n{}:{}: $ {}",
            self.path,
            step.first + right,
            step.command
        )?;
        for line in &step.expected[right.saturating_sub(3)..right] {
            writeln!(report, "    {line}")?;
        }
        match step.expected.get(right) {
            Some(line) => writeln!(report, "  - {line}")?,
            None => writeln!(report, "  - (the end)")?,
        }
        let shown = got
            .iter()
            .skip(right.saturating_sub(1).min(got.len().saturating_sub(1)));
        for line in shown.take(30) {
            writeln!(report, "  + {line}")?;
        }
        Ok(())
    }
}

fn fits(step: &Step, text: &str) -> bool {
    same(&step.expected, text)
}

fn same(expected: &[String], text: &str) -> bool {
    let expected: Vec<String> = expected.iter().map(|line| plain(line)).collect();
    let got: Vec<String> = text.trim_end().lines().map(plain).collect();
    // Which beginnings of `got` the expected lines until now fit.
    let mut fit = vec![false; got.len() + 1];
    fit[0] = true;
    for line in &expected {
        let mut next = vec![false; got.len() + 1];
        if line == "…" {
            let first = fit.iter().position(|fits| *fits).unwrap_or(fit.len());
            next[first..].fill(true);
        } else {
            for (index, other) in got.iter().enumerate() {
                next[index + 1] = fit[index] && matches(line, other);
            }
        }
        fit = next;
    }
    fit.last() == Some(&true)
}

/// `…` in the pattern is anything.
fn matches(pattern: &str, line: &str) -> bool {
    let mut parts = pattern.split('…');
    let Some(mut rest) = parts.next().and_then(|first| line.strip_prefix(first)) else {
        return false;
    };
    let mut parts: Vec<&str> = parts.collect();
    let Some(last) = parts.pop() else {
        return rest.is_empty();
    };
    for part in parts {
        let Some(at) = rest.find(part) else {
            return false;
        };
        rest = &rest[at + part.len()..];
    }
    rest.ends_with(last)
}

/// The line without what varies by nature: addresses, times, ids, measured numbers, the width of columns.
fn plain(line: &str) -> String {
    static VARIES: OnceLock<Vec<(Regex, &'static str)>> = OnceLock::new();
    let varies = VARIES.get_or_init(|| {
        let patterns = [
            (r"0x[0-9a-f]{5,}", "0x_"),
            (r"\b[0-9a-f]{64}\b", "ID"),
            (r"\b[0-9a-f]{12}\b", "ID"),
            (r"\b\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", "TIME"),
            (r"\b\d\d:\d\d:\d\d(\.\d+)?\b", "TIME"),
            (r"\b\d+\.\d+\b", "N"),
            (r"round trip \d+ us", "round trip N us"),
            (r"[-─]{3,}", "---"),
            (r"\s+", " "),
        ];
        patterns
            .into_iter()
            .filter_map(|(pattern, with)| Some((Regex::new(pattern).ok()?, with)))
            .collect()
    });
    let mut line = line.trim_end().to_owned();
    for (pattern, with) in varies {
        line = pattern.replace_all(&line, *with).into_owned();
    }
    line
}

fn blocks(lines: &[String]) -> Result<Vec<Block>> {
    let mut blocks = Vec::new();
    let mut numbered = (1..).zip(lines);
    while let Some((line, text)) = numbered.next() {
        let Some((indent, info)) = text
            .split_once("```")
            .filter(|(indent, _)| indent.trim().is_empty())
        else {
            continue;
        };
        let body: Vec<(usize, &str)> = numbered
            .by_ref()
            .take_while(|(_, line)| !line.trim_start().starts_with("```"))
            .map(|(number, line)| (number, line.strip_prefix(indent).unwrap_or(line)))
            .collect();
        let Some(info) = info.strip_prefix("console") else {
            continue;
        };
        let kind = match info.trim() {
            "" => Kind::Here,
            "second terminal" => Kind::Beside,
            other => match other.strip_prefix("not run:") {
                Some(reason) if !reason.trim().is_empty() => Kind::NotRun(reason.trim().to_owned()),
                _ => bail!("line {line}: what is `console {other}`?"),
            },
        };
        let steps = steps(&body)?;
        ensure!(
            !steps.is_empty(),
            "line {line}: a console block without a command"
        );
        blocks.push(Block { line, kind, steps });
    }
    Ok(blocks)
}

fn steps(body: &[(usize, &str)]) -> Result<Vec<Step>> {
    let mut steps: Vec<Step> = Vec::new();
    let mut continues = false;
    let mut inside = false;
    for (line, text) in body {
        if let Some(step) = steps.last_mut().filter(|_| continues || inside) {
            step.command.push('\n');
            step.command.push_str(text);
            step.first = line + 1;
            continues = text.ends_with('\\');
            inside = inside && *text != "END";
            continue;
        }
        let command = [("$ ", false), ("# ", true)]
            .into_iter()
            .find_map(|(prompt, root)| Some((text.strip_prefix(prompt)?, root)));
        match (command, steps.last_mut()) {
            (Some((command, root)), _) => {
                continues = command.ends_with('\\');
                inside = command.contains("<<'END'");
                steps.push(Step {
                    line: *line,
                    root,
                    command: command.to_owned(),
                    first: line + 1,
                    expected: Vec::new(),
                });
            }
            (None, Some(step)) => step.expected.push((*text).to_owned()),
            (None, None) => bail!("line {line}: output before the first command"),
        }
    }
    for step in &mut steps {
        // An empty line before the next command is for the eye.
        while step.expected.last().is_some_and(|line| line.trim().is_empty()) {
            step.expected.pop();
        }
    }
    Ok(steps)
}

#[cfg(test)]
mod tests {
    use super::{Kind, blocks, same};
    use anyhow::Result;

    fn lines(text: &str) -> Vec<String> {
        text.lines().map(str::to_owned).collect()
    }

    #[test]
    fn what_varies_is_the_same() {
        let expected = lines("a 0x7ffe12345678 <0.000123>\n…\nlast … x");
        assert!(same(&expected, "a   0x55555555 <1.200000>\nlast one x\n"));
        assert!(same(&expected, "a 0x55555555 <1.200000>\nb\nc\nlast … x\n"));
        assert!(!same(&expected, "a 0x55555555 <1.200000>\nlast one y\n"));
        assert!(!same(&expected, "b 0x55555555 <1.200000>\nlast one x\n"));
        assert!(!same(&lines("a"), "a\nb\n"), "more than expected");
        assert!(!same(&lines("a\nb"), "a\n"), "less than expected");
        assert!(same(&[], ""));
        assert!(same(&lines("…"), ""));
    }

    #[test]
    fn blocks_and_their_commands() -> Result<()> {
        let page = "text\n```console\n$ one \\\n  more\nout\n\n# two\n```\n```json\n$ no\n```\n```console not run: no\n$ x\n```";
        let found = blocks(&lines(page))?;
        assert_eq!(found.len(), 2);
        let steps = &found[0].steps;
        assert_eq!(steps[0].command, "one \\\n  more");
        assert_eq!((steps[0].line, steps[0].root, steps[0].first), (3, false, 5));
        assert_eq!(steps[0].expected, ["out"]);
        assert_eq!((&*steps[1].command, steps[1].root), ("two", true));
        assert_eq!(found[1].kind, Kind::NotRun("no".into()));
        let here = blocks(&lines("```console\n# cat <<'END'\n$ a\nEND\na\n```"))?;
        let steps = &here[0].steps;
        assert_eq!((steps.len(), &*steps[0].command), (1, "cat <<'END'\n$ a\nEND"));
        assert_eq!(steps[0].expected, ["a"]);
        assert!(blocks(&lines("```console what\n$ x\n```")).is_err());
        Ok(())
    }
}
