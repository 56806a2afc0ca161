//! A small client of Kubernetes' Container Runtime Interface: Pods and containers, as the kubelet makes them.
//!
//! The calls are made by `cri.py` with Debian's python3-grpcio; `cri.proto` has the messages.

use crate::{programs, wait};
use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use std::{
    fs,
    path::{Path, PathBuf},
};
use tempfile::TempDir;

/// Debian's own, which has the modules; another one may come first in `PATH`.
const PYTHON: &str = "/usr/bin/python3";

/// A CRI server.
pub struct Cri {
    socket: PathBuf,
    dir: TempDir,
}

impl Cri {
    /// The server at that socket; it need not be there yet.
    pub fn new(socket: &Path) -> Result<Self> {
        let dir = tempfile::Builder::new().prefix("tt-cri-").tempdir()?;
        fs::write(dir.path().join("cri.proto"), include_str!("cri.proto"))?;
        fs::write(dir.path().join("cri.py"), include_str!("cri.py"))?;
        programs::success(
            programs::command("protoc")
                .current_dir(dir.path())
                .args(["--descriptor_set_out=descriptors", "cri.proto"]),
        )?;
        Ok(Self {
            socket: socket.to_owned(),
            dir,
        })
    }

    /// One call: the method's name, its request and its reply as JSON with the names of the `.proto` file.
    pub fn call(&self, method: &str, request: &Value) -> Result<Value> {
        let mut command = programs::command(PYTHON);
        command
            .current_dir(self.dir.path())
            .args(["cri.py", "descriptors"]);
        command.arg(&self.socket).arg(method);
        let out = programs::output_with(&mut command, request.to_string().as_bytes())?;
        ensure!(
            out.status.success(),
            "{method} {request}\n{}",
            programs::both(&out)
        );
        Ok(serde_json::from_slice(&out.stdout)?)
    }

    /// Runs a Pod's sandbox. It uses the host's network, so nothing need be set up for it.
    pub fn pod(&self, pod: Pod) -> Result<RunningPod<'_>> {
        let id = crate::unique_id(&pod.name);
        let logs = self.dir.path().join(&id);
        fs::create_dir(&logs)?;
        let config = json!({
            "metadata": {"name": pod.name, "namespace": pod.namespace, "uid": id, "attempt": 1},
            "log_directory": logs,
            "annotations": pod.annotations,
            "labels": pod.labels,
            "linux": {"security_context": {"namespace_options": pod.namespaces()}},
        });
        let request = json!({"config": config, "runtime_handler": pod.handler});
        let reply = self.call("RunPodSandbox", &request)?;
        Ok(RunningPod {
            cri: self,
            id: id_of(&reply, "pod_sandbox_id")?,
            uid: id,
            pod,
            config,
            logs,
        })
    }
}

/// What a Pod is to be.
#[derive(Clone, Debug)]
pub struct Pod {
    pub name: String,
    pub namespace: String,
    /// Name of the runtime handler; empty is the default one.
    pub handler: String,
    pub annotations: Value,
    pub labels: Value,
    /// Its containers share one PID namespace.
    pub shares_pid_namespace: bool,
}

impl Pod {
    pub fn new(name: &str) -> Self {
        Self {
            name: name.into(),
            namespace: "default".into(),
            handler: String::new(),
            annotations: json!({}),
            labels: json!({}),
            shares_pid_namespace: false,
        }
    }

    /// With the annotation that turns tracing on.
    pub fn traced(mut self) -> Self {
        self.annotations["container-tracer.io/trace"] = json!("true");
        self
    }

    fn namespaces(&self) -> Value {
        let pid = if self.shares_pid_namespace {
            "POD"
        } else {
            "CONTAINER"
        };
        json!({"network": "NODE", "pid": pid})
    }
}

/// A Pod whose sandbox runs; it is removed, with its containers, when this is dropped.
pub struct RunningPod<'a> {
    cri: &'a Cri,
    /// The sandbox's id.
    pub id: String,
    /// The Pod's uid.
    pub uid: String,
    pod: Pod,
    config: Value,
    logs: PathBuf,
}

impl RunningPod<'_> {
    /// Makes a container in it, and does not start it; its id.
    pub fn create(&self, name: &str, image: &str, args: &[&str]) -> Result<String> {
        let config = json!({
            "metadata": {"name": name},
            "image": {"image": image},
            "command": args,
            "log_path": format!("{name}.log"),
            // The kubelet repeats none of the Pod's.
            "annotations": {},
            "linux": {"security_context": {"namespace_options": self.pod.namespaces()}},
        });
        let request = json!({"pod_sandbox_id": self.id, "config": config, "sandbox_config": self.config});
        id_of(&self.cri.call("CreateContainer", &request)?, "container_id")
    }

    pub fn start(&self, container: &str) -> Result<()> {
        self.cri
            .call("StartContainer", &json!({"container_id": container}))
            .map(|_| ())
    }

    /// Waits for a container's end; its exit code.
    pub fn exit_code(&self, container: &str) -> Result<i64> {
        wait::until(&format!("the end of {container}"), wait::LONG, || {
            let reply = self
                .cri
                .call("ContainerStatus", &json!({"container_id": container}))?;
            let status = &reply["status"];
            let ended = status["state"] == "CONTAINER_EXITED";
            Ok(ended.then(|| status["exit_code"].as_i64()).flatten())
        })
    }

    /// Makes a container, runs it to its end, and expects success; its id.
    pub fn run(&self, name: &str, image: &str, args: &[&str]) -> Result<String> {
        let id = self.create(name, image, args)?;
        self.start(&id)?;
        let code = self.exit_code(&id)?;
        ensure!(code == 0, "{name} ends with {code}: {}", self.log(name)?);
        Ok(id)
    }

    /// Runs a command in a container; what it printed.
    pub fn exec(&self, container: &str, args: &[&str]) -> Result<Value> {
        let request = json!({"container_id": container, "cmd": args, "timeout": 30});
        self.cri.call("ExecSync", &request)
    }

    /// Lines of a container's log, without the time and stream before each.
    pub fn log(&self, name: &str) -> Result<String> {
        let path = self.logs.join(format!("{name}.log"));
        let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        let lines = text
            .lines()
            .map(|line| line.splitn(4, ' ').nth(3).unwrap_or_default());
        Ok(lines.map(|line| format!("{line}\n")).collect())
    }
}

impl Drop for RunningPod<'_> {
    fn drop(&mut self) {
        let request = json!({"pod_sandbox_id": self.id});
        for method in ["StopPodSandbox", "RemovePodSandbox"] {
            if let Err(why) = self.cri.call(method, &request) {
                eprintln!("{why:#}");
            }
        }
    }
}

fn id_of(reply: &Value, name: &str) -> Result<String> {
    let id = reply[name].as_str().filter(|id| !id.is_empty());
    Ok(id.with_context(|| format!("no {name} in {reply}"))?.to_owned())
}
