//! The hook as a real runtime runs it: with runc, for a container of the host's own programs. Needs root and runc.

use std::{
    fs,
    os::unix::fs::{MetadataExt, symlink},
    path::Path,
    process::{Command, Output},
};

use serde_json::{Value, json};
use tracer_hook::protocol::{Reply, Request};

use crate::{HOOK, RECEIPT, daemon::Directory};

/// Runs a bundle with the hook at createRuntime and poststop; the container prints its namespaces.
fn run(dir: &Directory, id: &str, on_failure: &str) -> Output {
    assert!(
        rustix::process::geteuid().is_root(),
        "this test runs containers: run it as root"
    );
    let bundle = tempfile::tempdir().unwrap();
    let spec = Command::new("runc")
        .args(["spec", "-b"])
        .arg(bundle.path())
        .status();
    assert!(
        spec.is_ok_and(|status| status.success()),
        "this test runs runc: install it (apt-get install runc) and see that 'runc spec' works"
    );
    let config = bundle.path().join("config.json");
    let mut spec: Value = serde_json::from_slice(&fs::read(&config).unwrap()).unwrap();
    let rootfs = bundle.path().join("rootfs");
    for name in ["proc", "sys", "dev"] {
        fs::create_dir_all(rootfs.join(name)).unwrap();
    }
    // The host's own programs, read-only: no image is needed.
    for name in ["usr", "bin", "lib", "lib64"] {
        let (host, inside) = (Path::new("/").join(name), rootfs.join(name));
        if let Ok(target) = fs::read_link(&host) {
            symlink(target, inside).unwrap();
        } else if host.is_dir() {
            fs::create_dir(&inside).unwrap();
            let mount =
                json!({"destination": host, "type": "bind", "source": host, "options": ["rbind", "ro"]});
            spec["mounts"].as_array_mut().unwrap().push(mount);
        }
    }
    spec["process"]["terminal"] = json!(false);
    spec["process"]["args"] = json!(["/bin/readlink", "/proc/self/ns/pid", "/proc/self/ns/mnt"]);
    // The committed snippet, with this build's program and this test's directory.
    let snippet: Value = serde_json::from_str(include_str!("../../oci/bundle-hooks.json")).unwrap();
    spec["annotations"] = snippet["annotations"].clone();
    spec["hooks"] = snippet["hooks"].clone();
    for stage in ["createRuntime", "poststop"] {
        let hook = &mut spec["hooks"][stage][0];
        hook["path"] = json!(HOOK);
        let options = [
            json!("--on-failure"),
            json!(on_failure),
            json!("--runtime-dir"),
            json!(dir.path()),
        ];
        hook["args"].as_array_mut().unwrap().extend(options);
    }
    fs::write(&config, spec.to_string()).unwrap();
    let state = tempfile::tempdir().unwrap();
    let mut runc = Command::new("runc");
    runc.arg("--root")
        .arg(state.path())
        .args(["run", "-b"])
        .arg(bundle.path())
        .arg(id);
    runc.stdin(std::process::Stdio::null()).output().unwrap()
}

fn succeeded(output: &Output) -> String {
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout.clone()).unwrap()
}

#[test]
fn without_a_daemon_the_container_runs_and_is_noted() {
    let dir = Directory::new();
    assert!(succeeded(&run(&dir, "tracer-hook-continue", "continue")).starts_with("pid:["));
    let markers = dir.markers();
    assert_eq!(markers.len(), 1);
    assert_eq!(markers[0].id, "tracer-hook-continue");
    let own = fs::metadata("/proc/self/ns/mnt").unwrap().ino();
    assert!(markers[0].mnt_ns.is_some_and(|inode| inode != own) && markers[0].pid_ns.is_some());
    assert!(markers[0].reason.starts_with("no daemon listens on"));
}

#[test]
fn without_a_daemon_the_container_does_not_run_when_it_must_not() {
    let dir = Directory::new();
    let output = run(&dir, "tracer-hook-block", "block");
    assert!(!output.status.success() && output.stdout.is_empty());
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(
        stderr.contains("no daemon listens on"),
        "runc shows what the hook said: {stderr}"
    );
    assert!(dir.markers().is_empty());
}

#[test]
fn the_namespaces_that_are_passed_are_the_containers() {
    let dir = Directory::new();
    let daemon = dir.daemon(|mut peer| {
        let (request, [_, pid_ns, mnt_ns]) = peer.registered();
        assert!(matches!(request, Request::Register { id, .. } if id == "tracer-hook-ready"));
        peer.challenge(7);
        peer.say(&Reply::Ready { receipt: RECEIPT });
        let inode = |fd| rustix::fs::fstat(fd).unwrap().st_ino;
        format!("pid:[{}]\nmnt:[{}]\n", inode(pid_ns), inode(mnt_ns))
    });
    let printed = succeeded(&run(&dir, "tracer-hook-ready", "block"));
    assert_eq!(printed, daemon.join().unwrap());
}
