//! The failures: root causes with their evidence and the lines to change, then all failures by call and errno.

use super::{Facts, ROWS, more, snippet, table};
use crate::{
    errno,
    event::{Cause, Fix, Place, Taken},
    page::{
        failures::{Listed, Root},
        html::Html,
    },
};

/// Causes that are shown at once, and those behind a fold.
const FIRST: usize = 6;
const CAUSES: usize = 60;

pub(super) fn section(html: &mut Html, facts: &Facts<'_>) {
    let failures = &facts.page.failures;
    html.raw("<section id=failures><h2>Failures</h2>");
    if facts.roots.is_empty() {
        html.raw(if failures.failed == 0 {
            "<p>No call failed.</p>"
        } else {
            "<p>No root cause is among these events: either no failure wanted one, or nothing explained them when they happened.</p>"
        });
    } else {
        let (first, rest) = facts.roots.split_at(FIRST.min(facts.roots.len()));
        causes(html, facts, first);
        if !rest.is_empty() {
            html.raw("<details class=rest><summary>").count(rest.len() as u64);
            html.raw(" more causes</summary>");
            causes(html, facts, rest.get(..CAUSES).unwrap_or(rest));
            html.raw("</details>");
        }
        let hidden = rest.len().saturating_sub(CAUSES) as u64 + failures.left_out;
        if hidden > 0 {
            html.raw("<p class=note>")
                .count(hidden)
                .raw(" more causes are not shown.</p>");
        }
    }
    if !failures.groups.is_empty() {
        html.raw("<h3>All failed calls by call and error</h3><p class=lead>Programs make many calls that fail and go on: a library looked for in several places, a descriptor that is not ready. What is worth a look is above; rows in grey were all found to mean nothing.</p>");
        table(
            html,
            &[
                "syscall",
                "error",
                "#count",
                "#first",
                "#last",
                "by",
                "first such call",
            ],
            |html| {
                for Listed {
                    name,
                    how,
                    group,
                    usual,
                } in failures.by_count().into_iter().take(ROWS)
                {
                    html.raw(match usual {
                        Some(_) => "<tr class=usual><td class=code>",
                        None => "<tr><td class=code>",
                    });
                    html.text(name).raw("</td><td class=code>").text(how);
                    if let Some(text) = description(how) {
                        html.raw("<small>").text(text).raw("</small>");
                    }
                    html.raw("</td>").count_cell(group.count);
                    facts.when(html, group.first_ns);
                    facts.when(html, group.last_ns);
                    html.raw("<td>")
                        .text(&group.by.1)
                        .raw(" <small>")
                        .number(group.by.0);
                    html.raw("</small></td><td class=code>").text(&group.example);
                    if let Some(why) = usual {
                        html.raw("<small>expected: ").text(why).raw("</small>");
                    }
                    html.raw("</td></tr>");
                }
            },
        );
        more(html, failures.groups.len());
    }
    html.raw("</section>");
}

fn causes(html: &mut Html, facts: &Facts<'_>, roots: &[Root]) {
    html.raw("<div class=causes>");
    for root in roots {
        cause(html, facts, root);
    }
    html.raw("</div>");
}

/// What an errno means.
fn description(name: &str) -> Option<&'static str> {
    let name = name.split(' ').next()?;
    (1..=133)
        .chain(512..=516)
        .find(|number| errno::name(*number) == name)
        .map(|number| errno::restart(number).unwrap_or_else(|| errno::description(number)))
}

fn cause(html: &mut Html, facts: &Facts<'_>, root: &Root) {
    let verdict = &root.verdict;
    html.raw(match verdict.cause {
        Cause::Undetermined => "<article class=\"cause unknown\"><h3>",
        _ => "<article class=cause><h3>",
    });
    html.raw("<b class=tag>")
        .raw(verdict.cause.name())
        .raw("</b> ")
        .text(&verdict.why)
        .raw("</h3><p class=call>");
    for (number, (call, count)) in root.calls.iter().enumerate() {
        html.raw(if number > 0 { "<br>" } else { "" });
        html.raw("<code>").text(call).raw("</code>");
        if root.calls.len() > 1 && *count > 1 {
            html.raw(" <small>").count(*count).raw(" times</small>");
        }
    }
    if root.more > 0 {
        html.raw("<br><small>and ")
            .count(root.more as u64)
            .raw(" more</small>");
    }
    html.raw("</p><p class=facts><b class=errno>")
        .text(&root.errno)
        .raw("</b> ")
        .count(root.count);
    html.raw(if root.count == 1 { " time" } else { " times" });
    html.raw(", first at +").duration(facts.since(root.first_ns));
    html.raw(" by ")
        .text(&String::from_utf8_lossy(root.by.comm.bytes()));
    html.raw(" (pid ").number(root.by.pid).raw(")</p>");
    if !verdict.evidence.is_empty() || !verdict.ruled_out.is_empty() {
        html.raw("<ul class=evidence>");
        for fact in &verdict.evidence {
            html.raw("<li>").text(&fact.text).raw(match fact.taken {
                Taken::Before => " <small>seen in its calls before</small>",
                Taken::Call => " <small>seen in the kernel at the call</small>",
                Taken::After => " <small>seen just after the call</small>",
                Taken::Always => " <small>always so</small>",
            });
            html.raw("</li>");
        }
        for text in &verdict.ruled_out {
            html.raw("<li class=ruled>not: ").text(text).raw("</li>");
        }
        html.raw("</ul>");
    }
    for (places, line) in fixes(&verdict.fixes) {
        html.raw("<div class=fix><span>change, ");
        for (number, place) in places.iter().enumerate() {
            html.raw(if number > 0 { " and " } else { "" }).raw(place.name());
        }
        html.raw("</span>");
        snippet(html, line);
        html.raw("</div>");
    }
    html.raw("</article>");
}

/// What is to be changed: a line that several tools take stands once.
fn fixes(fixes: &[Fix]) -> Vec<(Vec<Place>, &str)> {
    let mut all: Vec<(Vec<Place>, &str)> = Vec::new();
    for fix in fixes {
        match all.iter_mut().find(|(_, line)| *line == fix.line) {
            Some((places, _)) => places.push(fix.place),
            None => all.push((vec![fix.place], &fix.line)),
        }
    }
    all
}
