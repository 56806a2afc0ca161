//! containerd through CRI, as the kubelet drives it.

use anyhow::Result;
use tracer_tests::{
    containerd::{BUSYBOX, Containerd},
    cri::Pod,
};

#[test]
fn a_pod_runs_without_us() -> Result<()> {
    let mut containerd = Containerd::new()?;
    let cri = containerd.start()?;
    let pod = cri.pod(Pod::new("plain"))?;
    pod.run("c", BUSYBOX, &["/bin/echo", "hello"])?;
    assert_eq!(pod.log("c")?, "hello\n");
    Ok(())
}
