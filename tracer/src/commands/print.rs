//! The answers of the daemon as text, for people.

use std::{
    io::{self, IsTerminal, Write},
    os::fd::AsFd,
};

use rustix::termios::tcgetwinsize;

pub(super) use crate::report::table::safe;
use crate::{
    recording::Kept,
    report::{
        self, Attached, Audited, Names, SinkBooks, State, Status, Unregistered, Verdict,
        table::{self, Layout, Line, short},
    },
};

/// The dumps that a daemon keeps.
pub(super) fn dumps(to: &mut impl Write, kept: &[Kept]) -> io::Result<()> {
    let head = ["TIME", "REASON", "CONTAINER", "BYTES", "FILE"];
    let mut rows = vec![Line::Cells(head.map(str::to_owned).to_vec())];
    for dump in kept {
        rows.push(Line::Cells(vec![
            dump.time.clone(),
            safe(&dump.reasons.join(",")),
            safe(short(&dump.container.name)),
            dump.bytes.to_string(),
            safe(&dump.path.display().to_string()),
        ]));
    }
    let (text, number) = (
        Layout::default(),
        Layout {
            right: true,
            ..Layout::default()
        },
    );
    table::write(to, &rows, &[text, text, text, number, text], 2, None)
}

pub(super) fn ps(to: &mut impl Write, lines: &[report::Line], width: Option<usize>) -> io::Result<()> {
    let head = [
        "CONTAINER",
        "NAME",
        "POD",
        "RUNTIME",
        "PID",
        "STATE",
        "EVENTS",
        "LOST",
        "COMPLETE",
    ];
    let mut rows = vec![Line::Cells(head.map(str::to_owned).to_vec())];
    for line in lines {
        let missed = line.state == State::Missed;
        let complete = match (&line.reason, line.complete) {
            (_, true) => "yes".to_owned(),
            (Some(reason), false) => format!("no: {}", safe(reason)),
            (None, false) => "no".to_owned(),
        };
        rows.push(Line::Cells(vec![
            safe(short(&line.names.id)),
            safe(short(&line.names.name)),
            line.names.pod.as_deref().map_or_else(|| "-".into(), safe),
            line.runtime.as_deref().map_or_else(|| "-".into(), safe),
            line.pid.map_or_else(|| "-".into(), |pid| pid.to_string()),
            line.state.name().into(),
            if missed {
                "-".into()
            } else {
                line.events.to_string()
            },
            if missed { "-".into() } else { line.lost.to_string() },
            complete,
        ]));
    }
    let (text, number) = (
        Layout::default(),
        Layout {
            right: true,
            ..Layout::default()
        },
    );
    let cut_to = |least| Layout {
        narrow: Some(least),
        ..text
    };
    let to_cut = cut_to(8);
    let layouts = [to_cut, to_cut, to_cut, text, number, text, number, number, to_cut];
    table::write(to, &rows, &layouts, 2, width)
}

/// The width to which a stream's text is fitted: the terminal's; `None` where it is no terminal, and all is shown.
pub(super) fn fit(stream: &(impl AsFd + IsTerminal)) -> Option<usize> {
    let by_terminal = || tcgetwinsize(stream).ok().map(|size| size.ws_col);
    let by_user = || std::env::var("COLUMNS").ok()?.parse().ok();
    let columns = |of: Option<u16>| of.filter(|columns| *columns > 0);
    stream.is_terminal().then(|| {
        columns(by_terminal())
            .or_else(|| columns(by_user()))
            .unwrap_or(80)
            .into()
    })
}

/// The spaces before what `verify`, `status` and `audit` say of a thing.
pub(super) const INDENT: usize = 15;

/// Writes lines of a name and what is said of it, folded at the terminal's width.
pub(super) fn folded(
    to: &mut (impl Write + AsFd + IsTerminal),
    indent: usize,
    write: impl FnOnce(&mut Vec<u8>) -> io::Result<()>,
) -> io::Result<()> {
    let mut text = Vec::new();
    write(&mut text)?;
    match fit(to) {
        Some(width) => to.write_all(table::fold(&String::from_utf8_lossy(&text), indent, width).as_bytes()),
        None => to.write_all(&text),
    }
}

/// Columns of the terminal, wherever it is; 80 where there is none.
pub(super) fn width() -> u16 {
    let streams = [fit(&io::stdout()), fit(&io::stderr()), fit(&io::stdin())];
    let width = streams.into_iter().flatten().next();
    width.and_then(|width| u16::try_from(width).ok()).unwrap_or(80)
}

pub(super) fn verify(to: &mut impl Write, verdict: &Verdict) -> io::Result<()> {
    let books = &verdict.books;
    let time =
        |ktime: Option<u64>| ktime.map_or_else(|| "-".to_owned(), |ns| format!("{:.6} s", ns as f64 / 1e9));
    let Names { id, name, .. } = &verdict.container;
    let known_as = if name == id {
        String::new()
    } else {
        format!("{}, ", safe(name))
    };
    writeln!(
        to,
        "container      {} ({known_as}{})",
        safe(id),
        verdict.state.name()
    )?;
    writeln!(
        to,
        "armed at       {}",
        verdict.armed_at.as_deref().unwrap_or("-")
    )?;
    let trip = verdict
        .round_trip_ns
        .map_or_else(|| "none".to_owned(), |ns| format!("{} us", ns / 1000));
    writeln!(to, "proof          round trip {trip}")?;
    writeln!(
        to,
        "first call     {} (monotonic)",
        time(verdict.first_call_ktime)
    )?;
    writeln!(
        to,
        "first execve   {} (monotonic)",
        time(verdict.first_exec_ktime)
    )?;
    let dropped = books.dropped.sum();
    writeln!(
        to,
        "kernel         {} admitted = {} emitted + {dropped} dropped + {} filtered + {} counted + {} in flight",
        books.admitted, books.emitted, books.filtered, books.counted, books.in_flight
    )?;
    if books.filtered > 0 {
        writeln!(
            to,
            "filtered       {} calls that no reader asked for: no events, but in the counts",
            books.filtered
        )?;
    }
    if let Some(frozen) = &verdict.frozen {
        writeln!(
            to,
            "frozen         {} times, {:.3} ms in all, so that nothing is lost; given up {} times",
            frozen.times,
            frozen.ns as f64 / 1e6,
            frozen.given_up
        )?;
    }
    if verdict.missed_runs > 0 {
        writeln!(
            to,
            "missed runs    {} of tracing programs on the node meanwhile: any may have been a call of it",
            verdict.missed_runs
        )?;
    }
    if dropped > 0 {
        writeln!(
            to,
            "dropped        {} ring full, {} over the share, {} no storage, {} unpaired, {} over the rate",
            books.dropped.ring_full,
            books.dropped.ring_share,
            books.dropped.no_storage,
            books.dropped.unpaired,
            books.dropped.rate_limit
        )?;
    }
    writeln!(
        to,
        "daemon         {} emitted = {} decoded + {} undecodable + {} queue",
        books.emitted, books.decoded, books.undecodable, books.queue_drop
    )?;
    for sink in &verdict.sinks {
        writeln!(
            to,
            "sink           {}: {} written, {} dropped, {} not selected{}",
            safe(&sink.name),
            sink.written,
            sink.dropped,
            sink.skipped,
            match sink.queued {
                0 => String::new(),
                queued => format!(", {queued} queued"),
            }
        )?;
    }
    writeln!(to, "aggregates     {} calls", books.aggregated)?;
    writeln!(
        to,
        "books          {}",
        if verdict.balanced {
            "balance"
        } else {
            "do not balance"
        }
    )?;
    if verdict.process_lost > 0 {
        writeln!(
            to,
            "processes      {} fork, exec, exit or join events lost",
            verdict.process_lost
        )?;
    }
    for gap in &verdict.gaps {
        writeln!(
            to,
            "gap            cpu {}: between {} and {}",
            gap.cpu, gap.after, gap.before
        )?;
    }
    for away in &verdict.away {
        writeln!(
            to,
            "away           from {} to {}: the daemon was away",
            safe(&away.from),
            safe(&away.to)
        )?;
    }
    if verdict.never_began() {
        writeln!(
            to,
            "application    never began: `tracer tail --since-start --until-gone --phase runtime` has what its runtime did"
        )?;
    }
    match &verdict.reason {
        None => writeln!(to, "complete, 0 lost"),
        Some(reason) => writeln!(to, "not complete, {} lost: {}", verdict.lost, safe(reason)),
    }
}

pub(super) fn attached(to: &mut impl Write, attached: &Attached) -> io::Result<()> {
    let Attached {
        names,
        runtime,
        pid,
        already,
    } = attached;
    let how = if *already {
        "is traced already"
    } else {
        "is traced from now on; its beginning was missed"
    };
    let runtime = runtime
        .as_deref()
        .map_or_else(String::new, |runtime| format!(", {}", safe(runtime)));
    writeln!(
        to,
        "container {} ({}, init {pid}{runtime}) {how}",
        safe(&names.id),
        safe(&names.name)
    )
}

pub(super) fn audited(to: &mut impl Write, audited: &Audited) -> io::Result<()> {
    if !audited.looks {
        return writeln!(
            to,
            "not looked     the audit is off: `--audit report`, or `mode` in [audit] of the configuration file, turns it on"
        );
    }
    unregistered(to, &audited.unregistered)?;
    let asking = match (audited.asking, audited.unregistered.len()) {
        (0, _) => "none of them asks to be traced".to_owned(),
        (asking, 0) => format!("{asking} of them asked to be traced, and all of these are"),
        (asking, left) => format!("{asking} of them asked to be traced, {left} of these not traced"),
    };
    writeln!(to, "containers     {} run, {asking}", audited.running)
}

fn unregistered(to: &mut impl Write, found: &[Unregistered]) -> io::Result<()> {
    for line in found {
        writeln!(
            to,
            "unregistered   {} ({}, init {}): {}",
            safe(&line.names.id),
            safe(&line.names.name),
            line.pid,
            safe(&line.reason)
        )?;
    }
    Ok(())
}

pub(super) fn status(to: &mut impl Write, status: &Status) -> io::Result<()> {
    writeln!(
        to,
        "version        {} (contract {})",
        status.version, status.abi_version
    )?;
    let attached = if status.attached {
        "attached"
    } else {
        "detached: nothing is traced, the host pays nothing"
    };
    writeln!(to, "programs       {attached}")?;
    writeln!(
        to,
        "containers     {} live, {} missed",
        status.containers, status.missed
    )?;
    unregistered(to, &status.unregistered)?;
    writeln!(
        to,
        "calls          {} admitted, {} lost",
        status.admitted, status.lost
    )?;
    if status.frozen_ns > 0 {
        writeln!(
            to,
            "frozen         {:.3} ms, containers that asked for it",
            status.frozen_ns as f64 / 1e6
        )?;
    }
    writeln!(
        to,
        "books          {}",
        if status.balanced {
            "balance"
        } else {
            "do not balance"
        }
    )?;
    for sink in &status.sinks {
        let SinkBooks {
            name,
            written,
            dropped,
            queued,
            ..
        } = &sink.books;
        writeln!(
            to,
            "sink           {name} ({}): {written} events written, {dropped} dropped, {queued} queued{}{}",
            sink.kind,
            match sink.spooled_bytes {
                0 => String::new(),
                bytes => format!(", {bytes} bytes of it on disk"),
            },
            match &sink.down {
                None => String::new(),
                Some(why) => format!("; takes nothing: {}", safe(why)),
            }
        )?;
    }
    for (reason, count) in &status.refused {
        writeln!(to, "refused        {reason} {count}")?;
    }
    for (program, times) in status.missed_runs.iter().filter(|(_, times)| **times > 0) {
        writeln!(
            to,
            "missed runs    {program} {times}: the kernel skipped it, see docs/kernels.md"
        )?;
    }
    for (name, value) in &status.counters {
        writeln!(to, "counter        {name} {value}")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_name_is_whole_or_marked() {
        let name = "a-very-long-container-name-of-some-sixty-characters-as-helm-makes";
        let id = "8a1f6e2b0c3f9a5d5543f4de22e42b8cf70e2d5824aad868b8a0680b32e46d40";
        let line = serde_json::json!({
            "id": id, "name": name, "runtime": "podman", "pid": 4711, "state": "live",
            "events": 1, "lost": 0, "complete": true, "reason": null,
        });
        let lines = [serde_json::from_value(line).unwrap()];
        let text = |width| {
            let mut to = Vec::new();
            ps(&mut to, &lines, width).unwrap();
            String::from_utf8(to).unwrap()
        };
        assert!(text(None).contains(name) && text(None).contains("8a1f6e2b0c3f "));
        let fits = text(Some(80));
        assert!(fits.contains(" a-very-") && fits.contains('…'), "{fits}");
        assert!(fits.lines().all(|line| line.chars().count() <= 80), "{fits}");
    }

    #[test]
    fn an_audit_tells_what_it_looked_at() {
        let text = |audited: &Audited| {
            let mut to = Vec::new();
            super::audited(&mut to, audited).unwrap();
            String::from_utf8(to).unwrap()
        };
        let mut seen = Audited {
            looks: true,
            running: 7,
            ..Audited::default()
        };
        assert_eq!(
            text(&seen),
            "containers     7 run, none of them asks to be traced\n"
        );
        seen.asking = 2;
        assert_eq!(
            text(&seen),
            "containers     7 run, 2 of them asked to be traced, and all of these are\n"
        );
        seen.unregistered.push(Unregistered {
            names: Names::default(),
            runtime: None,
            pid: 4711,
            reason: "its hook did not register it".to_owned(),
        });
        let told = text(&seen);
        assert!(
            told.starts_with("unregistered   ")
                && told.ends_with("2 of them asked to be traced, 1 of these not traced\n")
        );
        assert!(text(&Audited::default()).contains("the audit is off"));
    }

    #[test]
    fn an_application_that_never_began_is_told() {
        let text = |state: &str, first_exec: Option<u64>| {
            let verdict = serde_json::json!({
                "container": {"id": "web", "name": "web"}, "state": state, "complete": true, "reason": null,
                "armed_at": null, "round_trip_ns": 1, "first_call_ktime": 1, "first_exec_ktime": first_exec,
                "books": crate::event::Books::default(), "balanced": true, "lost": 0, "gaps": [], "sinks": [],
            });
            let mut to = Vec::new();
            verify(&mut to, &serde_json::from_value(verdict).unwrap()).unwrap();
            String::from_utf8(to).unwrap()
        };
        assert!(text("gone", None).contains("never began"));
        assert!(!text("gone", Some(1)).contains("never began"));
        assert!(!text("live", None).contains("never began"), "it may still begin");
    }
}
