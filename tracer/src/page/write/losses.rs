//! What was lost and where, the books, and what the page cannot show.

use super::{Facts, ROWS, more, table};
use crate::page::html::Html;

pub(super) fn section(html: &mut Html, facts: &Facts<'_>) {
    let page = facts.page;
    html.raw("<section id=losses><h2>Losses and limits</h2>");
    if facts.lost() == 0 {
        html.raw("<p>No loss is known.</p>");
    }
    if !page.losses.is_empty() {
        html.raw("<p>");
        for (number, (reason, count)) in page.lost.iter().enumerate() {
            html.raw(if number > 0 { ", " } else { "" });
            html.count(*count).raw(" by <code>").raw(reason).raw("</code>");
        }
        html.raw(". A loss is told when it is noticed, with the first event behind the hole.</p>");
        table(html, &["#noticed", "#calls", "reason", "where"], |html| {
            for lost in page.losses.iter().take(ROWS) {
                html.raw("<tr>");
                facts.when(html, lost.time_ns);
                html.count_cell(lost.count);
                html.raw("<td class=code>")
                    .raw(lost.reason.name())
                    .raw("</td><td>");
                if let Some(hole) = lost.hole {
                    html.raw("CPU ")
                        .number(hole.cpu)
                        .raw(", after call ")
                        .count(hole.after);
                    html.raw(" and before ").count(hole.before);
                }
                html.raw("</td></tr>");
            }
        });
        more(html, page.losses.len());
    }
    books(html, facts);
    limits(html, facts);
    html.raw("</section>");
}

fn books(html: &mut Html, facts: &Facts<'_>) {
    let Some(books) = facts.books() else {
        html.raw(
            "<p class=note>The container’s books are not with these events: they come with its end.</p>",
        );
        return;
    };
    let line = |html: &mut Html, parts: &[(&'static str, u64)]| {
        html.raw("<p class=books>");
        for (number, (name, value)) in parts.iter().enumerate() {
            html.raw(match number {
                0 => "",
                1 => " = ",
                _ => " + ",
            });
            html.raw("<span>")
                .raw(name)
                .raw(" <b>")
                .count(*value)
                .raw("</b></span>");
        }
        html.raw("</p>");
    };
    html.raw("<h3>Books</h3>");
    let dropped = &books.dropped;
    line(
        html,
        &[
            ("admitted", books.admitted),
            ("emitted", books.emitted),
            ("ring full", dropped.ring_full),
            ("no storage", dropped.no_storage),
            ("unpaired", dropped.unpaired),
            ("rate limit", dropped.rate_limit),
            ("ring share", dropped.ring_share),
            ("filtered", books.filtered),
            ("only counted", books.counted),
            ("in flight", books.in_flight),
        ],
    );
    line(
        html,
        &[
            ("emitted", books.emitted),
            ("decoded", books.decoded),
            ("undecodable", books.undecodable),
            ("queue drop", books.queue_drop),
        ],
    );
    html.raw(if books.balance() {
        "<p>The books balance.</p>"
    } else {
        "<p><b class=errno>The books do not balance.</b></p>"
    });
}

fn limits(html: &mut Html, facts: &Facts<'_>) {
    let page = facts.page;
    html.raw("<h3>What this page does not show</h3><ul class=limits>");
    for note in &facts.known.notes {
        html.raw("<li>").text(note).raw("</li>");
    }
    if page.late == Some(true) {
        html.raw("<li>What the container did before it was registered: it ran already.</li>");
    }
    if page.other_phase > 0 {
        html.raw("<li>").count(page.other_phase);
        html.raw(" calls of the other phase (<code>--phase all</code> shows those of the container runtime too).</li>");
    }
    if let Some(books) = facts.books() {
        if books.filtered > 0 {
            html.raw("<li>")
                .count(books.filtered)
                .raw(" calls that the filters of all readers left out.</li>");
        }
        if books.counted > 0 {
            html.raw("<li>")
                .count(books.counted)
                .raw(" calls that were only counted.</li>");
        }
    }
    if facts.known.capabilities.is_none() {
        html.raw("<li>Which capabilities calls asked for and had: only failed calls tell.</li>");
    }
    if !page.traffic.told {
        html.raw("<li>The working directory, so the whole of relative paths; what descriptors stood for that were received or inherited.</li>");
    }
    if facts.roots.is_empty() && page.failures.failed > 0 {
        html.raw("<li>Why calls failed: no diagnosis is among these events.</li>");
    }
    html.raw("<li>What programs did between their calls.</li><li>The contents of what was read and written, beyond the first bytes of each call.</li></ul>");
}
