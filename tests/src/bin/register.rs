//! Registers a process as a container with a daemon, as another user and with descriptors that root opened: what
//! somebody could do who was given them. Prints the daemon's answer.
//!
//! Usage: register RUNTIME-DIR ID PID UID

use std::{
    collections::BTreeMap,
    error::Error,
    path::Path,
    time::{Duration, Instant},
};

use tracer_hook::{
    client::{self, Registration},
    identity::Init,
    socket_path,
};

fn main() -> Result<(), Box<dyn Error>> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [dir, id, pid, uid] = words.as_slice() else {
        return Err("usage: register RUNTIME-DIR ID PID UID".into());
    };
    let registration = Registration {
        id: id.clone(),
        bundle: String::new(),
        annotations: BTreeMap::new(),
        init: Init::open(pid.parse()?)?,
        late: false,
    };
    let uid: libc::uid_t = uid.parse()?;
    // SAFETY: takes three numbers; this program has one thread.
    if unsafe { libc::setresuid(uid, uid, uid) } != 0 {
        return Err(std::io::Error::last_os_error().into());
    }
    let deadline = Instant::now() + Duration::from_secs(30);
    match client::register(&socket_path(Path::new(dir)), &registration, deadline) {
        Ok(_receipt) => println!("ready"),
        Err(error) => println!("{error}"),
    }
    Ok(())
}
