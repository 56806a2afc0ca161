//! The table against itself and the snapshot.

use std::collections::HashSet;

use tracer_common::{
    filter::{MAX_COPY, MAX_KEPT, MAX_OPS, NEAR_BYTES},
    record::{MAX_RECORD, Section, Syscall},
};

use super::*;

const ARCHES: [Arch; 4] = [Arch::X86_64, Arch::I386, Arch::Aarch64, Arch::Arm];

#[test]
fn rows_name_calls_and_parameters_that_exist() {
    let names: HashSet<&str> = ARCHES
        .iter()
        .flat_map(|arch| table(*arch).iter().flatten().map(|e| e.name))
        .collect();
    for row in rows::all() {
        let calls: Vec<&str> = row.calls.split(' ').collect();
        for call in &calls {
            assert!(names.contains(call), "no call {call}");
        }
        for (param, _) in row.params {
            let known = ARCHES
                .iter()
                .flat_map(|arch| table(*arch).iter().flatten())
                .any(|entry| {
                    calls.contains(&entry.name) && entry.params.iter().any(|known| known.name == *param)
                });
            assert!(known, "no parameter {param} in {}", row.calls);
        }
        for name in row.order {
            assert!(
                row.params.iter().any(|(param, _)| param == name),
                "order of {}: {name}",
                row.calls
            );
        }
    }
}

#[test]
fn lengths_name_parameters() {
    for arch in ARCHES {
        for entry in table(arch).iter().flatten() {
            for param in &entry.params {
                if let Some(memory) = memory_of(&param.show).filter(|memory| memory.kind == copy::LEN_ARG) {
                    let len = &entry.params[usize::from(param.len)];
                    assert_eq!(len.name, memory.len, "{}({})", entry.name, param.name);
                }
            }
        }
    }
}

#[test]
fn plans_fit_the_contract() {
    let limits = Limits::default();
    for native in [Arch::X86_64, Arch::Aarch64] {
        let mut seen = HashSet::new();
        for (index, plan) in plans(native, limits) {
            assert!(seen.insert(index) && index < tracer_common::filter::MAX_PLANS);
            assert!(plan.nargs <= 6);
            let ops = &plan.ops[..usize::from(plan.nops)];
            let bytes: usize = ops
                .iter()
                .map(|op| size_of::<Section>() + usize::from(op.max))
                .sum();
            assert!(
                size_of::<Syscall>() + 48 + bytes <= MAX_RECORD,
                "plan {index} needs {bytes}"
            );
            for op in ops {
                assert!(op.kind != copy::NONE && op.arg < plan.nargs && op.max >= 1 && op.max <= MAX_COPY);
                assert!(op.kind != copy::LEN_ARG || op.len_arg < plan.nargs);
                assert!(
                    op.flags & when::NEAR == 0 || u64::from(op.max) <= NEAR_BYTES && op.len_arg != op.arg
                );
            }
            let kept: usize = ops
                .iter()
                .filter(|op| op.flags & when::ENTER != 0)
                .map(|op| size_of::<Section>() + usize::from(op.max))
                .sum();
            assert!(kept <= MAX_KEPT, "plan {index} keeps {kept}");
            assert_eq!(plan.flags & plan::ENTER != 0, kept != 0);
        }
    }
}

#[test]
fn no_copy_is_left_out_for_want_of_room() {
    for arch in ARCHES {
        for entry in table(arch).iter().flatten() {
            let wanted = entry
                .params
                .iter()
                .filter_map(|p| memory_of(&p.show))
                .filter(|m| m.kind != copy::NONE)
                .map(|m| {
                    if matches!(m.moment, Moment::Both | Moment::Retried) {
                        2
                    } else {
                        1
                    }
                })
                .sum::<usize>();
            assert!(wanted <= MAX_OPS, "{} wants {wanted} copies", entry.name);
        }
    }
}

#[test]
fn only_exec_takes_strings_at_enter() {
    let execs: Vec<u32> = plans(Arch::X86_64, Limits::default())
        .filter(|(_, plan)| plan.flags & plan::EXEC != 0)
        .map(|(index, _)| index)
        .collect();
    assert_eq!(execs, [59, 322, COMPAT_PLANS + 11, COMPAT_PLANS + 358]);
}

#[test]
fn calls_that_refuse_by_eagain_exist() {
    for name in REFUSE_BY_EAGAIN {
        let known = ARCHES
            .iter()
            .flat_map(|arch| table(*arch).iter().flatten())
            .any(|entry| entry.name == *name);
        assert!(known, "no call {name}");
    }
    assert!(REFUSE_BY_EAGAIN.is_sorted());
}

#[test]
fn parameters_as_c_has_them() {
    assert_eq!(
        split_parameter("const char *filename"),
        ("const char *", "filename")
    );
    assert_eq!(split_parameter("umode_t mode"), ("umode_t", "mode"));
    let open = entry(Arch::X86_64, 257).unwrap();
    assert_eq!(open.name, "openat");
    assert_eq!(
        open.params.iter().map(|p| p.name).collect::<Vec<_>>(),
        ["dfd", "filename", "flags", "mode"]
    );
    assert_eq!(
        entry(Arch::I386, 403).unwrap().params.len(),
        2,
        "clock_gettime64 has those of clock_gettime"
    );
}
