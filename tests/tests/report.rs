//! The page of `tracer report`, in a real browser: it says what was counted, runs nothing that a container wrote, needs
//! neither network nor scripts for its tables, and does not freeze on a million calls.
//!
//! `PICTURES=DIR` keeps what the browser showed.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};
use tracer_tests::{Browser, Bundle, Daemon, Rootfs, Runtime, Verdict, programs, wait};

/// Several programs, failures with a cause, failures that mean nothing.
const SCRIPT: &str = "cat /etc/hostname /nonexistent; ls -l / >/dev/null; for i in 1 2 3; do (sleep 0.02; cat /bin/busybox >/dev/null) & done; \
                      date -s @1000000000; wait; nc 127.0.0.1 9; exit 3";

fn report(mut command: std::process::Command, args: &[&str], page: &Path) -> Result<()> {
    let out = programs::output(command.args(args).arg("-o").arg(page))?;
    ensure!(
        out.status.success() && out.stdout.is_empty() && out.stderr.is_empty(),
        "report {args:?}: {}",
        programs::both(&out)
    );
    Ok(())
}

/// Records a command.
fn record(dir: &Path, command: &[&str]) -> Result<PathBuf> {
    let recording = dir.join("it.trec");
    let mut record = programs::command(programs::tracer()?);
    record
        .arg("record")
        .arg("-w")
        .arg(&recording)
        .arg("--")
        .args(command);
    programs::success(&mut record)?;
    Ok(recording)
}

/// Records a command, and makes the page of it.
fn recorded(dir: &Path, command: &[&str]) -> Result<PathBuf> {
    page(dir, &record(dir, command)?)
}

fn page(dir: &Path, recording: &Path) -> Result<PathBuf> {
    let page = dir.join("report.html");
    let mut tracer = programs::command(programs::tracer()?);
    tracer.arg("report");
    report(tracer, &[recording.to_str().context("a path")?], &page)?;
    Ok(page)
}

/// Waits until the timeline is drawn, its lines too.
fn ready(browser: &mut Browser) -> Result<u64> {
    wait::until("the timeline", wait::LONG, || {
        let ready = browser.text("document.getElementById('picture').dataset.ready ?? ''")?;
        Ok(ready.parse().ok())
    })
}

fn quiet(browser: &mut Browser) -> Result<()> {
    let complaints = browser.complaints();
    ensure!(complaints.is_empty(), "{complaints:#?}");
    Ok(())
}

fn keep(browser: &mut Browser, name: &str) -> Result<String> {
    let picture = browser.picture()?;
    if let Some(dir) = std::env::var_os("PICTURES") {
        fs::write(Path::new(&dir).join(format!("{name}.base64")), &picture)?;
    }
    Ok(picture)
}

/// The number in a tile.
fn tile(browser: &mut Browser, name: &str) -> Result<u64> {
    let text = browser.text(&format!(
        "[...document.querySelectorAll('.tiles div')].find((tile) => tile.querySelector('dt').textContent === {name:?}).querySelector('dd').firstChild.textContent"
    ))?;
    text.replace(',', "").trim().parse().with_context(|| text)
}

#[test]
fn the_page_of_a_container_says_what_was_counted() -> Result<()> {
    let daemon = Daemon::start()?;
    let bundle = Bundle::traced("report", Rootfs::Busybox, &["/bin/sh", "-c", SCRIPT], &daemon)?;
    let id = bundle.id.clone();
    let (_status, _container) = Runtime::Runc.run(bundle)?;
    let verdict = daemon.verdict_at_end(&id)?;
    verdict.whole()?;
    let page = daemon.dir().join("report.html");
    report(daemon.client("report"), &[&id], &page)?;
    let stats = programs::success(daemon.client("stats").args(["-o", "json", &id]))?;
    let stats: Value = serde_json::from_str(&stats)?;
    let mut browser = Browser::start()?;
    browser.look(1280, 1000, false, false)?;
    browser.open(&page)?;
    ready(&mut browser)?;

    // The table, row by row.
    let rows = browser.value(
        "[...document.querySelectorAll('#calls tbody tr')].map((row) => [row.cells[0].textContent.trim(), Number(row.cells[3].dataset.v), Number(row.cells[4].dataset.v)])",
    )?;
    let mut shown = BTreeMap::new();
    for row in rows.as_array().context("no rows")? {
        shown.insert(
            row[0].as_str().context("no name")?.to_owned(),
            (row[1].as_u64(), row[2].as_u64()),
        );
    }
    let mut counted = BTreeMap::new();
    let (mut calls, mut errors) = (0, 0);
    for row in stats["calls"].as_array().context("no calls")? {
        let name = row["syscall"].as_str().context("no name")?.to_owned();
        counted.insert(name, (row["calls"].as_u64(), row["errors"].as_u64()));
        calls += row["calls"].as_u64().unwrap_or(0) + row["unfinished"].as_u64().unwrap_or(0);
        errors += row["errors"].as_u64().unwrap_or(0);
    }
    ensure!(shown == counted, "shown {shown:?}, counted {counted:?}");
    // The tiles, the timeline, the table of failures.
    ensure!(
        tile(&mut browser, "calls")? == calls
            && tile(&mut browser, "failed")? == errors
            && tile(&mut browser, "lost")? == 0
    );
    let drawn = browser.value("({...document.getElementById('picture').dataset})")?;
    ensure!(
        drawn["calls"] == json!(calls.to_string()) && drawn["failures"] == json!(errors.to_string()),
        "{calls} calls, {errors} failed: {drawn}"
    );
    let failed = browser.value(
        "[...document.querySelectorAll('#failures tbody tr')].reduce((sum, row) => sum + Number(row.cells[2].dataset.v), 0)",
    )?;
    ensure!(failed == json!(errors), "{failed} of {errors} in the table");
    ensure!(
        browser
            .text("document.querySelector('.verdict').textContent")?
            .contains("Complete.")
    );
    ensure!(
        browser
            .text("document.querySelector('.books').textContent")?
            .starts_with("admitted ")
    );

    // The root cause with its fix.
    let causes = browser
        .text("[...document.querySelectorAll('.cause')].map((cause) => cause.textContent).join('\\n')")?;
    ensure!(
        causes.contains("SYS_TIME") && causes.contains("--cap-add"),
        "{causes}"
    );
    let capabilities = browser.text("document.getElementById('privileges').textContent")?;
    ensure!(
        capabilities.contains("--cap-drop=ALL") && capabilities.contains("SCMP_ACT_ALLOW"),
        "{capabilities}"
    );
    ensure!(
        browser
            .text("document.getElementById('peers').textContent")?
            .contains("127.0.0.1")
    );
    let file = browser.value(
        "Number([...document.querySelectorAll('#files tbody tr')].find((row) => row.cells[0].textContent === '/bin/busybox').cells[4].dataset.v)",
    )?;
    let size = fs::metadata("/bin/busybox")
        .or_else(|_| fs::metadata("/usr/bin/busybox"))?
        .len();
    ensure!(
        file.as_u64() >= Some(3 * size),
        "{file} bytes read of a file of {size}, three times"
    );

    // What is asked of the page it does.
    let by_calls = "document.querySelectorAll('#calls th button')[3].click(); [...document.querySelectorAll('#calls tbody tr')].map((row) => Number(row.cells[3].dataset.v))";
    let sorted = browser.value(by_calls)?;
    let sorted: Vec<u64> = sorted
        .as_array()
        .context("no rows")?
        .iter()
        .filter_map(Value::as_u64)
        .collect();
    ensure!(sorted.is_sorted_by(|a, b| a >= b), "{sorted:?}");
    browser.value("document.getElementById('rows').focus()")?;
    browser.press("f")?;
    let chosen = browser.text("document.getElementById('chosen').textContent")?;
    ensure!(chosen.contains(") = -1 E"), "{chosen}");
    browser.value("document.getElementById('theme').click()")?;
    ensure!(browser.text("getComputedStyle(document.documentElement).colorScheme")? == "dark");
    quiet(&mut browser)
}

#[test]
fn it_is_read_on_a_phone_in_the_dark_and_without_scripts() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let page = recorded(
        dir.path(),
        &["/bin/sh", "-c", "ls -l /usr >/dev/null; ls /nope; exit 0"],
    )?;
    let mut browser = Browser::start()?;
    let mut pictures = Vec::new();
    for (name, width, height, phone, dark) in [
        ("light", 1280, 1000, false, false),
        ("dark", 1280, 1000, false, true),
        ("phone", 390, 844, true, false),
    ] {
        browser.look(width, height, phone, dark)?;
        browser.open(&page)?;
        ready(&mut browser)?;
        pictures.push(keep(&mut browser, name)?);
        let wide = browser.value("document.documentElement.scrollWidth")?;
        ensure!(wide.as_u64() <= Some(width.into()), "{name}: {wide} pixels wide");
    }
    ensure!(pictures[0] != pictures[1] && pictures.iter().all(|picture| picture.len() > 10_000));
    quiet(&mut browser)?;
    browser.ask("Emulation.setScriptExecutionDisabled", json!({"value": true}))?;
    browser.open(&page)?;
    let text = browser.text("document.body.innerText")?;
    for told in [
        "The picture needs scripts",
        "ENOENT",
        "No such file or directory",
        "openat",
        "What this page does not show",
    ] {
        ensure!(text.contains(told), "{told}: {text}");
    }
    ensure!(browser.value("document.querySelectorAll('#processes tbody tr').length >= 3")? == json!(true));
    Ok(())
}

#[test]
fn nothing_that_a_container_wrote_is_run() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let evil = dir.path().join("<img src=x onerror=alert(1)>");
    fs::copy("/bin/true", &evil)?;
    let script = "\"$0\" '</script><script>alert(2)</script>'; cat '/x/</script><script>alert(3)</script><!--' \"$(printf '/\\342\\200\\256\\342\\200\\250\\033')\"; exit 0";
    let page = recorded(
        dir.path(),
        &["/bin/sh", "-c", script, evil.to_str().context("a path")?],
    )?;
    let mut browser = Browser::start()?;
    browser.open(&page)?;
    ready(&mut browser)?;
    ensure!(browser.value("document.scripts.length")? == json!(4));
    ensure!(browser.value("document.images.length")? == json!(0));
    let text = browser.text("document.body.textContent")?;
    ensure!(
        text.contains("</script><script>alert(3)</script><!--") && text.contains("\\342\\200\\256"),
        "{text}"
    );
    ensure!(!text.contains(['\u{202e}', '\u{2028}', '\u{1b}']));
    // Were a hole found one day, the policy would keep it from being used.
    browser.value("document.body.insertAdjacentHTML('beforeend', '<img src=x onerror=document.title=1>'); document.body.append(Object.assign(document.createElement('script'), {textContent: 'document.title = 2'}))")?;
    ensure!(browser.text("document.title")?.ends_with("system call report"));
    Ok(())
}

/// What the timeline's frames take while it is scrolled, in ms: the middle one and the longest.
fn frames(browser: &mut Browser) -> Result<(f64, f64)> {
    let frames = browser.value(
        "(async () => {
            const rows = document.getElementById('rows');
            rows.scrollIntoView();
            rows.focus();
            const frame = () => new Promise((next) => requestAnimationFrame(() => requestAnimationFrame(next)));
            const took = [];
            for (let at = 0; at < 40; at += 1) {
                const place = rows.getBoundingClientRect();
                rows.dispatchEvent(new WheelEvent('wheel', {deltaY: at < 30 ? -150 : 150, clientX: place.left + 600, clientY: place.top + 60, cancelable: true}));
                await frame();
                took.push(Number(document.getElementById('picture').dataset.frame));
            }
            return took;
        })()",
    )?;
    let mut frames: Vec<f64> = frames
        .as_array()
        .context("no frames")?
        .iter()
        .filter_map(Value::as_f64)
        .collect();
    frames.sort_by(f64::total_cmp);
    let longest = *frames.last().context("no frames")?;
    Ok((frames[frames.len() / 2], longest))
}

#[test]
fn a_million_calls_do_not_freeze_it() -> Result<()> {
    const CALLS: u64 = 1_000_000;
    let dir = tempfile::tempdir()?;
    let calls = programs::workload("calls")?;
    let command = [calls.to_str().context("a path")?, &CALLS.to_string()];
    // That nothing is lost of so many is a matter of speed: of three recordings one must be whole.
    let whole = (0..3).find_map(|_| {
        let found = record(dir.path(), &command).and_then(|recording| {
            let mut verify = programs::command(programs::tracer()?);
            let out = programs::output(verify.args(["verify", "-o", "json"]).arg(&recording))?;
            let verdict = Verdict::parse(&String::from_utf8_lossy(&out.stdout))?;
            Ok((verdict.number("/lost")? == 0).then_some(recording))
        });
        found.transpose()
    });
    let page = page(dir.path(), &whole.context("each recording lost some")??)?;
    let size = fs::metadata(&page)?.len();
    ensure!(size < 12 << 20, "the page has {size} bytes");
    let mut browser = Browser::start()?;
    browser.look(1280, 1000, false, false)?;
    browser.open(&page)?;
    let ready = ready(&mut browser)?;
    let all = tile(&mut browser, "calls")?;
    ensure!(
        all > CALLS && browser.text("document.getElementById('picture').dataset.calls")? == all.to_string()
    );
    ensure!(ready < 20_000, "drawn after {ready} ms");
    // Far above what it takes; a machine that does other things too may be slower once, and not each time.
    let mut all = Vec::new();
    let smooth = (0..3).find_map(|_| match frames(&mut browser) {
        Ok((middle, longest)) if middle < 100.0 && longest < 1_000.0 => Some(Ok(())),
        Ok(times) => {
            all.push(times);
            None
        }
        Err(why) => Some(Err(why)),
    });
    println!("{size} bytes, drawn after {ready} ms; slow frames, the middle and the longest, in ms: {all:?}");
    smooth.with_context(|| format!("{all:?}"))??;
    ensure!(browser.text("document.querySelectorAll('#thinned').length")? == "0");
    quiet(&mut browser)
}
