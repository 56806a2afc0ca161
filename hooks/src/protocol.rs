//! The messages between hook and daemon: their form, their limits, their version. Pure: bytes in, values out.
//!
//! One JSON object a line. It knows nothing of sockets; who may say what is the daemon's decision, not the form's.

use std::{collections::BTreeMap, fmt};

use serde::{Deserialize, Serialize};

/// Version of the protocol, the `v` of every request. Fields may be added within a version, and a reader ignores
/// those it does not know.
pub const VERSION: u32 = 1;

/// Bytes in one message, its newline included. A longer one ends the connection.
pub const MAX_MESSAGE: usize = 64 * 1024;

/// Bytes in a container's id.
pub const MAX_ID: usize = 1024;

/// Bytes in a bundle's path: the kernel's PATH_MAX.
pub const MAX_BUNDLE: usize = 4096;

/// File descriptors that come with `register`, in this order: pidfd of the container's init, its PID namespace, its
/// mount namespace.
pub const REGISTER_FDS: usize = 3;

/// What the hook says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "snake_case")]
pub enum Request {
    /// Trace this container. The identity is in the [`REGISTER_FDS`] descriptors of the same sendmsg(2), never here.
    Register {
        /// [`VERSION`].
        v: u32,
        /// The runtime's id, as [`check_id`] wants it.
        id: String,
        /// The bundle's path, at most [`MAX_BUNDLE`] bytes; where the hook ran, not necessarily where the daemon runs.
        bundle: String,
        /// The subset of [`crate::annotations::useful`].
        #[serde(default)]
        annotations: BTreeMap<String, String>,
        /// It runs already, so its beginning was missed and its trace is never called complete.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        late: bool,
    },
    /// The call with the nonce was made.
    Proved {
        /// [`VERSION`].
        v: u32,
    },
    /// The container was deleted (poststop).
    Gone {
        /// [`VERSION`].
        v: u32,
        /// The id that it was registered with.
        id: String,
    },
}

/// What the daemon says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "snake_case")]
pub enum Reply {
    /// The filter entry is written and read back. Now call lseek(-1, nonce, SEEK_SET), then say `proved`.
    Challenge {
        /// 0 to 2^63-1, a decimal string in JSON: a number would lose bits in readers that hold it as a double.
        #[serde(with = "decimal")]
        nonce: u64,
    },
    /// The container is traced, and the proof came out of the ring buffer.
    Ready {
        /// When and how fast.
        receipt: Receipt,
    },
    /// The container is not traced.
    Refused {
        /// Why, for people: lower case, with what to do next. Any text; escape it before a terminal sees it.
        reason: String,
    },
    /// The answer to `gone`.
    Ok,
}

/// The daemon's word that nothing from here on is missed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    /// CLOCK_MONOTONIC nanoseconds when the filter entry had been written and read back.
    pub armed_at_ns: u64,
    /// Nanoseconds from the challenge's sending until its event came out of the ring buffer.
    pub round_trip_ns: u64,
    /// The container had been registered before (prestart and createRuntime are both wired, say).
    pub already: bool,
}

/// What is wrong with a message, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProtocolError {
    /// More than [`MAX_MESSAGE`] bytes, newline included.
    TooLong,
    /// No JSON object, or a field is missing or of a wrong type.
    Malformed(String),
    /// The version is not [`VERSION`].
    Version(u32),
    /// There is no such request.
    UnknownOp(String),
    /// See [`check_id`].
    Id(IdError),
    /// The bundle's path has this many bytes, more than [`MAX_BUNDLE`].
    BundleTooLong(usize),
    /// The nonce is above 2^63-1, which lseek(2) cannot carry.
    Nonce(u64),
}

impl fmt::Display for ProtocolError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong => {
                write!(
                    f,
                    "message is longer than {MAX_MESSAGE} bytes: send one JSON object and a newline"
                )
            }
            Self::Malformed(why) => {
                write!(
                    f,
                    "message is malformed ({why}): send one JSON object a line, as docs/hook.md says"
                )
            }
            Self::Version(v) => write!(
                f,
                "protocol version {v} is not {VERSION}: install tracer-hook and tracer of the same release"
            ),
            Self::UnknownOp(op) => {
                write!(
                    f,
                    "request {op:?} is unknown: version {VERSION} has register, proved and gone"
                )
            }
            Self::Id(error) => error.fmt(f),
            Self::BundleTooLong(len) => write!(
                f,
                "bundle path has {len} bytes, more than {MAX_BUNDLE}: start the container from a shorter path"
            ),
            Self::Nonce(nonce) => {
                write!(
                    f,
                    "nonce {nonce} is above 2^63-1: install tracer-hook and tracer of the same release"
                )
            }
        }
    }
}

impl std::error::Error for ProtocolError {}

/// What is wrong with a container's id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IdError {
    /// It is empty or absent.
    Empty,
    /// It has this many bytes, more than [`MAX_ID`].
    TooLong(usize),
    /// It holds a control character.
    Control,
}

impl fmt::Display for IdError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => write!(
                f,
                "container id is empty: pass the state that the OCI runtime writes"
            ),
            Self::TooLong(len) => {
                write!(
                    f,
                    "container id has {len} bytes, more than {MAX_ID}: start it with a shorter id"
                )
            }
            Self::Control => {
                write!(
                    f,
                    "container id holds a control character: start it with an id of printable characters"
                )
            }
        }
    }
}

impl std::error::Error for IdError {}

/// Accepts an id of 1 to [`MAX_ID`] bytes without control characters. It may hold `/` and `..`: it is not a file
/// name.
pub fn check_id(id: &str) -> Result<(), IdError> {
    if id.is_empty() {
        Err(IdError::Empty)
    } else if id.len() > MAX_ID {
        Err(IdError::TooLong(id.len()))
    } else if id.chars().any(char::is_control) {
        Err(IdError::Control)
    } else {
        Ok(())
    }
}

/// Accepts a bundle's path of at most [`MAX_BUNDLE`] bytes; empty where a runtime does not tell it.
pub fn check_bundle(bundle: &str) -> Result<(), ProtocolError> {
    if bundle.len() > MAX_BUNDLE {
        Err(ProtocolError::BundleTooLong(bundle.len()))
    } else {
        Ok(())
    }
}

/// Reads one request, with or without its newline. Whatever the bytes, it returns.
pub fn parse_request(line: &[u8]) -> Result<Request, ProtocolError> {
    // First what cannot change from version to version, so that another version's request is told for what it is.
    #[derive(Deserialize)]
    struct Head {
        v: u32,
        op: String,
    }
    let head: Head = parse(line)?;
    if head.v != VERSION {
        return Err(ProtocolError::Version(head.v));
    }
    if !matches!(head.op.as_str(), "register" | "proved" | "gone") {
        return Err(ProtocolError::UnknownOp(head.op));
    }
    let request = parse(line)?;
    match &request {
        Request::Register { id, bundle, .. } => {
            check_id(id).map_err(ProtocolError::Id)?;
            check_bundle(bundle)?;
        }
        Request::Gone { id, .. } => check_id(id).map_err(ProtocolError::Id)?,
        Request::Proved { .. } => {}
    }
    Ok(request)
}

/// Reads one reply, with or without its newline. Whatever the bytes, it returns.
pub fn parse_reply(line: &[u8]) -> Result<Reply, ProtocolError> {
    let reply = parse(line)?;
    match reply {
        Reply::Challenge { nonce } if i64::try_from(nonce).is_err() => Err(ProtocolError::Nonce(nonce)),
        Reply::Challenge { .. } | Reply::Ready { .. } | Reply::Refused { .. } | Reply::Ok => Ok(reply),
    }
}

fn parse<T: serde::de::DeserializeOwned>(line: &[u8]) -> Result<T, ProtocolError> {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    if line.len() >= MAX_MESSAGE {
        return Err(ProtocolError::TooLong);
    }
    serde_json::from_slice(line).map_err(|e| ProtocolError::Malformed(e.to_string()))
}

/// One message as it goes over the socket, with its newline.
pub fn encode<T: Serialize>(message: &T) -> Result<Vec<u8>, ProtocolError> {
    let mut line = serde_json::to_vec(message).map_err(|e| ProtocolError::Malformed(e.to_string()))?;
    line.push(b'\n');
    if line.len() > MAX_MESSAGE {
        Err(ProtocolError::TooLong)
    } else {
        Ok(line)
    }
}

/// Cuts a byte stream into lines. Holds at most [`MAX_MESSAGE`] bytes beyond what was pushed last.
#[derive(Debug, Default)]
pub struct Lines {
    pending: Vec<u8>,
}

impl Lines {
    /// Adds what was read from the socket.
    pub fn push(&mut self, bytes: &[u8]) {
        self.pending.extend_from_slice(bytes);
    }

    /// The next whole line, without its newline; `None` until it is there. After an error the stream has no more
    /// lines: close it.
    pub fn next_line(&mut self) -> Result<Option<Vec<u8>>, ProtocolError> {
        match self.pending.iter().take(MAX_MESSAGE).position(|b| *b == b'\n') {
            Some(end) => {
                let rest = self.pending.split_off(end + 1);
                let mut line = std::mem::replace(&mut self.pending, rest);
                line.pop();
                Ok(Some(line))
            }
            None if self.pending.len() >= MAX_MESSAGE => Err(ProtocolError::TooLong),
            None => Ok(None),
        }
    }
}

/// A u64 as a decimal string.
mod decimal {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(super) fn serialize<S: Serializer>(value: &u64, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(value)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse()
            .map_err(|_| D::Error::custom(format_args!("nonce {text:?} is no decimal u64")))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn register(id: &str) -> Request {
        Request::Register {
            v: VERSION,
            id: id.into(),
            bundle: "/b".into(),
            annotations: BTreeMap::from([("container-tracer.io/trace".into(), "true".into())]),
            late: false,
        }
    }

    #[test]
    fn requests_have_the_documented_form() {
        assert_eq!(
            String::from_utf8(encode(&register("web")).unwrap()).unwrap(),
            "{\"op\":\"register\",\"v\":1,\"id\":\"web\",\"bundle\":\"/b\",\
             \"annotations\":{\"container-tracer.io/trace\":\"true\"}}\n"
        );
        assert_eq!(
            encode(&Request::Proved { v: 1 }).unwrap(),
            b"{\"op\":\"proved\",\"v\":1}\n"
        );
        let gone = Request::Gone {
            v: 1,
            id: "web".into(),
        };
        assert_eq!(
            encode(&gone).unwrap(),
            b"{\"op\":\"gone\",\"v\":1,\"id\":\"web\"}\n"
        );
    }

    #[test]
    fn replies_have_the_documented_form() {
        let receipt = Receipt {
            armed_at_ns: 1,
            round_trip_ns: 2,
            already: false,
        };
        for (reply, text) in [
            (
                Reply::Challenge {
                    nonce: i64::MAX as u64,
                },
                r#"{"op":"challenge","nonce":"9223372036854775807"}"#,
            ),
            (
                Reply::Ready { receipt },
                r#"{"op":"ready","receipt":{"armed_at_ns":1,"round_trip_ns":2,"already":false}}"#,
            ),
            (
                Reply::Refused { reason: "no".into() },
                r#"{"op":"refused","reason":"no"}"#,
            ),
            (Reply::Ok, r#"{"op":"ok"}"#),
        ] {
            assert_eq!(
                String::from_utf8(encode(&reply).unwrap()).unwrap(),
                format!("{text}\n")
            );
            assert_eq!(parse_reply(text.as_bytes()), Ok(reply));
        }
    }

    #[test]
    fn a_nonce_that_lseek_cannot_carry_is_refused() {
        let line = br#"{"op":"challenge","nonce":"9223372036854775808"}"#;
        assert_eq!(parse_reply(line), Err(ProtocolError::Nonce(1 << 63)));
        assert!(
            parse_reply(br#"{"op":"challenge","nonce":7}"#).is_err(),
            "a number would lose bits elsewhere"
        );
        assert!(parse_reply(br#"{"op":"challenge","nonce":"-1"}"#).is_err());
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (line, says) in [
            (&b""[..], "malformed"),
            (b"[]", "malformed"),
            (b"{\"op\":\"proved\"}", "missing field `v`"),
            (b"{\"op\":\"proved\",\"v\":2}", "protocol version 2 is not 1"),
            (
                b"{\"op\":\"detach\",\"v\":1}",
                "request \"detach\" is unknown: version 1 has register",
            ),
            (b"{\"op\":\"gone\",\"v\":1}", "missing field `id`"),
            (b"{\"op\":\"gone\",\"v\":1,\"id\":\"\"}", "container id is empty"),
            (b"{\"op\":\"gone\",\"v\":1,\"id\":\"a\\nb\"}", "control character"),
            (
                b"{\"op\":\"register\",\"v\":1,\"id\":\"a\",\"bundle\":\"/\",\"annotations\":[]}",
                "malformed",
            ),
        ] {
            let error = parse_request(line).unwrap_err().to_string();
            assert!(error.contains(says), "{}: {error}", String::from_utf8_lossy(line));
        }
    }

    #[test]
    fn fields_of_a_later_release_are_ignored() {
        assert_eq!(
            parse_request(b"{\"op\":\"proved\",\"v\":1,\"cpu\":3}\n"),
            Ok(Request::Proved { v: 1 })
        );
    }

    #[test]
    fn limits_are_met_exactly() {
        let gone = |len: usize| {
            encode(&Request::Gone {
                v: 1,
                id: "x".repeat(len),
            })
            .map(|line| parse_request(&line))
        };
        assert!(gone(MAX_ID).unwrap().is_ok());
        assert_eq!(
            gone(MAX_ID + 1).unwrap(),
            Err(ProtocolError::Id(IdError::TooLong(MAX_ID + 1)))
        );
        let frame = encode(&Reply::Refused {
            reason: String::new(),
        })
        .unwrap()
        .len();
        let refused = |len: usize| {
            encode(&Reply::Refused {
                reason: "x".repeat(len),
            })
        };
        let longest = refused(MAX_MESSAGE - frame).unwrap();
        assert_eq!(longest.len(), MAX_MESSAGE);
        assert!(parse_reply(&longest).is_ok());
        assert_eq!(refused(MAX_MESSAGE - frame + 1), Err(ProtocolError::TooLong));
        assert_eq!(parse_reply(&vec![b' '; MAX_MESSAGE]), Err(ProtocolError::TooLong));

        let mut lines = Lines::default();
        lines.push(&longest);
        assert_eq!(lines.next_line().unwrap().unwrap().len(), MAX_MESSAGE - 1);
        lines.push(&vec![b'x'; MAX_MESSAGE - 1]);
        assert_eq!(lines.next_line(), Ok(None));
        lines.push(b"x\n");
        assert_eq!(lines.next_line(), Err(ProtocolError::TooLong));
    }

    proptest! {
        #[test]
        fn any_bytes_are_parsed_or_refused(line in proptest::collection::vec(any::<u8>(), 0..300)) {
            parse_request(&line).ok();
            parse_reply(&line).ok();
        }

        #[test]
        fn any_json_like_text_is_parsed_or_refused(
            line in r#"\{("(op|v|id|nonce|receipt)":("register"|"gone"|"challenge"|1|"a"|null|\{\}),?){0,5}\}?"#
        ) {
            parse_request(line.as_bytes()).ok();
            parse_reply(line.as_bytes()).ok();
        }

        #[test]
        fn what_is_encoded_is_parsed(
            id in "\\PC{1,60}", bundle in ".{0,60}", key in ".*", value in ".*", late: bool
        ) {
            let request =
                Request::Register { v: VERSION, id, bundle, annotations: BTreeMap::from([(key, value)]), late };
            prop_assert_eq!(parse_request(&encode(&request).unwrap()), Ok(request));
        }

        #[test]
        fn lines_do_not_depend_on_how_they_arrive(
            texts in proptest::collection::vec("[a-z]{0,9}", 0..9), cut in 1..7usize
        ) {
            let stream: Vec<u8> = texts.iter().flat_map(|t| format!("{t}\n").into_bytes()).collect();
            let (mut lines, mut got) = (Lines::default(), Vec::new());
            for chunk in stream.chunks(cut) {
                lines.push(chunk);
                while let Some(line) = lines.next_line().unwrap() {
                    got.push(String::from_utf8(line).unwrap());
                }
            }
            prop_assert_eq!(got, texts);
        }
    }
}
