//! Where the programs turn preemption off and on: moves of these constants to a register, of which the daemon makes calls of
//! the kernel's functions (kfuncs) as it loads the object, on kernels that have them. Elsewhere they do nothing.

/// `bpf_preempt_disable`, in programs that are not at system calls.
pub const DISABLE: i32 = 0x7a11_0ff0;
/// `bpf_preempt_enable`, likewise.
pub const ENABLE: i32 = 0x7a11_0ff1;
/// The same in those that are, where no kernel before 7.2 needs them.
pub const CALL_DISABLE: i32 = 0x7a11_0ff2;
/// And their end.
pub const CALL_ENABLE: i32 = 0x7a11_0ff3;
