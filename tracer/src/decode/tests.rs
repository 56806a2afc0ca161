//! The decoder against hand-made records. Expected lines are those that strace 6.1 printed for the same calls, but
//! for the column padding before ` = `.

mod evidence;
pub(crate) mod fake;
mod files;
mod pointers;
mod processes;
mod records;
mod robust;
mod services;
mod sockets;
