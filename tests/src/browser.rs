//! A headless Chromium that shows a page, driven over its DevTools protocol on two pipes (--remote-debugging-pipe:
//! messages of JSON, a NUL after each): so the tests need no port and no WebSocket.

use crate::{programs, wait};
use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};
use std::{
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Child, ChildStdin, ChildStdout, Stdio},
};
use tempfile::TempDir;

/// A running browser with one page.
pub struct Browser {
    child: Child,
    to: ChildStdin,
    from: BufReader<ChildStdout>,
    session: Option<String>,
    last: u64,
    /// What it told without being asked.
    told: Vec<Value>,
    /// Its profile.
    _dir: TempDir,
}

impl Browser {
    /// Starts one.
    pub fn start() -> Result<Self> {
        let dir = tempfile::Builder::new().prefix("tt-browser-").tempdir()?;
        // The shell puts the pipes where the browser looks for them. Tests run as root, where its sandbox refuses to.
        let mut child = programs::command("sh")
            .args([
                "-c",
                "exec chromium --headless --no-sandbox --disable-gpu --hide-scrollbars --no-first-run \
                 --remote-debugging-pipe --user-data-dir=\"$0\" about:blank 3<&0 4>&1 >/dev/null 2>\"$0/log\"",
            ])
            .arg(dir.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("start chromium")?;
        let to = child.stdin.take().context("no pipe")?;
        let from = BufReader::new(child.stdout.take().context("no pipe")?);
        let mut browser = Self {
            child,
            to,
            from,
            session: None,
            last: 0,
            told: Vec::new(),
            _dir: dir,
        };
        let targets = browser.ask("Target.getTargets", json!({}))?;
        let page = targets["targetInfos"]
            .as_array()
            .and_then(|all| all.iter().find(|target| target["type"] == "page"))
            .context("the browser has no page")?;
        let attach = json!({"targetId": page["targetId"], "flatten": true});
        let attached = browser.ask("Target.attachToTarget", attach)?;
        browser.session = attached["sessionId"].as_str().map(str::to_owned);
        for domain in ["Page", "Runtime", "Log", "Network"] {
            browser.ask(&format!("{domain}.enable"), json!({}))?;
        }
        Ok(browser)
    }

    /// Asks, and waits for the answer.
    pub fn ask(&mut self, method: &str, params: Value) -> Result<Value> {
        self.last += 1;
        let mut request = json!({"id": self.last, "method": method, "params": params});
        if let Some(session) = &self.session {
            request["sessionId"] = json!(session);
        }
        let mut bytes = serde_json::to_vec(&request)?;
        bytes.push(0);
        self.to.write_all(&bytes)?;
        self.to.flush()?;
        loop {
            let mut message = Vec::new();
            self.from.read_until(0, &mut message)?;
            ensure!(message.pop() == Some(0), "{method}: the browser has ended");
            let message: Value = serde_json::from_slice(&message)?;
            if message["id"] != json!(self.last) {
                self.told.push(message);
                continue;
            }
            if let Some(error) = message.get("error") {
                bail!("{method}: {error}");
            }
            return Ok(message["result"].clone());
        }
    }

    /// The value of an expression, a promise's when it has one.
    pub fn value(&mut self, expression: &str) -> Result<Value> {
        let asked = json!({"expression": expression, "awaitPromise": true, "returnByValue": true});
        let answer = self.ask("Runtime.evaluate", asked)?;
        if let Some(error) = answer.get("exceptionDetails") {
            bail!("{expression}: {error}");
        }
        Ok(answer["result"]["value"].clone())
    }

    /// The same as text.
    pub fn text(&mut self, expression: &str) -> Result<String> {
        let value = self.value(expression)?;
        Ok(value.as_str().map_or_else(|| value.to_string(), str::to_owned))
    }

    /// A window of that size, of a phone or not; dark or light.
    pub fn look(&mut self, width: u32, height: u32, phone: bool, dark: bool) -> Result<()> {
        let size = json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": phone});
        self.ask("Emulation.setDeviceMetricsOverride", size)?;
        let scheme = if dark { "dark" } else { "light" };
        let features = json!({"features": [{"name": "prefers-color-scheme", "value": scheme}]});
        self.ask("Emulation.setEmulatedMedia", features)?;
        Ok(())
    }

    /// Opens a file, and waits until it is there.
    pub fn open(&mut self, file: &Path) -> Result<()> {
        self.ask(
            "Page.navigate",
            json!({"url": format!("file://{}", file.display())}),
        )?;
        wait::until("the page", wait::LONG, || {
            let state = self.text("location.protocol + document.readyState")?;
            Ok((state == "file:complete").then_some(()))
        })
    }

    /// A picture of what the window shows, as PNG in base64.
    pub fn picture(&mut self) -> Result<String> {
        let shot = self.ask("Page.captureScreenshot", json!({"format": "png"}))?;
        Ok(shot["data"].as_str().context("no picture")?.to_owned())
    }

    /// Presses a key that is one character.
    pub fn press(&mut self, key: &str) -> Result<()> {
        self.ask(
            "Input.dispatchKeyEvent",
            json!({"type": "keyDown", "key": key, "text": key}),
        )?;
        self.ask("Input.dispatchKeyEvent", json!({"type": "keyUp", "key": key}))?;
        Ok(())
    }

    /// Errors of scripts, refusals of the page's policy, whatever stands in the console; and what was asked of any
    /// network.
    pub fn complaints(&mut self) -> Vec<String> {
        let told = self.told.iter().filter(|event| match event["method"].as_str() {
            Some("Runtime.exceptionThrown" | "Runtime.consoleAPICalled" | "Log.entryAdded") => true,
            Some("Network.requestWillBeSent") => {
                let url = event["params"]["request"]["url"].as_str().unwrap_or_default();
                !url.starts_with("file:") && !url.starts_with("data:")
            }
            Some("Page.javascriptDialogOpening") => true,
            _ => false,
        });
        told.map(Value::to_string).collect()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ended = self.ask("Browser.close", json!({}));
        if wait::exit(&mut self.child, "chromium", wait::LONG).is_err() {
            let _ended = self.child.kill();
            let _status = self.child.wait();
        }
    }
}
