//! Capabilities and system calls that the container needs: what `tracer caps` and `tracer profile` say, or what the events
//! alone tell.

use super::{Facts, snippet, table};
use crate::{
    page::{html::Html, privileges},
    profile::{
        self, Form,
        base::{self, Base},
    },
    report::{
        Names, State, Stats,
        capabilities::{Capabilities, Capability, Verdict},
    },
    sinks::Phases,
};

pub(super) fn section(html: &mut Html, facts: &Facts<'_>) {
    html.raw("<section id=privileges><h2>Privileges</h2><div class=two><div><h3>Capabilities</h3>");
    match &facts.known.capabilities {
        Some(told) => capabilities(html, told),
        None => denied(html, facts),
    }
    html.raw("</div><div><h3>System calls</h3>");
    seccomp(html, facts);
    html.raw("</div></div></section>");
}

fn capabilities(html: &mut Html, told: &Capabilities) {
    if let Some(why) = &told.unseen {
        html.raw("<p class=note>The kernel’s checks were not seen: ")
            .text(why)
            .raw("</p>");
        return;
    }
    if told.late {
        html.raw("<p class=note>The container’s beginning was missed: what it needed then is not here.</p>");
    }
    let least = told.least();
    html.raw("<p>The least set that what was seen needs:</p>");
    let mut flags = String::from("--cap-drop=ALL");
    for name in least.iter().chain(&told.missing()) {
        flags.push_str(" --cap-add=");
        flags.push_str(name);
    }
    snippet(html, &flags);
    list(html, "missing, calls failed for want of it", &told.missing());
    list(
        html,
        "out of reach, asked for in a user namespace above",
        &told.out_of_reach(),
    );
    list(html, "given up by the task that asked", &told.given_up());
    let unused: Vec<&str> = told
        .capabilities
        .iter()
        .filter(|one| one.verdict == Verdict::NeverUsed)
        .map(Capability::short)
        .collect();
    list(html, "held and never asked for", &unused);
    if told.capabilities.len() == unused.len() {
        return;
    }
    table(
        html,
        &["capability", "verdict", "held", "#checks", "asked by"],
        |html| {
            let rows = told
                .capabilities
                .iter()
                .filter(|one| one.verdict != Verdict::NeverUsed);
            for one in rows {
                html.raw("<tr><td class=code>").text(one.short()).raw("</td><td>");
                html.raw(match one.verdict {
                    Verdict::Denied => "<b class=errno>denied</b>",
                    other => other.name(),
                });
                html.raw("</td><td>").raw(match one.held {
                    Some(true) => "yes",
                    Some(false) => "no",
                    None => "?",
                });
                html.raw("</td>")
                    .count_cell(one.asked.iter().map(|asked| asked.checks).sum());
                html.raw("<td class=code>");
                for (number, asked) in one.asked.iter().take(6).enumerate() {
                    html.raw(if number > 0 { ", " } else { "" });
                    html.text(asked.syscall.as_deref().unwrap_or("(no call)"));
                }
                html.raw(if one.asked.len() > 6 { ", …" } else { "" })
                    .raw("</td></tr>");
            }
        },
    );
}

fn list(html: &mut Html, what: &'static str, names: &[&str]) {
    if !names.is_empty() {
        html.raw("<p>")
            .raw(what)
            .raw(": <code>")
            .text(&names.join(" "))
            .raw("</code></p>");
    }
}

/// What failed calls alone tell.
fn denied(html: &mut Html, facts: &Facts<'_>) {
    let asked = &facts.page.asked;
    html.raw("<p class=note>The kernel’s capability checks are not with these events; <code>tracer caps CONTAINER</code> has them. From the failed calls:</p>");
    let denied = asked.by_capability();
    if denied.is_empty() {
        html.raw(if asked.evidence {
            "<p>No failed call was denied a capability.</p>"
        } else {
            "<p>No failed call came with what the kernel knew of its task.</p>"
        });
        return;
    }
    table(html, &["capability", "#failed calls", "by"], |html| {
        for (number, calls) in denied {
            html.raw("<tr><td class=code>")
                .text(&privileges::name(number))
                .raw("</td>");
            html.count_cell(calls.iter().map(|(_, count)| count).sum());
            html.raw("<td class=code>");
            for (number, (call, _)) in calls.iter().enumerate() {
                html.raw(if number > 0 { ", " } else { "" }).text(call);
            }
            html.raw("</td></tr>");
        }
    });
}

fn seccomp(html: &mut Html, facts: &Facts<'_>) {
    let page = facts.page;
    if !page.asked.refused.is_empty() {
        html.raw("<p>Calls that the container’s seccomp filter refused:</p>");
        table(html, &["syscall", "#refused"], |html| {
            for (name, count) in &page.asked.refused {
                html.raw("<tr><td class=code>")
                    .text(name)
                    .raw("</td>")
                    .count_cell(*count)
                    .raw("</tr>");
            }
        });
    }
    if page.phases == Phases::Runtime {
        html.raw("<p>A profile is made from the application’s calls, which this page is not about.</p>");
        return;
    }
    let counted = facts.known.stats.is_some();
    let stats = facts.known.stats.clone().unwrap_or_else(|| Stats {
        container: Names::default(),
        state: State::Gone,
        calls: facts
            .table
            .iter()
            .filter(|told| told.row.nr != u32::MAX)
            .map(|told| told.row.clone())
            .collect(),
        overflow: 0,
    });
    if stats.calls.is_empty() {
        html.raw("<p>No call was seen: there is nothing to make a profile from.</p>");
        return;
    }
    let arguments = facts
        .known
        .arguments
        .clone()
        .unwrap_or_else(|| page.observed.arguments());
    let made = profile::make(
        &stats,
        &arguments,
        &base::calls(Base::All, arguments.under_filter.as_deref().unwrap_or_default()),
    );
    html.raw("<p>")
        .count(stats.calls.len() as u64)
        .raw(" different calls");
    html.raw(if counted {
        ", by the kernel’s counts. A seccomp profile that allows these and what runtimes need:"
    } else {
        ", by the events of this page: a call that is not among them is not in the profile. It allows these and what runtimes need:"
    });
    html.raw("</p>");
    match profile::write(&made.profile, Form::Oci, "container") {
        Ok(text) => {
            html.raw("<details><summary>seccomp profile (OCI JSON, for podman and Docker)</summary>");
            snippet(html, &text);
            html.raw("</details>");
        }
        Err(error) => {
            html.raw("<p class=note>").text(&error).raw("</p>");
        }
    }
    if !made.notes.is_empty() {
        html.raw("<details><summary>")
            .count(made.notes.len() as u64)
            .raw(" notes on it</summary><ul>");
        for note in &made.notes {
            html.raw("<li>").text(note).raw("</li>");
        }
        html.raw("</ul></details>");
    }
}
