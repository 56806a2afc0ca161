//! Writes the page: its head, the timeline, the processes. The other sections stand in `write/`.
//!
//! Words of ours are literals; all else goes through [`Html::text`] or [`html::json`].

mod losses;
mod privileges;
mod tables;
mod trouble;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use ring::digest::{SHA256, digest};

use super::{
    Known, Page, class,
    html::{self, Html},
    tasks::Row,
    timeline::Wholeness,
};
use crate::event::{Exit, Via};

const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");

/// Rows of a table; the page says how many more there are.
const ROWS: usize = 400;

/// What several sections need.
struct Facts<'a> {
    page: &'a Page,
    known: &'a Known,
    /// The first event, and the last.
    from: u64,
    to: u64,
    table: Vec<super::calls::Told>,
    roots: Vec<super::failures::Root>,
    /// How whole the timeline is.
    whole: Wholeness,
}

impl Facts<'_> {
    /// Nanoseconds since the first event.
    fn since(&self, at: u64) -> u64 {
        at.saturating_sub(self.from)
    }

    /// `+12.3 ms`, in a cell.
    fn when(&self, html: &mut Html, at: u64) {
        let since = self.since(at);
        html.cell(since, |html| {
            html.raw("+").duration(since);
        });
    }

    fn exit(&self) -> Option<Exit> {
        self.page.ended.as_ref().and_then(|ended| ended.exit)
    }

    /// Whether nothing is missing, and why not; `None` where nobody judged.
    fn complete(&self) -> Option<(bool, Option<&str>)> {
        if let Some(verdict) = &self.known.verdict {
            return Some((verdict.complete, verdict.reason.as_deref()));
        }
        let complete = self.page.ended.as_ref()?.complete?;
        Some((complete, None))
    }

    fn books(&self) -> Option<&crate::event::Books> {
        let told = self.known.verdict.as_ref().map(|verdict| &verdict.books);
        told.or_else(|| self.page.ended.as_ref().map(|ended| &ended.books))
    }

    /// Calls that are known to be lost.
    fn lost(&self) -> u64 {
        let books = self.books().map_or(0, crate::event::Books::lost);
        books.max(self.page.lost.values().sum())
    }
}

/// The whole file.
pub(super) fn page(mut page: Page, known: &Known) -> String {
    let (from, to) = page.span.unwrap_or_default();
    let tree = page.tasks.tree();
    let order: Vec<usize> = tree.iter().map(|(row, _)| *row).collect();
    let usual = page.failures.all_usual();
    let is_usual = |name: &str, errno: &str| usual.contains(&(name.to_owned(), errno.to_owned()));
    let (packed, whole) = std::mem::take(&mut page.timeline).pack(&order, from, is_usual);
    let facts = Facts {
        known,
        from,
        to,
        table: page.table.told(),
        roots: page.failures.roots(),
        whole,
        page: &page,
    };
    let mut html = Html::default();
    html.raw("<!doctype html>\n<html lang=en><head><meta charset=utf-8>");
    // Neither network nor any script but the one below, whatever a container's names may be taken for.
    html.raw("<meta http-equiv=Content-Security-Policy content=\"default-src 'none'; style-src 'sha256-")
        .text(&hash(STYLE))
        .raw("'; script-src 'sha256-")
        .text(&hash(SCRIPT))
        .raw("'; base-uri 'none'; form-action 'none'\">")
        .raw("<meta name=viewport content=\"width=device-width, initial-scale=1\"><meta name=color-scheme content=\"light dark\">")
        .raw("<meta name=referrer content=no-referrer><title>");
    title(&mut html, &facts);
    html.raw("</title><style>")
        .raw(STYLE)
        .raw("</style></head><body>");
    head(&mut html, &facts);
    html.raw("<main>");
    summary(&mut html, &facts);
    trouble::section(&mut html, &facts);
    timeline(&mut html, &facts, &tree);
    tables::calls(&mut html, &facts);
    tables::files(&mut html, &facts);
    tables::peers(&mut html, &facts);
    privileges::section(&mut html, &facts);
    losses::section(&mut html, &facts);
    html.raw("</main>");
    foot(&mut html, &facts);
    data(&mut html, &facts, &tree, &packed);
    html.raw("<script>").raw(SCRIPT).raw("</script></body></html>\n");
    html.into_string()
}

/// As a Content-Security-Policy names a script that may run.
fn hash(text: &str) -> String {
    STANDARD.encode(digest(&SHA256, text.as_bytes()))
}

fn title(html: &mut Html, facts: &Facts<'_>) {
    let name = facts.page.container.as_ref().map_or("nothing", |info| &info.name);
    html.text(name).raw(" – system call report");
}

const SECTIONS: [(&str, &str); 8] = [
    ("#summary", "Summary"),
    ("#failures", "Failures"),
    ("#timeline", "Timeline"),
    ("#calls", "Calls"),
    ("#files", "Files"),
    ("#peers", "Peers"),
    ("#privileges", "Privileges"),
    ("#losses", "Losses"),
];

fn head(html: &mut Html, facts: &Facts<'_>) {
    html.raw("<header><p class=kicker>Container Tracer <span>system call report</span></p><h1>");
    let info = facts.page.container.as_deref();
    html.text(info.map_or("no container", |info| &info.name));
    html.raw("</h1><dl class=ids>");
    let mut pair = |label: &'static str, value: Option<&str>| {
        if let Some(value) = value.filter(|value| !value.is_empty()) {
            html.raw("<div><dt>")
                .raw(label)
                .raw("</dt><dd>")
                .text(value)
                .raw("</dd></div>");
        }
    };
    pair("pod", info.and_then(|info| info.pod.as_deref()));
    pair("namespace", info.and_then(|info| info.namespace.as_deref()));
    pair("image", info.and_then(|info| info.image.as_deref()));
    pair("runtime", facts.known.runtime.as_deref());
    pair("id", info.map(|info| info.id.as_str()));
    html.raw("</dl><button type=button id=theme hidden aria-label=\"switch between light and dark\">Light / dark</button></header><nav aria-label=sections>");
    for (place, name) in SECTIONS {
        html.raw("<a href=").raw(place).raw(">").raw(name).raw("</a>");
    }
    html.raw("</nav>");
}

fn summary(html: &mut Html, facts: &Facts<'_>) {
    let page = facts.page;
    html.raw("<section id=summary><h2>Summary</h2>");
    verdict(html, facts);
    html.raw("<dl class=tiles>");
    tile(html, "calls", |html| {
        html.count(page.calls);
    });
    tile(html, "failed", |html| {
        html.count(page.failures.failed)
            .raw(" <small>")
            .percent(page.failures.failed, page.calls)
            .raw(" %</small>");
    });
    tile(html, "root causes", |html| {
        html.count(facts.roots.len() as u64);
    });
    tile(html, "processes", |html| {
        let processes = page.tasks.processes();
        html.count(processes as u64);
        let threads = page.tasks.len().saturating_sub(processes);
        if threads > 0 {
            html.raw(" <small>+ ")
                .count(threads as u64)
                .raw(" threads</small>");
        }
    });
    tile(html, "lost", |html| {
        html.count(facts.lost());
    });
    tile(html, "time", |html| {
        html.duration(facts.to.saturating_sub(facts.from));
    });
    if let Some(exit) = facts.exit() {
        tile(html, "end", |html| {
            self::exit(html, exit);
        });
    }
    html.raw("</dl><p class=span>");
    if page.span.is_some() {
        html.raw("From <time>")
            .time(facts.from)
            .raw("</time> to <time>")
            .time(facts.to)
            .raw("</time> UTC. ");
    }
    html.raw(match page.phases {
        crate::sinks::Phases::App | crate::sinks::Phases::All if page.late == Some(true) => {
            "The container ran already when its tracing began: the calls are those from then on."
        }
        crate::sinks::Phases::App => "The calls are those of the application, from its execve on.",
        crate::sinks::Phases::Runtime => {
            "The calls are those of the container runtime, before the application."
        }
        crate::sinks::Phases::All => "The calls are those of the container runtime and of the application.",
    });
    html.raw("</p>");
    for (at, warning) in &page.warnings {
        html.raw("<p class=note>+")
            .duration(facts.since(*at))
            .raw(": ")
            .text(warning)
            .raw("</p>");
    }
    html.raw("</section>");
}

fn verdict(html: &mut Html, facts: &Facts<'_>) {
    let (kind, head) = match facts.complete() {
        Some((true, _)) => ("<p class=\"verdict good\"><b>", "✓ Complete."),
        Some((false, _)) => ("<p class=\"verdict bad\"><b>", "✗ Not complete."),
        None => ("<p class=\"verdict open\"><b>", "? Not judged."),
    };
    html.raw(kind).raw(head).raw("</b> ");
    match facts.complete() {
        Some((true, _)) => {
            html.raw("Nothing was missed from before the application’s execve on, and the books balance.");
        }
        Some((false, Some(reason))) => {
            html.text(reason).raw(".");
        }
        Some((false, None)) => {
            html.raw("The container’s own last event says so; its losses are told below.");
        }
        None => {
            html.raw("Whether all calls are here is judged at the container’s end, and that is not among these events.");
        }
    }
    let lost = facts.lost();
    if lost > 0 {
        html.raw(" <a href=#losses>")
            .count(lost)
            .raw(" calls were lost</a>.");
    }
    // A dump has what was still held, not all that was.
    if let Some(books) = facts.books() {
        let here = facts.page.calls + facts.page.other_phase;
        if books.emitted > here && books.decoded > 0 {
            html.raw(" Of ")
                .count(books.emitted)
                .raw(" events that were taken, this page was made from the ")
                .count(here)
                .raw(" that were kept.");
        }
    }
    html.raw("</p>");
}

fn tile(html: &mut Html, label: &'static str, value: impl FnOnce(&mut Html)) {
    html.raw("<div><dt>").raw(label).raw("</dt><dd>");
    value(html);
    html.raw("</dd></div>");
}

fn exit(html: &mut Html, exit: Exit) {
    match exit {
        Exit::Code(code) => html.raw("exit ").number(code),
        Exit::Signal { number, core_dumped } => html
            .text(&crate::decode::signal_text(number))
            .raw(if core_dumped { ", core dumped" } else { "" }),
    };
}

fn timeline(html: &mut Html, facts: &Facts<'_>, tree: &[(usize, usize)]) {
    let page = facts.page;
    html.raw("<section id=timeline><h2>Timeline</h2><noscript><p class=note>The picture needs scripts. The table of processes below has the same rows.</p></noscript>");
    html.raw("<div id=picture hidden><div class=bar><span class=buttons><button type=button id=out aria-label=\"zoom out\">−</button><button type=button id=in aria-label=\"zoom in\">+</button><button type=button id=all>All</button><button type=button id=before>‹ failure</button><button type=button id=after>failure ›</button></span><ul class=legend>");
    for (number, name) in class::NAMES.into_iter().enumerate() {
        html.raw("<li><i class=\"swatch c")
            .number(number as u64)
            .raw("\"></i>")
            .raw(name)
            .raw("</li>");
    }
    html.raw(
        "<li><i class=\"swatch failed\"></i>failed</li><li><i class=\"swatch usual\"></i>failed, as programs do</li><li><i class=\"swatch lost\"></i>lost</li></ul></div>",
    );
    html.raw("<canvas id=overview height=44 aria-hidden=true></canvas><canvas id=rows tabindex=0 role=application aria-label=\"Timeline of calls by process. Plus and minus zoom, left and right pan, up and down choose a process, n and p go from call to call, f and shift f from failure to failure, 0 shows all.\"></canvas><div id=tip hidden></div><output id=chosen for=rows></output>");
    html.raw("<p class=hint>Drag to move. Wheel with Ctrl, or after a click, to zoom. Keys: <kbd>+</kbd> <kbd>−</kbd> <kbd>←</kbd> <kbd>→</kbd> <kbd>↑</kbd> <kbd>↓</kbd>, <kbd>n</kbd> <kbd>p</kbd> next and previous call, <kbd>f</kbd> <kbd>F</kbd> failure, <kbd>0</kbd> all.</p></div>");
    let whole = facts.whole;
    if whole.joined > 0 {
        html.raw("<p class=note id=thinned>")
            .count(whole.joined_calls)
            .raw(" of ")
            .count(page.calls)
            .raw(" calls are summarised: ")
            .count(whole.joined)
            .raw(" marks stand for several calls of a task each, which began within ")
            .duration(whole.cell_ns)
            .raw(" of each other. All calls are in the tables.</p>");
    }
    if whole.without_line > 0 {
        html.raw("<p class=note>")
            .count(whole.without_line)
            .raw(" calls are shown without their arguments: the page has room for 24 MiB of lines.</p>");
    }
    if page.without_row > 0 {
        html.raw("<p class=note>")
            .count(page.without_row)
            .raw(" calls are not in the timeline: they are of ")
            .count(page.tasks.left_out)
            .raw(" tasks beyond the first 20,000.</p>");
    }
    processes(html, facts, tree);
    html.raw("</section>");
}

fn processes(html: &mut Html, facts: &Facts<'_>, tree: &[(usize, usize)]) {
    html.raw("<details id=processes><summary>Processes and threads as a table (")
        .count(tree.len() as u64)
        .raw(")</summary>");
    table(
        html,
        &[
            "pid", "name", "programs", "#begins", "#lives", "#calls", "#failed", "end",
        ],
        |html| {
            for (index, depth) in tree.iter().take(ROWS) {
                let Some(row) = facts.page.tasks.get(*index) else {
                    continue;
                };
                task(html, facts, row, *depth);
            }
        },
    );
    more(html, tree.len());
    html.raw("</details>");
}

fn task(html: &mut Html, facts: &Facts<'_>, row: &Row, depth: usize) {
    html.raw("<tr><td class=n data-v=")
        .number(row.tid)
        .raw(">")
        .number(row.tid);
    html.raw("</td><td>");
    for _ in 0..depth.min(12) {
        html.raw("<i class=in></i>");
    }
    html.raw(if row.is_thread() {
        "<i class=thread>thread</i> "
    } else {
        ""
    });
    html.text(&row.name());
    html.raw(if row.via == Via::Exec {
        " <small>(joined later)</small>"
    } else {
        ""
    });
    html.raw("</td><td class=code>");
    for (number, (_, path)) in row.programs.iter().enumerate() {
        html.raw(if number > 0 { " → " } else { "" }).text(path);
    }
    html.raw("</td>");
    facts.when(html, row.from);
    let lives = row.to.saturating_sub(row.from);
    html.cell(lives, |html| {
        html.duration(lives);
    });
    html.count_cell(row.calls).count_cell(row.failed);
    html.raw("<td>");
    if let Some(exit) = row.exit {
        self::exit(html, exit);
    }
    html.raw("</td></tr>");
}

/// A table that the script makes sortable; columns whose name begins with `#` hold numbers.
fn table(html: &mut Html, columns: &'static [&'static str], rows: impl FnOnce(&mut Html)) {
    html.raw("<div class=wide><table><thead><tr>");
    for column in columns {
        match column.strip_prefix('#') {
            Some(name) => html.raw("<th class=n scope=col>").raw(name),
            None => html.raw("<th scope=col>").raw(column),
        };
        html.raw("</th>");
    }
    html.raw("</tr></thead><tbody>");
    rows(html);
    html.raw("</tbody></table></div>");
}

/// What a table of so many rows does not show.
fn more(html: &mut Html, rows: usize) {
    if rows > ROWS {
        html.raw("<p class=note>")
            .count((rows - ROWS) as u64)
            .raw(" more rows are not shown.</p>");
    }
}

/// A text to be copied.
fn snippet(html: &mut Html, text: &str) {
    html.raw("<div class=snippet><pre tabindex=0>")
        .lines(text)
        .raw("</pre></div>");
}

fn foot(html: &mut Html, facts: &Facts<'_>) {
    html.raw("<footer><p>Made by tracer ")
        .raw(env!("CARGO_PKG_VERSION"));
    if !facts.known.source.is_empty() {
        html.raw(" from ").text(&facts.known.source);
    }
    html.raw(". One file: nothing is loaded from anywhere. Bytes that a container chose are shown as strace shows them, each that is not printable ASCII as three octal digits.</p></footer>");
}

/// A task as the script draws it.
#[derive(serde::Serialize)]
struct Drawn {
    tid: u32,
    pid: u32,
    name: String,
    depth: usize,
    from: u64,
    to: u64,
    made: bool,
    exit: Option<String>,
    programs: Vec<(u64, String)>,
}

#[derive(serde::Serialize)]
struct Data<'a> {
    /// Nanoseconds from the first event to the last.
    length: u64,
    /// When the first was, in nanoseconds since 1970; as text, for it is larger than what a script counts exactly.
    from: String,
    tasks: Vec<Drawn>,
    losses: Vec<(u64, u64, &'static str)>,
    moments: Vec<(u64, &'static str)>,
    #[serde(flatten)]
    packed: &'a super::timeline::Packed,
}

fn data(html: &mut Html, facts: &Facts<'_>, tree: &[(usize, usize)], packed: &super::timeline::Packed) {
    let page = facts.page;
    let tasks = tree
        .iter()
        .filter_map(|(index, depth)| Some((page.tasks.get(*index)?, *depth)))
        .map(|(row, depth)| Drawn {
            tid: row.tid,
            pid: row.pid,
            name: html::shown(&row.name()),
            depth,
            from: facts.since(row.from),
            to: facts.since(row.to),
            made: row.made,
            exit: row.exit.map(|exit| {
                let mut html = Html::default();
                self::exit(&mut html, exit);
                html.into_string()
            }),
            programs: row
                .programs
                .iter()
                .map(|(at, path)| (facts.since(*at), html::shown(path)))
                .collect(),
        })
        .collect();
    let data = Data {
        length: facts.to.saturating_sub(facts.from),
        from: facts.from.to_string(),
        tasks,
        losses: page
            .losses
            .iter()
            .map(|lost| (facts.since(lost.time_ns), lost.count, lost.reason.name()))
            .collect(),
        moments: page
            .moments
            .iter()
            .filter(|(at, _)| (facts.from..=facts.to).contains(at))
            .map(|(at, what)| (facts.since(*at), *what))
            .collect(),
        packed,
    };
    html.raw("<script type=application/json id=data>").json(&data);
    html.raw("</script><script type=application/octet-stream id=marks>")
        .base64(&packed.marks);
    html.raw("</script><script type=application/octet-stream id=texts>")
        .base64(&packed.texts);
    html.raw("</script>");
}
