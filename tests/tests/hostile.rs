//! A program cannot make us tell what is not so: what could not be read says so, and what was cut says so.

use anyhow::{Context, Result, ensure};
use std::fs;
use tracer_tests::{Event, Verdict, event, programs};

struct Seen {
    events: Vec<Event>,
}

impl Seen {
    /// The one call of `hostile` that has this first argument.
    fn call(&self, first: &str) -> Result<&Event> {
        let mut found = self.events.iter().filter(|event| event.arg(0) == first);
        let call = found.next().with_context(|| format!("no call on {first}"))?;
        ensure!(found.next().is_none(), "more than one call on {first}");
        Ok(call)
    }

    /// Its second argument has that text and is marked so.
    fn holds(&self, first: &str, text: &str, truncated: bool, fault: bool) -> Result<()> {
        let arg = &self.call(first)?.0["args"][1];
        let is = |mark: &str| arg[mark].as_bool().unwrap_or(false);
        let shown = arg["text"].as_str().unwrap_or_default();
        ensure!(
            shown.starts_with(text) && is("truncated") == truncated && is("fault") == fault,
            "{first}: {arg}"
        );
        Ok(())
    }
}

#[test]
fn partial_memory_is_marked() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let path = |name: &str| dir.path().join(name);
    let mut command = programs::command(programs::tracer()?);
    command.args(["run", "-o", "json", "-w"]).arg(path("events"));
    command
        .arg("--verify")
        .arg(path("verify"))
        .arg("--")
        .arg(programs::workload("hostile")?);
    programs::success(&mut command)?;
    Verdict::parse(&fs::read_to_string(path("verify"))?)?.whole()?;
    let seen = Seen {
        events: event::parse(&fs::read_to_string(path("events"))?)?,
    };

    // No pointer, and a string that runs into nothing: the address, never a part of it as if it were all.
    seen.holds("1001", "0x10", false, true)?;
    seen.holds("1002", "0x", false, true)?;
    seen.holds("1003", "0x", false, true)?;
    // Memory that ends exactly where the page does is whole.
    seen.holds("1004", "\"abcd\"", false, false)?;
    seen.holds("1005", "\"abc\"", false, false)?;
    // Of 1,024 and of a million elements what strace shows, then that there were more.
    for first in ["1006", "1011"] {
        seen.holds(first, "[{iov_base=\"abc\", iov_len=3}, ", true, false)?;
        let text = seen.call(first)?.arg(1);
        ensure!(
            text.ends_with(", ...]") && text.matches("iov_base").count() == 32,
            "{text}"
        );
    }
    // A buffer that runs into nothing is an address, and so is one that is nowhere.
    seen.holds(
        "1007",
        "[{iov_base=\"abc\", iov_len=3}, {iov_base=0x",
        false,
        true,
    )?;
    ensure!(
        seen.call("1007")?
            .arg(1)
            .ends_with(", iov_len=100}, {iov_base=0x10, iov_len=5}]")
    );
    seen.holds("1008", "0x", false, true)?;
    seen.holds("1010", "[{iov_base=\"whole\", iov_len=5}, ... /* 0x", true, true)?;
    let message = "{msg_name=NULL, msg_namelen=0, msg_iov=[{iov_base=\"message\", iov_len=7}";
    seen.holds("1012", message, true, false)?;
    seen.holds(
        "1013",
        "{msg_name=0x10, msg_namelen=16, msg_iov=[{iov_base=\"message\", iov_len=7}]",
        false,
        true,
    )?;
    ensure!(
        seen.call("1013")?
            .arg(1)
            .contains(", msg_control=0x10, msg_controllen=32, ")
    );
    seen.holds("1014", message, true, false)?;
    ensure!(
        seen.call("1014")?
            .arg(1)
            .contains(", ...], msg_controllen=8000, ")
    );
    seen.holds("1015", "0x", false, true)?;
    let long = "[\"yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy\"..., ";
    seen.holds("\"/nothing/here\"", long, true, false)?;
    seen.holds("\"/bin/true\"", long, true, false)?;
    ensure!(seen.call("\"/bin/true\"")?.0["ret"] == 0);
    let poll = seen
        .events
        .iter()
        .find(|event| event.syscall() == "poll" && event.arg(1) == "1000");
    let ufds = &poll.context("no poll")?.0["args"][0];
    ensure!(
        ufds["fault"] == true && ufds["text"].as_str().is_some_and(|text| text.starts_with("0x")),
        "{ufds}"
    );

    // Written over by the call itself: what it was given where that is read before, else no more than the address.
    let same = |name: &str, given: usize, got: usize| {
        let mut calls = seen.events.iter().filter(|event| {
            event.syscall() == name && event.0["args"][given]["raw"] == event.0["args"][got]["raw"]
        });
        calls
            .next()
            .with_context(|| format!("no {name} into its own input"))
    };
    let mask = same("rt_sigprocmask", 1, 2)?;
    assert_eq!((mask.arg(1), mask.arg(2)), ("[WINCH]", "[]"), "{}", mask.0);
    let link = same("readlink", 0, 1)?;
    let path = &link.0["args"][0];
    ensure!(
        path["fault"] == true && path["text"].as_str().is_some_and(|text| text.starts_with("0x")),
        "{path}"
    );
    ensure!(link.arg(1).starts_with('"'), "{}", link.0);

    // Bytes that change while they are read: what is shown was there, byte by byte, and is a string in quotes.
    let mut changing = 0;
    for event in seen.events.iter().filter(|event| event.arg(0) == "1009") {
        let text = event.arg(1).trim_matches('"');
        let whole = event.arg(1).len() == text.len() + 2 && text.len() == 64;
        ensure!(
            whole && text.bytes().all(|byte| matches!(byte, b'a' | b'b')) || text.is_empty(),
            "{}",
            event.arg(1)
        );
        changing += 1;
    }
    ensure!(changing == 2000, "{changing} of 2000 calls");
    // A length that changes meanwhile: the bytes that are shown are as many as the line says.
    let mut lengths = std::collections::BTreeSet::new();
    for event in seen.events.iter().filter(|event| event.arg(0) == "1016") {
        let (bytes, length) = event
            .arg(1)
            .strip_prefix("[{iov_base=\"")
            .and_then(|rest| rest.strip_suffix("}]"))
            .and_then(|rest| rest.split_once("\", iov_len="))
            .with_context(|| event.arg(1).to_owned())?;
        ensure!(
            bytes.len().to_string() == length && bytes.bytes().all(|byte| byte == b'v'),
            "{}",
            event.arg(1)
        );
        lengths.insert(length.to_owned());
    }
    ensure!(lengths.len() > 1, "the length never changed: {lengths:?}");

    // Handlers that interrupt a call, and each other, 50 deep: each call shows what it was made with.
    let waits: Vec<_> = seen
        .events
        .iter()
        .filter(|event| event.syscall() == "ppoll")
        .collect();
    ensure!(
        matches!(waits[..], [wait] if wait.arg(2) == "{tv_sec=600, tv_nsec=777}"),
        "{waits:?}"
    );
    let own = seen.events.iter().filter(|event| event.syscall() == "select");
    let times: Vec<String> = own.map(|event| event.arg(4).to_owned()).collect();
    let made: Vec<String> = (1..=50)
        .map(|depth| format!("{{tv_sec=0, tv_usec={depth}}}"))
        .collect();
    ensure!(times == made, "{times:?}");
    Ok(())
}
