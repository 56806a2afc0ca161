//! The calls with their durations, the files, the peers.

use super::{Facts, ROWS, more, table};
use crate::{
    page::{
        calls::{self, Told},
        html::Html,
        traffic::{self, File, Met, Peer},
    },
    report::Row,
};

/// Calls whose durations have a figure of their own.
const FIGURES: usize = 6;
/// The first and the last power of two of a strip: 64 ns, and all from 2 s on.
const FIRST: usize = 6;

pub(super) fn calls(html: &mut Html, facts: &Facts<'_>) {
    html.raw("<section id=calls><h2>Calls</h2>");
    if facts.table.is_empty() {
        html.raw("<p>No call is among these events.</p></section>");
        return;
    }
    let counted = facts.known.stats.as_ref();
    html.raw(if counted.is_some() {
        "<p class=lead>Counts, errors and times are the kernel side’s own: they have every call, whatever the stream of events lost. The strips show how long the calls took that are among the events, from 64 ns on the left to 2 s and more on the right, a power of two each.</p>"
    } else {
        "<p class=lead>Counted from the events of this page. The strips show how long the calls took, from 64 ns on the left to 2 s and more on the right, a power of two each; percentiles are the ends of such steps.</p>"
    });
    let rows = rows(facts);
    let all_ns: u64 = rows.iter().map(|(row, _)| row.total_ns).sum();
    table(
        html,
        &[
            "syscall",
            "#time",
            "#share",
            "#calls",
            "#errors",
            "#p50",
            "#p95",
            "#p99",
            "#max",
            "durations",
            "errors by name",
        ],
        |html| {
            for (row, told) in rows.iter().take(ROWS) {
                call(html, row, *told, all_ns);
            }
        },
    );
    more(html, rows.len());
    if let Some(overflow) = counted
        .map(|stats| stats.overflow)
        .filter(|overflow| *overflow > 0)
    {
        html.raw("<p class=note>")
            .count(overflow)
            .raw(" more calls found no row of their own in the kernel’s counts.</p>");
    }
    html.raw("<h3>Where the time went</h3><div class=figures>");
    let timed = facts.table.iter().filter(|told| told.row.timed > 0);
    for told in timed.take(FIGURES) {
        figure(html, told);
    }
    html.raw("</div></section>");
}

/// The rows of the kernel side's counts where there are any, each with what the events tell of it.
fn rows<'a>(facts: &'a Facts<'_>) -> Vec<(&'a Row, Option<&'a Told>)> {
    let Some(stats) = &facts.known.stats else {
        return facts.table.iter().map(|told| (&told.row, Some(told))).collect();
    };
    let mut rows: Vec<_> = stats
        .calls
        .iter()
        .map(|row| {
            let told = facts
                .table
                .iter()
                .find(|told| told.row.nr == row.nr && told.row.arch == row.arch);
            (row, told)
        })
        .collect();
    rows.sort_by_key(|(row, _)| std::cmp::Reverse((row.total_ns, row.calls)));
    rows
}

fn call(html: &mut Html, row: &Row, told: Option<&Told>, all_ns: u64) {
    html.raw("<tr><td class=code>");
    if let Some(told) = told {
        html.raw("<i class=\"swatch c")
            .number(told.class as u64)
            .raw("\"></i>");
    }
    html.text(&row.syscall);
    if !row.arch.is_empty() && !calls::is_native(&row.arch) {
        html.raw(" <small>").text(&row.arch).raw("</small>");
    }
    html.raw("</td>");
    html.cell(row.total_ns, |html| {
        html.duration(row.total_ns);
    });
    html.cell(row.total_ns, |html| {
        html.percent(row.total_ns, all_ns).raw(" %");
    });
    html.cell(row.calls, |html| {
        html.count(row.calls);
        if row.unfinished > 0 {
            html.raw(" <small title=\"calls that did not return\">+ ")
                .count(row.unfinished)
                .raw("</small>");
        }
    });
    html.count_cell(row.errors);
    for ns in [row.p50_ns, row.p95_ns, row.p99_ns, row.max_ns] {
        html.cell(ns, |html| {
            if row.timed > 0 {
                html.duration(ns);
            }
        });
    }
    html.raw("<td>");
    if let Some(told) = told {
        strip(html, told);
    }
    html.raw("</td><td class=code>");
    for (number, (name, count)) in row.errnos.iter().enumerate() {
        html.raw(if number > 0 { ", " } else { "" })
            .text(name)
            .raw(" ")
            .count(*count);
    }
    html.raw("</td></tr>");
}

/// The buckets that a picture shows: what is shorter than the first stands in the first.
fn shown(told: &Told) -> Vec<u64> {
    let mut counts: Vec<u64> = told.buckets.iter().skip(FIRST).copied().collect();
    if let Some(first) = counts.first_mut() {
        *first += told.buckets.iter().take(FIRST).sum::<u64>();
    }
    counts
}

fn step(html: &mut Html, bucket: usize, count: u64) {
    html.raw("<title>");
    let begins = calls::begins(bucket);
    if bucket == FIRST {
        html.raw("below ").duration(begins * 2);
    } else if bucket + 1 == tracer_common::filter::BUCKETS {
        html.raw("from ").duration(begins);
    } else {
        html.duration(begins).raw(" to ").duration(begins * 2);
    }
    html.raw(": ").count(count).raw("</title>");
}

/// A small histogram: one bar a power of two, as high as its share of the largest.
fn strip(html: &mut Html, told: &Told) {
    let counts = shown(told);
    if counts.iter().all(|count| *count == 0) {
        return;
    }
    html.raw("<svg class=\"strip c").number(told.class as u64).raw("\" width=130 height=18 viewBox=\"0 0 130 18\" role=img aria-label=\"durations by power of two\"><path d=\"M0 17.5H130\"/>");
    bars(html, &counts, (5, 4), (17.0, 17.0));
    html.raw("</svg>");
}

/// Its bars: one every so many units and so wide; the largest so high, standing at that line.
fn bars(html: &mut Html, counts: &[u64], (every, width): (u64, u64), (highest, line): (f64, f64)) {
    let most = counts.iter().copied().max().unwrap_or(0);
    for (at, count) in counts.iter().enumerate().filter(|(_, count)| **count > 0) {
        let height = (highest * *count as f64 / most as f64).max(1.5);
        html.raw("<rect x=").number(at as u64 * every);
        html.raw(" width=")
            .number(width)
            .raw(" y=")
            .fraction(line - height);
        html.raw(" height=").fraction(height).raw(">");
        step(html, at + FIRST, *count);
        html.raw("</rect>");
    }
}

/// The histogram of one call with its scale.
fn figure(html: &mut Html, told: &Told) {
    let counts = shown(told);
    html.raw("<figure><figcaption><b>")
        .text(&told.row.syscall)
        .raw("</b> <span>")
        .count(told.row.timed);
    html.raw(" calls, ")
        .duration(told.row.total_ns)
        .raw(", half within ")
        .duration(told.row.p50_ns);
    html.raw(", 99 % within ").duration(told.row.p99_ns);
    html.raw("</span></figcaption><svg class=\"figure c")
        .number(told.class as u64);
    html.raw("\" viewBox=\"0 0 312 92\" role=img aria-label=\"durations by power of two\"><path d=\"M0 72.5H312\"/>");
    bars(html, &counts, (12, 10), (66.0, 72.0));
    // Where each power of 1024 begins, as near as names are read: 1 µs, 1 ms, 1 s.
    for (at, name) in [(4_u64, "1 µs"), (14, "1 ms"), (24, "1 s")] {
        html.raw("<path d=\"M")
            .number(at * 12 - 1)
            .raw(" 72v5\"/><text x=")
            .number(at * 12 - 1);
        html.raw(" y=88>").raw(name).raw("</text>");
    }
    html.raw("</svg></figure>");
}

pub(super) fn files(html: &mut Html, facts: &Facts<'_>) {
    let traffic = &facts.page.traffic;
    html.raw("<section id=files><h2>Files</h2>");
    if traffic.files.is_empty() {
        html.raw("<p>No call named a path.</p></section>");
        return;
    }
    html.raw("<p class=lead>");
    html.raw(if traffic.told {
        "Paths as the calls named them; bytes by what the descriptors stood for at the calls."
    } else {
        "Paths as the calls named them. Bytes are followed from descriptor to path by the calls that make and close descriptors; the events do not tell them (<code>-y</code> would)."
    });
    html.raw(" Relative paths are relative to a directory that was not followed.</p>");
    let mut files: Vec<(&String, &File)> = traffic.files.iter().collect();
    files.sort_by_key(|(path, file)| {
        let uses = file.opens + file.other + file.failures();
        (
            std::cmp::Reverse((file.bytes.read + file.bytes.written, uses)),
            *path,
        )
    });
    table(
        html,
        &[
            "path",
            "#opens",
            "#other calls",
            "#failed",
            "#read",
            "#written",
            "errors",
        ],
        |html| {
            for (path, file) in files.iter().take(ROWS) {
                html.raw("<tr><td class=code>").text(path).raw("</td>");
                html.count_cell(file.opens)
                    .count_cell(file.other)
                    .count_cell(file.failures());
                bytes(html, file.bytes);
                html.raw("<td class=code>")
                    .text(&traffic::outcomes(&file.failed))
                    .raw("</td></tr>");
            }
        },
    );
    more(html, files.len());
    if traffic.files_left_out > 0 {
        html.raw("<p class=note>")
            .count(traffic.files_left_out)
            .raw(" uses of further paths were not kept.</p>");
    }
    let traffic::Bytes { read, written } = traffic.unknown;
    if read + written > 0 {
        html.raw("<p class=note>").bytes(read).raw(" read and ").bytes(written).raw(" written through descriptors whose beginning was not seen, as standard input and output are.</p>");
    }
    html.raw("</section>");
}

fn bytes(html: &mut Html, bytes: traffic::Bytes) {
    for bytes in [bytes.read, bytes.written] {
        html.cell(bytes, |html| {
            if bytes > 0 {
                html.bytes(bytes);
            }
        });
    }
}

pub(super) fn peers(html: &mut Html, facts: &Facts<'_>) {
    let traffic = &facts.page.traffic;
    html.raw("<section id=peers><h2>Peers</h2>");
    if traffic.peers.is_empty() {
        html.raw("<p>No call named an address.</p></section>");
        return;
    }
    let mut peers: Vec<(&Peer, &Met)> = traffic.peers.iter().collect();
    peers.sort_by_key(|(peer, met)| {
        (
            std::cmp::Reverse((met.bytes.read + met.bytes.written, met.succeeded)),
            *peer,
        )
    });
    table(
        html,
        &[
            "call",
            "family",
            "address",
            "#port",
            "#succeeded",
            "other outcomes",
            "#received",
            "#sent",
        ],
        |html| {
            for (peer, met) in peers.iter().take(ROWS) {
                html.raw("<tr><td class=code>")
                    .raw(peer.what)
                    .raw("</td><td>")
                    .raw(peer.family);
                html.raw("</td><td class=code>").text(&peer.address).raw("</td>");
                html.cell(peer.port.unwrap_or(0).into(), |html| {
                    if let Some(port) = peer.port {
                        html.number(port);
                    }
                });
                html.count_cell(met.succeeded);
                html.raw("<td class=code>")
                    .text(&traffic::outcomes(&met.failed))
                    .raw("</td>");
                bytes(html, met.bytes);
                html.raw("</tr>");
            }
        },
    );
    more(html, peers.len());
    if traffic.peers_left_out > 0 {
        html.raw("<p class=note>")
            .count(traffic.peers_left_out)
            .raw(" uses of further addresses were not kept.</p>");
    }
    html.raw("<p class=lead>EINPROGRESS is no failure: a socket that does not wait goes on connecting, and its bytes are counted here.</p></section>");
}
