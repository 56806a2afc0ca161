//! Printers of System V queues, semaphores and shared memory, and of POSIX queues.

use super::{
    fs, names,
    show::{Call, Captured, Names, Out, signed},
};

/// The command's low byte: what is above (IPC_64) only says which layout is meant.
pub(super) fn semaphore_command(out: &mut Out<'_>, call: &Call<'_>, value: u64) {
    command(out, call, value, &names::SEMCTL);
}

pub(super) fn memory_command(out: &mut Out<'_>, call: &Call<'_>, value: u64) {
    command(out, call, value, &names::SHMCTL);
}

pub(super) fn queue_command(out: &mut Out<'_>, call: &Call<'_>, value: u64) {
    command(out, call, value, &names::MSGCTL);
}

fn command(out: &mut Out<'_>, call: &Call<'_>, value: u64, names: &Names) {
    let ipc_64 = if call.wide { 0 } else { 0x100 };
    if ipc_64 != 0 && value & ipc_64 != 0 {
        out.str("IPC_64|");
    }
    out.name(value & !ipc_64, names);
}

/// `struct ipc64_perm`: with its key and maker when it was asked for, without when it is set.
fn permissions(out: &mut Out<'_>, label: &str, memory: Captured<'_>, asked: bool) -> Option<()> {
    out.str(label);
    out.field("={uid=", i64::from(memory.i32(4)?));
    out.field(", gid=", i64::from(memory.i32(8)?));
    out.str(", mode=");
    out.octal(u64::from(memory.u32(20)?));
    if asked {
        out.ufield(", key=", u64::from(memory.u32(0)?));
        out.field(", cuid=", i64::from(memory.i32(12)?));
        out.field(", cgid=", i64::from(memory.i32(16)?));
    }
    out.str("}");
    Some(())
}

/// Fields of 64 bits, one after the other.
fn fields<const N: usize>(
    out: &mut Out<'_>,
    memory: Captured<'_>,
    first: usize,
    labels: [&str; N],
) -> Option<()> {
    for (label, at) in labels.into_iter().zip((first..).step_by(8)) {
        out.ufield(label, memory.u64(at)?);
    }
    Some(())
}

/// The same of 32 bits.
fn words<const N: usize>(out: &mut Out<'_>, memory: Captured<'_>, labels: [&str; N]) -> Option<()> {
    for (label, at) in labels.into_iter().zip((0..).step_by(4)) {
        out.field(label, i64::from(memory.i32(at)?));
    }
    Some(())
}

/// What semctl(2)'s argument points to.
pub(super) fn semaphores(out: &mut Out<'_>, call: &Call<'_>, memory: Captured<'_>) -> Option<()> {
    match signed(call.arg(2)) {
        libc::IPC_STAT | libc::SEM_STAT | libc::SEM_STAT_ANY if call.succeeded => {
            permissions(out, "{sem_perm", memory, true)?;
            // x86 keeps the upper halves of 32-bit times between them.
            let (changed, count) = if call.aarch64 { (56, 64) } else { (64, 80) };
            out.ufield(", sem_otime=", memory.u64(48)?);
            out.ufield(", sem_ctime=", memory.u64(changed)?);
            out.ufield(", sem_nsems=", memory.u64(count)?);
        }
        libc::IPC_SET => permissions(out, "{sem_perm", memory, false)?,
        libc::IPC_INFO | libc::SEM_INFO if call.succeeded => {
            words(
                out,
                memory,
                [
                    "{semmap=",
                    ", semmni=",
                    ", semmns=",
                    ", semmnu=",
                    ", semmsl=",
                    ", semopm=",
                    ", semume=",
                    ", semusz=",
                    ", semvmx=",
                    ", semaem=",
                ],
            )?;
        }
        _ => return None,
    }
    out.str("}");
    Some(())
}

/// What shmctl(2)'s argument points to.
pub(super) fn shared_memory(out: &mut Out<'_>, call: &Call<'_>, memory: Captured<'_>) -> Option<()> {
    match names::SHMCTL.get(call.int(1))? {
        "IPC_STAT" | "SHM_STAT" | "SHM_STAT_ANY" if call.succeeded => {
            permissions(out, "{shm_perm", memory, true)?;
            out.ufield(", shm_segsz=", memory.u64(48)?);
            out.field(", shm_cpid=", i64::from(memory.i32(80)?));
            out.field(", shm_lpid=", i64::from(memory.i32(84)?));
            out.ufield(", shm_nattch=", memory.u64(88)?);
            fields(out, memory, 56, [", shm_atime=", ", shm_dtime=", ", shm_ctime="])?;
        }
        "IPC_SET" => permissions(out, "{shm_perm", memory, false)?,
        "IPC_INFO" if call.succeeded => {
            fields(
                out,
                memory,
                0,
                ["{shmmax=", ", shmmin=", ", shmmni=", ", shmseg=", ", shmall="],
            )?;
        }
        "SHM_INFO" if call.succeeded => {
            out.field("{used_ids=", i64::from(memory.i32(0)?));
            fields(
                out,
                memory,
                8,
                [
                    ", shm_tot=",
                    ", shm_rss=",
                    ", shm_swp=",
                    ", swap_attempts=",
                    ", swap_successes=",
                ],
            )?;
        }
        _ => return None,
    }
    out.str("}");
    Some(())
}

/// What msgctl(2)'s argument points to.
pub(super) fn queue(out: &mut Out<'_>, call: &Call<'_>, memory: Captured<'_>) -> Option<()> {
    match names::MSGCTL.get(call.int(1))? {
        "IPC_STAT" | "MSG_STAT" | "MSG_STAT_ANY" if call.succeeded => {
            permissions(out, "{msg_perm", memory, true)?;
            fields(out, memory, 48, [", msg_stime=", ", msg_rtime=", ", msg_ctime="])?;
            fields(out, memory, 80, [", msg_qnum=", ", msg_qbytes="])?;
            out.field(", msg_lspid=", i64::from(memory.i32(96)?));
            out.field(", msg_lrpid=", i64::from(memory.i32(100)?));
        }
        "IPC_SET" => {
            permissions(out, "{msg_perm", memory, false)?;
            out.ufield(", msg_qbytes=", memory.u64(88)?);
        }
        "IPC_INFO" | "MSG_INFO" if call.succeeded => {
            words(
                out,
                memory,
                [
                    "{msgpool=",
                    ", msgmap=",
                    ", msgmax=",
                    ", msgmnb=",
                    ", msgmni=",
                    ", msgssz=",
                    ", msgtql=",
                ],
            )?;
            out.ufield(", msgseg=", u64::from(memory.u16(28)?));
        }
        _ => return None,
    }
    out.str("}");
    Some(())
}

/// `[{sem_num=0, sem_op=-1, sem_flg=IPC_NOWAIT}]`
pub(super) fn operations(out: &mut Out<'_>, call: &Call<'_>, memory: Captured<'_>) -> Option<()> {
    fs::array(out, memory, call.int(2), 6, |out, one| {
        out.ufield("{sem_num=", u64::from(one.u16(0)?));
        out.field(", sem_op=", i64::from(one.u16(2)?.cast_signed()));
        out.flags_field(", sem_flg=", u64::from(one.u16(4)?), &names::SEM_FLAGS);
        out.str("}");
        Some(())
    })
}

/// The message that msgsnd(2) sends.
pub(super) fn message_in(out: &mut Out<'_>, call: &Call<'_>, memory: Captured<'_>) -> Option<()> {
    message(out, call, memory, call.arg(2))
}

/// The message that msgrcv(2) got.
pub(super) fn message_out(out: &mut Out<'_>, call: &Call<'_>, memory: Captured<'_>) -> Option<()> {
    message(out, call, memory, call.ret.unsigned_abs())
}

fn message(out: &mut Out<'_>, call: &Call<'_>, memory: Captured<'_>, length: u64) -> Option<()> {
    out.field("{mtype=", memory.i64(0)?);
    out.str(", mtext=");
    let text = memory.from(8)?;
    let length = usize::try_from(length).unwrap_or(usize::MAX);
    let shown = text.get(..length).unwrap_or(text);
    out.limited(shown, call.limit, shown.len() < length);
    out.str("}");
    Some(())
}

/// `struct mq_attr`.
pub(super) fn attributes(out: &mut Out<'_>, _: &Call<'_>, memory: Captured<'_>) -> Option<()> {
    out.flags_field("{mq_flags=", memory.u64(0)?, &names::OPEN);
    for (label, at) in [(", mq_maxmsg=", 8), (", mq_msgsize=", 16), (", mq_curmsgs=", 24)] {
        out.field(label, memory.i64(at)?);
    }
    out.str("}");
    Some(())
}

/// Whether mq_open(2) looks at its mode and attributes.
pub(super) fn makes_queue(call: &Call<'_>) -> bool {
    fs::creates(call.arg(1))
}
