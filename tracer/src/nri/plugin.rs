//! What the plugin answers to the runtime: which containers get our hook, and which run already and ask for tracing.
//! Pure but for one look whether the hook's program is there. It never answers CreateContainer with an error, since
//! that fails the container: what cannot be done is an empty answer, and a line in the log.

use std::{
    collections::{BTreeMap, HashMap},
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use prost::Message;
use tracer_hook::annotations::{self, LABELS, TRACE};

use super::api::{
    CREATE_CONTAINER, CREATED, ConfigureRequest, ConfigureResponse, Container, ContainerAdjustment,
    CreateContainerRequest, CreateContainerResponse, Hook, Hooks, OptionalInt, PAUSED, PLUGIN_SERVICE,
    PodSandbox, RUNNING, Request, Response, Status, SynchronizeRequest, SynchronizeResponse, UNIMPLEMENTED,
};
use crate::log::note;

/// Annotations of ours, which a Pod's containers inherit.
const OURS: &str = "container-tracer.io/";

/// Seconds that the runtime gives the hook. The hook gives itself one, and a runtime that loses patience fails the
/// container: far more than a busy machine needs.
const HOOK_TIMEOUT: i64 = 10;

/// Pods and containers of one synchronization that are looked at.
const MAX_KNOWN: usize = 1 << 16;

/// A container that ran before the plugin did, and asks to be traced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Running {
    pub id: String,
    pub pid: u32,
    /// As the hook would tell them.
    pub annotations: BTreeMap<String, String>,
}

/// What a call came to.
#[derive(Debug, PartialEq)]
pub(super) struct Answer {
    pub response: Response,
    /// The runtime has told all that runs: those that ask to be traced.
    pub running: Option<Vec<Running>>,
}

/// The plugin; one for each connection to the runtime.
pub(super) struct Plugin<'a> {
    hook: &'a Path,
    runtime_dir: &'a Path,
    own: &'a OwnPod,
    pods: HashMap<String, PodSandbox>,
    containers: Vec<Container>,
    /// The runtime has our subscription.
    pub configured: bool,
}

/// How the plugin knows the Pod that it runs in itself.
#[derive(Clone, Debug, Default)]
pub(super) struct OwnPod {
    /// Told by who started it.
    uid: Option<String>,
    /// The text of `/proc/self/cgroup`: the kubelet and the runtime name Pods and containers in it.
    cgroups: String,
}

impl OwnPod {
    pub(super) fn find(uid: Option<String>) -> Self {
        Self {
            uid: uid.filter(|uid| !uid.is_empty()),
            cgroups: fs::read_to_string("/proc/self/cgroup").unwrap_or_default(),
        }
    }

    fn is(&self, pod: &PodSandbox, container: &Container) -> bool {
        // Shorter words may stand in a path by chance; uids have 36 characters, ids 64.
        let in_cgroups = |word: &str| word.len() >= 32 && self.cgroups.contains(word);
        self.uid.as_ref().is_some_and(|uid| *uid == pod.uid)
            || in_cgroups(&pod.uid)
            || in_cgroups(&pod.uid.replace('-', "_")) // in the names of systemd's slices
            || in_cgroups(&pod.id)
            || in_cgroups(&container.id)
    }
}

impl<'a> Plugin<'a> {
    pub(super) fn new(hook: &'a Path, runtime_dir: &'a Path, own: &'a OwnPod) -> Self {
        Self {
            hook,
            runtime_dir,
            own,
            pods: HashMap::new(),
            containers: Vec::new(),
            configured: false,
        }
    }

    /// Answers one call, whatever its bytes are.
    pub(super) fn call(&mut self, request: &[u8]) -> Answer {
        let mut running = None;
        let payload = Request::decode(request)
            .context("read a request")
            .and_then(|request| self.dispatch(&request, &mut running));
        let response = match payload {
            Ok(Some(payload)) => Response {
                status: None,
                payload,
            },
            Ok(None) => Response {
                status: Some(Status {
                    code: UNIMPLEMENTED,
                    message: "not a call that this plugin subscribes to".into(),
                }),
                payload: Vec::new(),
            },
            Err(error) => {
                note(&format!("nri: answered with nothing: {error:#}"));
                Response::default()
            }
        };
        Answer { response, running }
    }

    /// The answer's bytes; `None` for a method that we have not.
    fn dispatch(&mut self, request: &Request, running: &mut Option<Vec<Running>>) -> Result<Option<Vec<u8>>> {
        if request.service != PLUGIN_SERVICE {
            return Ok(None);
        }
        let payload = request.payload.as_slice();
        Ok(Some(match request.method.as_str() {
            "Configure" => {
                let runtime = ConfigureRequest::decode(payload).context("read Configure")?;
                note(&format!(
                    "nri: registered with {:?} {:?}",
                    runtime.runtime_name, runtime.runtime_version
                ));
                self.configured = true;
                let events = CREATE_CONTAINER;
                ConfigureResponse { events }.encode_to_vec()
            }
            "Synchronize" => {
                let part = SynchronizeRequest::decode(payload).context("read Synchronize")?;
                let more = part.more;
                self.learn(part);
                if !more {
                    *running = Some(self.running());
                }
                SynchronizeResponse { more }.encode_to_vec()
            }
            "CreateContainer" => {
                let create = CreateContainerRequest::decode(payload).context("read CreateContainer")?;
                let pod = create.pod.unwrap_or_default();
                let container = create.container.unwrap_or_default();
                let adjust = self.adjust(&pod, &container);
                CreateContainerResponse { adjust }.encode_to_vec()
            }
            // Nothing to say to them; an unsubscribed runtime sends none but the first.
            "Shutdown" | "StateChange" | "UpdateContainer" | "StopContainer" => Vec::new(),
            _ => return Ok(None),
        }))
    }

    fn learn(&mut self, part: SynchronizeRequest) {
        let told = self.pods.len() + self.containers.len() + part.pods.len() + part.containers.len();
        if told > MAX_KNOWN {
            note(&format!(
                "nri: the runtime tells of more than {MAX_KNOWN} Pods and containers; those after are not attached"
            ));
            return;
        }
        let by_id = part.pods.into_iter().map(|pod| (pod.id.clone(), pod));
        self.pods.extend(by_id);
        self.containers.extend(part.containers);
    }

    /// Those of what was learned that have processes and ask to be traced. What was learned is forgotten.
    fn running(&mut self) -> Vec<Running> {
        let pods = std::mem::take(&mut self.pods);
        let nobody = PodSandbox::default();
        let mut running = Vec::new();
        for container in std::mem::take(&mut self.containers) {
            let pod = pods.get(&container.pod_sandbox_id).unwrap_or(&nobody);
            let lives = matches!(container.state, CREATED | PAUSED | RUNNING);
            if !lives || !self.wants(pod, &container) {
                continue;
            }
            let mut told = container.annotations.clone();
            told.extend(carried(pod, &container));
            running.push(Running {
                annotations: annotations::useful(&told),
                pid: container.pid,
                id: container.id,
            });
        }
        running
    }

    /// What is to be changed of a new container.
    fn adjust(&self, pod: &PodSandbox, container: &Container) -> Option<ContainerAdjustment> {
        if !self.wants(pod, container) {
            return None;
        }
        let mut annotations = carried(pod, container);
        // Those that are there need no claim, and two plugins' claims to one annotation fail the container.
        annotations.retain(|key, value| container.annotations.get(key) != Some(value));
        if self.has_hook(container) {
            // It still looks for the annotation, which the Pod may have alone.
            let adjust = ContainerAdjustment {
                annotations,
                hooks: None,
            };
            return (!adjust.annotations.is_empty()).then_some(adjust);
        }
        if !is_program(self.hook) {
            // The runtime would fail the container.
            note(&format!(
                "nri: container {:?} is not traced: the hook {} is no program here; install it, or give --hook",
                container.id,
                self.hook.display()
            ));
            return None;
        }
        let hook = |stage: &str| {
            vec![Hook {
                path: self.hook.display().to_string(),
                args: vec![
                    "tracer-hook".into(),
                    "--runtime-dir".into(),
                    self.runtime_dir.display().to_string(),
                    stage.into(),
                ],
                env: Vec::new(),
                timeout: Some(OptionalInt { value: HOOK_TIMEOUT }),
            }]
        };
        Some(ContainerAdjustment {
            annotations,
            hooks: Some(Hooks {
                prestart: Vec::new(),
                create_runtime: hook("createRuntime"),
                poststop: hook("poststop"),
            }),
        })
    }

    /// Whether the container asks to be traced, and may be.
    fn wants(&self, pod: &PodSandbox, container: &Container) -> bool {
        // The container's own word, where it has one, is nearer than its Pod's.
        let asked = container.annotations.get(TRACE).or(pod.annotations.get(TRACE));
        asked.is_some_and(|value| value == "true")
            && !is_sandbox(pod, container)
            && !self.own.is(pod, container)
    }

    /// Somebody has put our hook in already: the base specification, or another of us.
    fn has_hook(&self, container: &Container) -> bool {
        let hooks = container.hooks.iter();
        let name = self.hook.file_name();
        hooks
            .flat_map(|hooks| hooks.create_runtime.iter().chain(&hooks.prestart))
            .any(|hook| Path::new(&hook.path).file_name() == name)
    }
}

/// The Pod's sandbox (pause), where a runtime tells of it as of a container.
fn is_sandbox(pod: &PodSandbox, container: &Container) -> bool {
    (!container.id.is_empty() && container.id == pod.id) || annotations::is_sandbox(&container.annotations)
}

/// The annotations that the hook must find on the container: ours, the container's before its Pod's, and who it is,
/// where the runtime does not say so itself.
fn carried(pod: &PodSandbox, container: &Container) -> BTreeMap<String, String> {
    let of = |all: &BTreeMap<String, String>| {
        let ours = all.iter().filter(|(key, _)| key.starts_with(OURS));
        ours.map(|(key, value)| (key.clone(), value.clone()))
            .collect::<Vec<_>>()
    };
    let mut carried: BTreeMap<_, _> = of(&pod.annotations).into_iter().collect();
    carried.extend(of(&container.annotations));
    let mut labels = pod.labels.clone();
    labels.retain(|key, _| !key.starts_with("io.cri-containerd.")); // containerd's notes for itself
    if !labels.is_empty()
        && !carried.contains_key(LABELS)
        && let Ok(labels) = serde_json::to_string(&labels)
    {
        carried.insert(LABELS.to_owned(), labels);
    }
    for (ours, theirs, value) in [
        (
            "io.kubernetes.pod.name",
            "io.kubernetes.cri.sandbox-name",
            &pod.name,
        ),
        (
            "io.kubernetes.pod.namespace",
            "io.kubernetes.cri.sandbox-namespace",
            &pod.namespace,
        ),
        ("io.kubernetes.pod.uid", "io.kubernetes.cri.sandbox-uid", &pod.uid),
        (
            "io.kubernetes.container.name",
            "io.kubernetes.cri.container-name",
            &container.name,
        ),
    ] {
        let said = |key| container.annotations.contains_key(key);
        if !value.is_empty() && !said(ours) && !said(theirs) {
            carried.insert(ours.to_owned(), value.clone());
        }
    }
    annotations::useful(&carried)
}

fn is_program(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0)
}

/// An absolute path, since the runtime starts the hook from another directory than ours.
pub(super) fn absolute(path: &Path) -> Result<PathBuf> {
    std::path::absolute(path).with_context(|| format!("find {}", path.display()))
}

#[cfg(test)]
mod tests;
