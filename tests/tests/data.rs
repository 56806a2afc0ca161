//! `-e read=` and `-e write=`: the data that goes through descriptors, as strace dumps it, byte by byte; and never more
//! of it for those who have not asked.

use anyhow::{Context, Result, ensure};
use std::{fs, path::Path};
use tracer_tests::{Bundle, Daemon, Event, Rootfs, Runtime, event, programs};

const PYTHON: [&str; 5] = ["/usr/bin/python3", "-I", "-S", "-B", "-c"];

/// Programs that nobody wrote for this test, of one process each.
const DEBIAN: &[&[&str]] = &[
    &["cat", "short", "words", "binary"],
    &["dd", "if=words", "of=out", "bs=512", "status=none"],
    &["sort", "-u", "-o", "sorted", "words"],
    &["gzip", "-nk", "words"],
    &[
        "sqlite3",
        "base",
        "create table t (x); insert into t values (1); select * from t",
    ],
    &["perl", "-ne", "print if /two/", "words"],
    &["awk", "{n[$1]++} END {for (w in n) print w, n[w]}", "words"],
    &["openssl", "dgst", "-sha256", "words"],
    &["jq", "-nc", "[1, 2]"],
    &["tar", "-cf", "out.tar", "words", "binary"],
    &["sed", "s/one/1/", "words"],
    &["od", "-c", "binary"],
    &["diff", "words", "short"],
];

/// All calls that move data, with vectors, messages and errors; the text of what is written differs with each.
const MOVES: &str = r#"
import ctypes, os, socket
a, b = socket.socketpair()
a.sendall(b'x' * 99); b.recv(200); a.sendall(b'yy'); b.recv_into(bytearray(1)); b.recv(9)
a.sendmsg([b'ab', b'', b'hidden']); b.recvmsg(100, 100)
a.sendmsg([b'ab', b'cd' * 20]); b.recvmsg_into([bytearray(3), bytearray(100)])
u = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); u.bind(('127.0.0.1', 4713))
u.sendto(bytes(range(256)), ('127.0.0.1', 4713)); u.recvfrom(1000)
f = os.open('new', os.O_RDWR | os.O_CREAT)
os.writev(f, [b'a' * 17, b'b' * 5]); os.pwrite(f, b'zz', 3); os.pread(f, 10, 0); os.lseek(f, 0, 0)
os.readv(f, [bytearray(3), bytearray(100)]); os.preadv(f, [bytearray(4), bytearray(5)], 1); os.pwritev(f, [b'1', b'2'], 2)
for call in (lambda: os.write(77, b'to nothing'), lambda: os.read(77, 5), lambda: os.writev(f, [])):
    try: call()
    except OSError: pass
os.read(f, 0); os.write(f, b'')
r, w = os.pipe(); libc = ctypes.CDLL(None, use_errno=True)
class iovec(ctypes.Structure): _fields_ = [('base', ctypes.c_char_p), ('len', ctypes.c_size_t)]
class msghdr(ctypes.Structure):
    _fields_ = [('name', ctypes.c_void_p), ('namelen', ctypes.c_uint), ('iov', ctypes.c_void_p), ('iovlen', ctypes.c_size_t),
                ('control', ctypes.c_void_p), ('controllen', ctypes.c_size_t), ('flags', ctypes.c_int), ('msg_len', ctypes.c_uint)]
v = (iovec * 2)(iovec(b'spliced', 7), iovec(b'pages', 5)); libc.vmsplice(w, v, 2, 0)
two = (iovec * 3)(iovec(b'first', 5), iovec(b'message', 7), iovec(b'the other', 9))
at = ctypes.addressof(two)
m = (msghdr * 2)(msghdr(iov=at, iovlen=2), msghdr(iov=at + 32, iovlen=1))
libc.sendmmsg(a.fileno(), m, 2, 0)
rooms = [ctypes.create_string_buffer(8) for _ in range(3)]
into = (iovec * 3)(*(iovec(ctypes.cast(one, ctypes.c_char_p), 8) for one in rooms))
for index, one in enumerate(rooms): ctypes.c_void_p.from_address(ctypes.addressof(into) + 16 * index).value = ctypes.addressof(one)
at = ctypes.addressof(into)
m = (msghdr * 2)(msghdr(iov=at, iovlen=1), msghdr(iov=at + 16, iovlen=2))
libc.recvmmsg(b.fileno(), m, 2, 0x40, None)
q = ctypes.CDLL('librt.so.1', use_errno=True); attr = (ctypes.c_long * 8)(0, 4, 64)
d = q.mq_open(b'/tracer-data', os.O_RDWR | os.O_CREAT, 0o600, attr)
if d >= 0: q.mq_unlink(b'/tracer-data'); q.mq_send(d, b'queued', 6, 1); q.mq_receive(d, ctypes.create_string_buffer(64), 64, None)
"#;

const CALLS: &str = "trace=read,write,readv,writev,pread64,pwrite64,preadv,pwritev,preadv2,pwritev2,sendto,recvfrom,sendmsg,\
                     recvmsg,sendmmsg,recvmmsg,vmsplice,mq_timedsend,mq_timedreceive";

/// A call by name, and the lines of its data.
type Dump = (String, Vec<String>);

/// The calls of a trace of one process.
fn dumps(text: &str) -> Vec<Dump> {
    let mut found: Vec<Dump> = Vec::new();
    for line in text.lines() {
        if [" | ", " * ", " = "].iter().any(|begin| line.starts_with(begin)) {
            if let Some((_, lines)) = found.last_mut() {
                lines.push(line.to_owned());
            }
        } else if let Some((head, _)) = line.split_once('(') {
            let name = head.rsplit(' ').next().unwrap_or_default();
            found.push((name.to_owned(), Vec::new()));
        }
    }
    found
}

struct Place {
    dir: tempfile::TempDir,
}

impl Place {
    fn new() -> Result<Self> {
        Ok(Self {
            dir: tempfile::tempdir()?,
        })
    }

    /// Runs a command in a folder that is as it was for the others, and reads what was written to `out`.
    fn run(&self, wrapper: &[&str], args: &[&str], options: &[&str]) -> Result<Vec<Dump>> {
        let here = self.dir.path().join("here");
        if here.exists() {
            fs::remove_dir_all(&here)?;
        }
        fs::create_dir(&here)?;
        fs::write(here.join("short"), "hello\n")?;
        fs::write(here.join("words"), "one\ntwo\nthree\ntwo\none\n".repeat(300))?;
        fs::write(
            here.join("binary"),
            (0..=255).cycle().take(1000).collect::<Vec<u8>>(),
        )?;
        let names = ["short", "words", "binary"];
        programs::success(
            programs::command("touch")
                .args(["-d", "@1000000000"])
                .args(names)
                .current_dir(&here),
        )?;
        let out = self.dir.path().join("out").display().to_string();
        let mut command = programs::command("setarch");
        command
            .arg("-R")
            .args(wrapper)
            .arg(&out)
            .args(["-e", CALLS])
            .args(options)
            .arg("--")
            .args(args)
            .current_dir(&here);
        let ran = programs::output(&mut command)?;
        let text = fs::read(&out).with_context(|| programs::both(&ran))?;
        Ok(dumps(&String::from_utf8_lossy(&text)))
    }

    fn strace(&self, args: &[&str], options: &[&str]) -> Result<Vec<Dump>> {
        let namespaces = "unshare --mount --pid --fork --mount-proc --kill-child strace -f -o";
        self.run(&namespaces.split(' ').collect::<Vec<_>>(), args, options)
    }

    fn traced(&self, args: &[&str], options: &[&str]) -> Result<Vec<Dump>> {
        let tracer = programs::tracer()?.display().to_string();
        self.run(&[&tracer, "run", "-w"], args, options)
    }
}

/// What is more than a record holds is told in its place: the lines before it are strace's, and the sum is.
fn is_begin_of(ours: &[String], theirs: &[String]) -> Result<bool> {
    let Some((last, lines)) = ours.split_last() else {
        return Ok(false);
    };
    let Some(rest) = last.strip_prefix(" | <") else {
        return Ok(false);
    };
    let missing: usize = rest
        .split(' ')
        .next()
        .context("a number")?
        .parse()
        .with_context(|| last.clone())?;
    let (whole, tail) = lines.split_at(lines.len().saturating_sub(1));
    let begins = theirs.get(..whole.len()) == Some(whole);
    // The last line may have fewer bytes than strace's.
    let bytes = |line: &str| line.get(10..59).map_or(0, |hex| hex.split_whitespace().count());
    let shown = 16 * whole.len() + tail.first().map_or(0, |line| bytes(line));
    let all = 16 * theirs.len().saturating_sub(1) + theirs.last().map_or(0, |line| bytes(line));
    println!("partial: {shown} shown, {missing} missing, of {all}");
    Ok(begins && shown > 12_000 && shown + missing == all)
}

fn compare(place: &Place, args: &[&str], options: &[&str]) -> Result<usize> {
    let first = place.strace(args, options)?;
    let ours = place.traced(args, options)?;
    let second = place.strace(args, options)?;
    let names = |dumps: &[Dump]| dumps.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
    ensure!(
        names(&ours) == names(&first),
        "{args:?}: {:?}, strace {:?}",
        names(&ours),
        names(&first)
    );
    let (mut lines, mut chance) = (0, 0);
    for (index, (ours, theirs)) in ours.iter().zip(&first).enumerate() {
        if ours == theirs {
            lines += ours.1.len();
        } else if second.get(index) != Some(theirs) {
            // Random bytes, of which there are as many.
            ensure!(
                ours.1.len() == theirs.1.len(),
                "{args:?}: {ours:?}, strace {theirs:?}"
            );
            chance += 1;
        } else {
            ensure!(
                is_begin_of(&ours.1, &theirs.1)?,
                "{args:?}: {ours:#?}, strace {theirs:#?}"
            );
        }
    }
    println!(
        "{}: {} calls, {lines} lines equal, {chance} differ in strace's own runs",
        args[0],
        ours.len()
    );
    Ok(lines)
}

#[test]
fn data_is_dumped_as_strace_dumps_it() -> Result<()> {
    let place = Place::new()?;
    let mut lines = 0;
    for args in DEBIAN {
        lines += compare(&place, args, &["-e", "read=all", "-e", "write=all"])?;
    }
    ensure!(lines > 5_000, "{lines} lines were compared");
    Ok(())
}

#[test]
fn vectors_and_messages_are_dumped_too() -> Result<()> {
    let place = Place::new()?;
    let program = [&PYTHON[..], &[MOVES]].concat();
    for options in [
        &["-e", "read=all", "-e", "write=all"][..],
        &["-e", "read=!0,1,2", "-e", "write=3,4,5"],
        &["-e", "write=1"],
        &["-e", "read=3,4", "-e", "read=none"],
    ] {
        compare(&place, &program, options)?;
    }
    Ok(())
}

fn base64(text: &str) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let digits: Vec<u32> = text
        .bytes()
        .filter(|byte| *byte != b'=')
        .map(|byte| {
            let at = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
                .iter()
                .position(|digit| *digit == byte)
                .context("no digit of base64")?;
            Ok(u32::try_from(at)?)
        })
        .collect::<Result<_>>()?;
    for four in digits.chunks(4) {
        let bits = four.iter().fold(0, |bits, digit| bits << 6 | digit) << (6 * (4 - four.len()));
        bytes.extend(bits.to_be_bytes().into_iter().skip(1).take(four.len() - 1));
    }
    Ok(bytes)
}

/// The data of a reader's reads of a descriptor, one after the other, and what is missing of it.
fn read_from(events: &[Event], fd: u64) -> Result<(Vec<u8>, u64)> {
    let (mut all, mut missing) = (Vec::new(), 0);
    for event in events {
        let data = &event.0["data"];
        if event.syscall() != "read" || event.0["args"][0]["raw"] != fd || data.is_null() {
            continue;
        }
        ensure!(data["direction"] == "read", "{data}");
        let mut lacks = 0;
        for buffer in data["buffers"].as_array().context("no buffers")? {
            let bytes = base64(buffer["base64"].as_str().context("no base64")?)?;
            let here = buffer["missing"].as_u64().unwrap_or(0);
            ensure!(buffer["length"] == bytes.len() as u64 + here, "{buffer}");
            lacks += here;
            all.extend(bytes);
        }
        ensure!(data["whole"] == (lacks == 0), "{data}");
        missing += lacks;
    }
    Ok((all, missing))
}

#[test]
fn each_reader_gets_the_data_that_it_asked_for() -> Result<()> {
    let daemon = Daemon::start()?;
    let program = "import os\n\
                   os.makedirs('/scratch/d'); f = os.open('/scratch/f', os.O_RDWR | os.O_CREAT)\n\
                   os.write(f, bytes(range(256)) * 40); os.lseek(f, 0, 0); os.dup2(f, 100); os.dup2(f, 101)\n\
                   os.read(100, 5120); os.read(101, 5000); os.read(101, 5120)\n\
                   os.lseek(f, 0, 0); os.ftruncate(f, 100_000); os.read(100, 100_000)";
    let args = [&PYTHON[..], &[program]].concat();
    let bundle = Bundle::traced("data", Rootfs::Host, &args, &daemon)?;
    let id = bundle.id.clone();
    let prefix = id.get(..id.len() - 1).context("an id")?;
    let one = daemon.tail(&id, &["-o", "json", "-e", "read=100"])?.opened()?;
    let asks = [
        "-o",
        "json",
        "-e",
        "read=101",
        "-e",
        "write=!1",
        "-e",
        "read,write",
        &id,
    ];
    let other = daemon.tail_of("other", &asks)?.opened()?;
    let quiet = daemon.tail(prefix, &["-o", "json"])?.opened()?;
    let mut container = Runtime::Runc.start(bundle)?;
    container.success()?;
    let (one, other, quiet) = (one.events()?, other.events()?, quiet.events()?);
    daemon.verdict_at_end(&id)?.whole()?;

    let content: Vec<u8> = (0..=255).cycle().take(256 * 40).collect();
    let (bytes, missing) = read_from(&one, 100)?;
    // The second read of it is of 100 000 bytes: what a record has no room for is counted.
    assert_eq!(bytes.get(..5120), content.get(..5120));
    assert_eq!(bytes.len() as u64 + missing, 5120 + 100_000);
    ensure!(bytes.len() > 5120 + 12_000, "{} bytes were taken", bytes.len());
    assert_eq!(read_from(&other, 101)?, (content[5120..].to_vec(), 0));
    // None of the other's descriptors, which share its bit in the kernel.
    assert_eq!(read_from(&one, 101)?, (Vec::new(), 0));
    assert_eq!(read_from(&other, 100)?, (Vec::new(), 0));
    let written = |events: &[Event]| {
        let writes = events.iter().filter(|event| event.syscall() == "write");
        writes
            .filter(|event| event.0["data"]["direction"] == "write")
            .count()
    };
    ensure!(written(&other) > 0 && written(&one) == 0, "who asked for writes?");
    ensure!(
        quiet.iter().all(|event| event.0.get("data").is_none()),
        "the third reader asked for nothing"
    );
    // What the others asked for does not change its lines.
    let texts = |events: &[Event]| -> Vec<String> {
        let calls = events
            .iter()
            .filter(|event| event.syscall() == "read" && event.is_app());
        calls.map(|event| event.0["args"].to_string()).collect()
    };
    assert_eq!(texts(&quiet), texts(&one));

    let schema = programs::success(programs::command(programs::tracer()?).arg("schema"))?;
    let schema = jsonschema::validator_for(&serde_json::from_str(&schema)?)?;
    for event in one.iter().chain(&other) {
        if let Err(why) = schema.validate(&event.0) {
            anyhow::bail!("{why}: {}", event.0);
        }
    }
    Ok(())
}

#[test]
fn data_that_is_not_in_memory_is_told() -> Result<()> {
    // Two pages, of which the second is gone: the kernel writes one, and strace cannot read what was asked for.
    let program = "import ctypes, mmap, os\n\
                   libc = ctypes.CDLL(None); libc.mmap.restype = ctypes.c_void_p; at = libc.mmap(None, 8192, 3, 0x22, -1, 0)\n\
                   libc.munmap(ctypes.c_void_p(at + 4096), 4096); f = os.open('/dev/full', os.O_RDWR); g = os.memfd_create('m')\n\
                   libc.write(g, ctypes.c_void_p(at), 8192); libc.write(f, ctypes.c_void_p(at + 4096), 10)";
    let dir = tempfile::tempdir()?;
    let events = dir.path().join("events");
    let mut command = programs::command(programs::tracer()?);
    command.args(["run", "-o", "json", "-e", "write", "-e", "write=all", "-w"]);
    command.arg(&events).arg("--").args(PYTHON).arg(program);
    programs::success(&mut command)?;
    let events = event::parse(&read(&events)?)?;
    let buffers: Vec<_> = events
        .iter()
        .filter(|event| event.syscall() == "write")
        .map(|event| event.0["data"]["buffers"][0].clone())
        .collect();
    let (first, second) = (
        buffers.first().context("no write")?,
        buffers.last().context("no write")?,
    );
    ensure!(
        first["length"] == 8192 && first["missing"] == 4096 && first["fault"] == true,
        "{first}"
    );
    ensure!(
        second["length"] == 10
            && second["missing"] == 10
            && second["fault"] == true
            && second["base64"] == "",
        "{second}"
    );
    Ok(())
}

fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).with_context(|| path.display().to_string())
}

#[test]
fn words_that_are_no_descriptors_are_told() -> Result<()> {
    for wrong in ["read=x", "write=-1", "read="] {
        let mut command = programs::command(programs::tracer()?);
        let out = programs::output(command.args(["run", "-e", wrong, "--", "true"]))?;
        ensure!(out.status.code() == Some(2), "{wrong}: {}", out.status);
        let told = String::from_utf8_lossy(&out.stderr);
        ensure!(told.contains("no descriptor"), "{wrong}: {told}");
    }
    Ok(())
}
