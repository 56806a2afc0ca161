//! Rows of calls for the kernel's services: rings, programs, rules, policies, watches, modules, the machine itself.

use super::*;

const NODES: u16 = 128;

pub(super) static ROWS: &[Row] = &[
    // Asynchronous input and output.
    row("io_setup", &[("ctxp", Show::output(8, uring::context).wide())]),
    row(
        "io_getevents io_pgetevents",
        &[
            ("events", Show::returned(32, 32, uring::events)),
            ("timeout", TIMESPEC),
        ],
    ),
    row("io_cancel", &[("iocb", Show::input(64, uring::cancelled))]),
    row(
        "io_uring_setup",
        &[("params", Show::input(120, uring::parameters))],
    ),
    row("io_uring_enter", &[("flags", Flags(&names::URING_ENTER))]),
    row(
        "io_uring_register",
        &[
            ("opcode", Enum(&names::URING_REGISTER)),
            (
                "arg",
                Show::array("nr_args", 4, 32, uring::registered).or(values::pointer),
            ),
        ],
    ),
    // Programs and rules.
    row(
        "bpf",
        &[
            ("cmd", Enum(&names::BPF)),
            ("uattr", Show::sized("size", 128, service::bpf)),
        ],
    ),
    row(
        "perf_event_open",
        &[
            ("attr_uptr", Show::input(64, service::performance)),
            ("flags", Flags(&names::PERF_FLAGS)),
        ],
    ),
    row(
        "landlock_create_ruleset",
        &[
            (
                "attr",
                Show::sized("size", 16, service::ruleset).or(values::pointer),
            ),
            ("flags", Flags(&names::LANDLOCK)),
        ],
    ),
    row(
        "landlock_add_rule",
        &[
            ("rule_type", Enum(&names::LANDLOCK_RULE)),
            ("rule_attr", Show::input(12, service::rule)),
        ],
    ),
    // Memory policies.
    row(
        "mbind",
        &[
            ("start", POINTER),
            ("mode", Value(service::policy)),
            (
                "nmask",
                Show::bytes(Max::Bytes(NODES), service::nodes::<4>).wide(),
            ),
            ("flags", Flags(&names::MPOL_BIND_FLAGS)),
        ],
    ),
    row(
        "set_mempolicy",
        &[
            ("mode", Value(service::policy)),
            (
                "nmask",
                Show::bytes(Max::Bytes(NODES), service::nodes::<2>).wide(),
            ),
        ],
    ),
    row(
        "get_mempolicy",
        &[
            ("policy", Show::output(4, service::policy_out)),
            (
                "nmask",
                Show::bytes(Max::Bytes(NODES), service::nodes::<2>)
                    .wide()
                    .written(),
            ),
            ("addr", POINTER),
            ("flags", Flags(&names::MPOL_GET)),
        ],
    ),
    row(
        "migrate_pages",
        &[
            (
                "old_nodes",
                Show::bytes(Max::Bytes(NODES), service::nodes::<1>).wide(),
            ),
            (
                "new_nodes",
                Show::bytes(Max::Bytes(NODES), service::nodes::<1>).wide(),
            ),
        ],
    ),
    row(
        "set_mempolicy_home_node",
        &[("start", POINTER), ("home_node", UINT)],
    ),
    row("userfaultfd", &[("flags", Flags(&names::USERFAULTFD))]),
    // Watches and handles.
    row(
        "fanotify_init",
        &[("flags", Value(service::fanotify_flags)), ("event_f_flags", OPEN)],
    ),
    row(
        "fanotify_mark",
        &[
            ("flags", Flags(&names::FAN_MARK)),
            ("mask", Flags(&names::FAN_EVENT)),
        ],
    ),
    row(
        "name_to_handle_at",
        &[
            ("handle", Show::input(136, service::handle).or(values::pointer)),
            ("mnt_id", INT_OUT),
        ],
    ),
    row(
        "open_by_handle_at",
        &[
            ("handle", Show::input(136, service::handle).or(values::pointer)),
            ("flags", OPEN),
        ],
    ),
    row(
        "mount_setattr",
        &[
            ("flags", AT),
            (
                "uattr",
                Show::sized("usize", 32, service::mount_attributes).or(values::pointer),
            ),
        ],
    ),
    row(
        "quotactl",
        &[
            ("cmd", Value(service::quota_command)),
            ("special", PATH),
            (
                "id",
                When(service::quota_has_id::<0>, &Value(service::quota_id::<0>)),
            ),
            (
                "addr",
                When(
                    service::quota_has_address::<0>,
                    &Show::input(48, service::quota_address::<0>).or(values::pointer),
                ),
            ),
        ],
    ),
    row(
        "quotactl_fd",
        &[
            ("cmd", Value(service::quota_command)),
            (
                "id",
                When(service::quota_has_id::<1>, &Value(service::quota_id::<1>)),
            ),
            (
                "addr",
                When(
                    service::quota_has_address::<1>,
                    &Show::input(48, service::quota_address::<1>).or(values::pointer),
                ),
            ),
        ],
    ),
    // The machine.
    row(
        "reboot",
        &[
            ("magic1", Enum(&names::REBOOT_MAGIC)),
            ("magic2", Enum(&names::REBOOT_MAGIC)),
            ("cmd", Enum(&names::REBOOT)),
            ("arg", When(service::reboot_has_text, &TEXT)),
        ],
    ),
    row(
        "syslog",
        &[
            ("type", Value(service::syslog_action)),
            ("buf", When(service::syslog_has_more, &RETURNED)),
            (
                "len",
                When(service::syslog_has_more, &Value(service::syslog_length)),
            ),
        ],
    ),
    row("sysfs", &[("option", HEX)]),
    row("ustat", &[("dev", Value(values::node_device))]),
    row(
        "kcmp",
        &[
            ("type", Enum(&names::KCMP)),
            (
                "idx1",
                When(service::kcmp_has_indices, &Value(service::kcmp_index::<3>)),
            ),
            (
                "idx2",
                When(service::kcmp_has_indices, &Value(service::kcmp_index::<4>)),
            ),
        ],
    ),
    row(
        "kexec_load",
        &[
            ("entry", POINTER),
            ("segments", POINTER),
            ("flags", Value(service::kexec_flags)),
        ],
    ),
    row(
        "kexec_file_load",
        &[
            ("cmdline_ptr", Show::buffer("cmdline_len")),
            ("flags", Flags(&names::KEXEC_FILE)),
        ],
    ),
    row("init_module", &[("uargs", TEXT)]),
    row(
        "finit_module",
        &[("uargs", TEXT), ("flags", Flags(&names::MODULE_INIT))],
    ),
    row("delete_module", &[("flags", Flags(&names::DELETE_MODULE))]),
    row(
        "swapon swapoff",
        &[("specialfile", PATH), ("swap_flags", Value(service::swap_flags))],
    ),
    row(
        "ioprio_set",
        &[
            ("which", Enum(&names::IOPRIO_WHO)),
            ("ioprio", Value(values::io_priority)),
        ],
    ),
    row("ioprio_get", &[("which", Enum(&names::IOPRIO_WHO))]).note(|out, call| {
        values::io_priority(out, call, call.ret.unsigned_abs());
        Some(())
    }),
    row(
        "get_robust_list",
        &[
            ("head_ptr", Show::output(8, service::address_out).wide()),
            ("len_ptr", Show::output(8, service::size_out).wide()),
        ],
    ),
    row("memfd_secret", &[("flags", Value(values::fd_creation_flags))]),
];
