//! Where the programs call functions of the kernel's that aya does not know (kfuncs): moves of these constants to a register,
//! of which the daemon makes the calls as it loads the object, on kernels that have them. Elsewhere they do nothing.

/// `bpf_preempt_disable`, in programs that are not at system calls.
pub const DISABLE: i32 = 0x7a11_0ff0;
/// `bpf_preempt_enable`, likewise.
pub const ENABLE: i32 = 0x7a11_0ff1;
/// The same in those that are, where no kernel before 7.2 needs them.
pub const CALL_DISABLE: i32 = 0x7a11_0ff2;
/// And their end.
pub const CALL_ENABLE: i32 = 0x7a11_0ff3;
/// `bpf_task_from_pid`, in programs that are loaded only where it is there.
pub const TASK_FROM_PID: i32 = 0x7a11_0ff4;
/// `bpf_task_release`, likewise.
pub const TASK_RELEASE: i32 = 0x7a11_0ff5;
