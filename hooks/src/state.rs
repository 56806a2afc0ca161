//! The OCI runtime's state of a container, as it comes on a hook's standard input.
//!
//! It reads what the specification says and forgives what runtimes do (`docs/hook.md`, "What runtimes send"); it
//! decides nothing. Source: <https://github.com/opencontainers/runtime-spec/blob/v1.2.1/runtime.md#state>.

use std::{collections::BTreeMap, fmt, os::fd::AsFd, time::Instant};

use rustix::io::Errno;
use serde::Deserialize;

use crate::client::{self, Wait};

/// Bytes of a state that are read; a longer one is refused.
pub const MAX_STATE: usize = 1 << 20;

/// What the hook needs of the state. An absent or null field is its default: runc leaves out `annotations` when
/// there are none and `pid` at poststop, crun writes pid 0 there. The status is text, because crun has one
/// (`starting`) that the specification has not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct State {
    /// The container's id; check it with [`crate::protocol::check_id`].
    pub id: String,
    /// `creating`, `created`, `running`, `stopped`, or a runtime's own.
    pub status: String,
    /// Init in the runtime's PID namespace; 0 where there is none.
    pub pid: i64,
    /// Path of the bundle.
    pub bundle: String,
    /// All annotations.
    pub annotations: BTreeMap<String, String>,
}

/// Why there is no state.
#[derive(Debug)]
pub enum StateError {
    /// It did not end in time.
    Timeout,
    /// More than [`MAX_STATE`] bytes.
    TooLong,
    /// Not a byte.
    Empty,
    /// Not the JSON object that it should be.
    Malformed(serde_json::Error),
    /// Standard input could not be read.
    Io(Errno),
}

impl fmt::Display for StateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Timeout => write!(
                f,
                "state on standard input did not end in time: it ends when the runtime closes its pipe; \
                 raise --timeout if the machine is that slow"
            ),
            Self::TooLong => {
                write!(
                    f,
                    "state on standard input is longer than {MAX_STATE} bytes: give the container fewer annotations"
                )
            }
            Self::Empty => {
                write!(
                    f,
                    "state on standard input is empty: let an OCI runtime call this hook, or pipe the state to it"
                )
            }
            Self::Malformed(why) => {
                write!(
                    f,
                    "state on standard input is no OCI state ({why}): report it with the runtime's version"
                )
            }
            Self::Io(errno) => write!(
                f,
                "state on standard input cannot be read ({errno}): let an OCI runtime call this hook, or pipe the \
                 state to it"
            ),
        }
    }
}

impl std::error::Error for StateError {}

/// Reads standard input to its end. What is beyond [`MAX_STATE`] is read and thrown away: a runtime that writes into
/// a closed pipe could take the SIGPIPE or EPIPE for a failed hook.
pub fn read(input: impl AsFd, deadline: Instant) -> Result<Vec<u8>, StateError> {
    let mut text = Vec::new();
    let mut buffer = [0; 16 * 1024];
    let mut too_long = false;
    loop {
        match client::wait(&input, Wait::Read, deadline) {
            Ok(true) => {}
            Ok(false) => return Err(StateError::Timeout),
            Err(errno) => return Err(StateError::Io(errno)),
        }
        match rustix::io::read(&input, &mut buffer) {
            Ok(0) if too_long => return Err(StateError::TooLong),
            Ok(0) => return Ok(text),
            Ok(n) if too_long || text.len() + n > MAX_STATE => too_long = true,
            Ok(n) => text.extend_from_slice(buffer.get(..n).unwrap_or_default()),
            Err(Errno::INTR | Errno::AGAIN) => {}
            Err(errno) => return Err(StateError::Io(errno)),
        }
    }
}

/// Parses a state. Whatever the bytes, it returns.
pub fn parse(text: &[u8]) -> Result<State, StateError> {
    #[derive(Deserialize)]
    struct Json {
        id: Option<String>,
        status: Option<String>,
        pid: Option<i64>,
        bundle: Option<String>,
        annotations: Option<BTreeMap<String, String>>,
    }
    if text.is_empty() {
        return Err(StateError::Empty);
    }
    let json: Json = serde_json::from_slice(text).map_err(StateError::Malformed)?;
    Ok(State {
        id: json.id.unwrap_or_default(),
        status: json.status.unwrap_or_default(),
        pid: json.pid.unwrap_or_default(),
        bundle: json.bundle.unwrap_or_default(),
        annotations: json.annotations.unwrap_or_default(),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_runc_and_crun_write_is_read() {
        let runc = br#"{"ociVersion":"1.0.2-dev","id":"a","status":"creating","pid":4711,"bundle":"/b"}"#;
        assert_eq!(
            parse(runc).unwrap(),
            State {
                id: "a".into(),
                status: "creating".into(),
                pid: 4711,
                bundle: "/b".into(),
                ..State::default()
            }
        );
        let crun = b"{\n  \"ociVersion\": \"1.0\",\n  \"id\": \"a\",\n  \"pid\": 0,\n  \"root\": \"\\/r\",\n  \
            \"bundle\": \"\\/b\",\n  \"status\": \"starting\",\n  \"annotations\": {\n    \"k\": \"v\"\n  }\n}\n";
        let state = parse(crun).unwrap();
        assert_eq!(
            (state.pid, state.bundle.as_str(), state.status.as_str()),
            (0, "/b", "starting")
        );
        assert_eq!(state.annotations.get("k").map(String::as_str), Some("v"));
        assert_eq!(
            parse(br#"{"id":"a","annotations":null,"pid":null}"#).unwrap().pid,
            0
        );
    }

    #[test]
    fn the_specifications_own_types_are_read() {
        let state = oci_spec::runtime::StateBuilder::default()
            .version("1.2.1")
            .id("web")
            .status(oci_spec::runtime::ContainerState::Created)
            .pid(7)
            .bundle("/b")
            .annotations(std::collections::HashMap::from([(
                "k".to_owned(),
                "v".to_owned(),
            )]))
            .build()
            .unwrap();
        let read = parse(&serde_json::to_vec(&state).unwrap()).unwrap();
        assert_eq!(
            (read.id.as_str(), read.status.as_str(), read.pid),
            ("web", "created", 7)
        );
        assert_eq!(read.annotations.len(), 1);
    }

    #[test]
    fn what_is_no_state_is_said() {
        assert!(matches!(parse(b""), Err(StateError::Empty)));
        for text in [
            &b"\n"[..],
            b"nonsense",
            b"[]",
            b"{\"id\":",
            b"{\"id\":7}",
            b"\xff\xfe",
            b"{} {}",
        ] {
            assert!(
                matches!(parse(text), Err(StateError::Malformed(_))),
                "{}",
                String::from_utf8_lossy(text)
            );
        }
        assert!(
            parse("[".repeat(MAX_STATE).as_bytes()).is_err(),
            "deep nesting ends in an error"
        );
    }

    proptest! {
        #[test]
        fn any_bytes_are_parsed_or_refused(text in proptest::collection::vec(any::<u8>(), 0..300)) {
            parse(&text).ok();
        }
    }
}
