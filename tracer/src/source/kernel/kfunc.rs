//! Lets the programs call functions of the kernel's: makes the calls of the moves that the object has in their places
//! (`tracer_common::kfunc`).

use tracer_common::kfunc::{CALL_DISABLE, CALL_ENABLE, DISABLE, ENABLE, TASK_FROM_PID, TASK_RELEASE};

use crate::source::btf::Btf;

/// Functions that only programs call that are loaded where they are there.
const OF_TASKS: [(i32, &str); 2] = [
    (TASK_FROM_PID, "bpf_task_from_pid"),
    (TASK_RELEASE, "bpf_task_release"),
];

/// `r0 = imm` and `call kfunc` as bytes but for their last four, the constant or the function's BTF id: struct bpf_insn and
/// BPF_PSEUDO_KFUNC_CALL, include/uapi/linux/bpf.h.
const MOVE: [u8; 4] = [0xb7, 0, 0, 0];
const CALL: [u8; 4] = [0x85, 0x20, 0, 0];
const INSTRUCTION: usize = 8;

/// Whether this kernel preempts programs at system calls: since it runs those of other tracers there so that they may
/// sleep (`trace_call_bpf_faultable`, kernel/trace/bpf_trace.c, 7.2). At other tracepoints it does since 7.0.
pub(super) fn is_due_at_calls(btf: &Btf<'_>) -> bool {
    btf.function("trace_call_bpf_faultable").is_some()
}

/// The object with these calls; `None` where the kernel cannot turn preemption off (before 6.10).
pub(super) fn with_calls(object: &[u8], btf: &Btf<'_>, at_calls: bool) -> Option<Vec<u8>> {
    let (disable, enable) = (
        btf.function("bpf_preempt_disable")?,
        btf.function("bpf_preempt_enable")?,
    );
    let mut calls = vec![(DISABLE, disable), (ENABLE, enable)];
    if at_calls {
        calls.extend([(CALL_DISABLE, disable), (CALL_ENABLE, enable)]);
        for (constant, name) in OF_TASKS {
            calls.push((constant, btf.function(name)?));
        }
    }
    Some(replaced(object, &calls))
}

/// With a call of a function in the place of each move of its constant. Sections of code begin at a multiple of eight.
fn replaced(object: &[u8], calls: &[(i32, u32)]) -> Vec<u8> {
    let mut object = object.to_vec();
    for instruction in object.chunks_exact_mut(INSTRUCTION) {
        let is = |constant: i32| instruction[..4] == MOVE && instruction[4..] == constant.to_le_bytes();
        if let Some((_, function)) = calls.iter().find(|(constant, _)| is(*constant)) {
            instruction[..4].copy_from_slice(&CALL);
            instruction[4..].copy_from_slice(&function.to_le_bytes());
        }
    }
    object
}

#[cfg(test)]
mod tests {
    use super::{super::load::OBJECT, *};

    /// How often an instruction is in an object.
    fn count(object: &[u8], head: [u8; 4], value: u32) -> usize {
        let all = object.chunks_exact(INSTRUCTION);
        all.filter(|found| found[..4] == head && found[4..] == value.to_le_bytes())
            .count()
    }

    #[test]
    fn each_place_of_the_object_becomes_a_call_and_nothing_else_changes() {
        let constants = [
            DISABLE,
            ENABLE,
            CALL_DISABLE,
            CALL_ENABLE,
            TASK_FROM_PID,
            TASK_RELEASE,
        ];
        let places = constants.map(|constant| count(OBJECT, MOVE, constant as u32));
        assert!(
            places[0] >= 3 && places[2] >= 2 && places[4..] == [1, 1],
            "{places:?}"
        );
        let ids = [7001, 7002, 7003, 7004, 7005, 7006];
        let calls: Vec<_> = constants.into_iter().zip(ids).collect();
        let object = replaced(OBJECT, &calls);
        assert_eq!(ids.map(|id| count(&object, CALL, id)), places);
        assert_eq!(
            constants.map(|constant| count(&object, MOVE, constant as u32)),
            [0; 6]
        );
        let differ = OBJECT.iter().zip(&object).filter(|(was, is)| was != is).count();
        assert!(object.len() == OBJECT.len() && differ <= INSTRUCTION * places.iter().sum::<usize>());
        assert_eq!(replaced(OBJECT, &[]), OBJECT);
    }
}
