//! Programs that do not start. ENOENT of a program that is there means its loader or interpreter; EACCES of root means that
//! nobody may execute it.

use super::{
    Rule,
    words::{bound, capabilities, leads_nowhere, mode, shown, to_nothing},
};
use crate::{
    event::{Cause, Place},
    explain::{Case, Finding, Kind, Path, Program, arguments, case::Found},
};

pub(super) const RULE: Rule = Rule {
    name: "exec",
    source: "execve(2); fs/exec.c, fs/binfmt_elf.c, fs/binfmt_script.c; security/commoncap.c: bprm_caps_from_vfs_caps",
    judge,
};

fn judge(case: &Case<'_>) -> Finding {
    if !case.is(&["execve", "execveat"]) {
        return Finding::NotMine;
    }
    let path = case.scene.paths.first();
    match (case.errno(), path) {
        (Some(libc::E2BIG), _) => too_long(case),
        (Some(libc::ENOENT), Some(path)) => loader(path),
        (Some(libc::ENOEXEC | libc::EINVAL), Some(path)) => no_program(case, path),
        (Some(libc::EACCES), Some(path)) => not_executable(path),
        (Some(libc::EPERM), Some(path)) => file_capabilities(case, path),
        (Some(libc::ETXTBSY), Some(path)) => Found::new(
            Cause::Arguments,
            format!("{} is open for writing somewhere", shown(&path.given)),
        )
        .always("execve(2): ETXTBSY")
        .fix(
            Place::Program,
            "close the file before it is executed; another process may have inherited the descriptor",
        )
        .done(),
        _ => Finding::NotMine,
    }
}

/// Whether the file itself is there.
fn is_there(path: &Path) -> bool {
    path.missing.is_none() && path.left == 0
}

fn loader(path: &Path) -> Finding {
    if !is_there(path) {
        return Finding::NotMine;
    }
    let given = shown(&path.given);
    match &path.program {
        Some(Program::Elf {
            loader: Some((loader, false)),
            machine,
            ..
        }) => {
            let loader = shown(loader);
            let found = Found::new(
                Cause::Interpreter,
                format!("{given} is there, its loader {loader} {}", lost(path)),
            )
            .after(format!(
                "PT_INTERP of {given} is {loader}, and there is no such file in the container"
            ))
            .always("execve(2): ENOENT of an ELF interpreter that does not exist");
            let musl = loader.contains("ld-musl");
            found
                .fix(
                    Place::Image,
                    match () {
                        () if musl => "the program was built for musl (Alpine): build it for this image, or statically, or install musl".to_owned(),
                        () if loader.contains("ld-linux") || loader.contains("ld64") => format!(
                            "the program was built for glibc{}: use an image with glibc, build the program there, or link it statically (on Alpine: apk add gcompat)",
                            if *machine == 3 { " of 32 bits (Debian: dpkg --add-architecture i386, libc6:i386)" } else { "" }
                        ),
                        () => format!("install what has {loader}, or link the program statically"),
                    },
                )
                .done()
        }
        Some(Program::Script {
            interpreter,
            there: false,
            carriage_return,
        }) => {
            let name = shown(interpreter.strip_suffix(b"\r").unwrap_or(interpreter));
            if *carriage_return {
                return Found::new(
                    Cause::Interpreter,
                    format!("{given} has lines that end with CR LF: its interpreter is {name} with a carriage return, which is not there"),
                )
                .after("the first line ends in \\r")
                .always("the kernel takes the whole first line (fs/binfmt_script.c)")
                .fix(Place::Image, format!("sed -i 's/\\r$//' {given}, or git's core.autocrlf=input"))
                .done();
            }
            if interpreter.is_empty() {
                return Found::new(
                    Cause::NoProgram,
                    format!("{given} begins with #! and names no interpreter"),
                )
                .fix(Place::Image, "#!/bin/sh as the first line")
                .done();
            }
            Found::new(
                Cause::Interpreter,
                format!("{given} is there, its interpreter {name} {}", lost(path)),
            )
            .after(format!(
                "the first line of {given} is #!{name}, and there is no such file in the container"
            ))
            .always("execve(2): ENOENT of a script interpreter that does not exist")
            .fix(
                Place::Image,
                format!("install {name}, or name one that is there (#!/bin/sh, #!/usr/bin/env NAME)"),
            )
            .done()
        }
        Some(Program::Elf {
            loader: Some((loader, true)),
            ..
        }) => Finding::RuledOut(format!("the loader: {} is there", shown(loader))),
        Some(Program::Script { interpreter, .. }) => Finding::RuledOut(format!(
            "the interpreter: {} is there; its own loader was not looked at",
            shown(interpreter)
        )),
        _ => Finding::NotMine,
    }
}

/// What became of the interpreter or loader that is not there: a link may be, and not what it leads to.
fn lost(path: &Path) -> String {
    let lost = path.lost.as_deref();
    match lost.and_then(|lost| Some((lost, lost.dangling()?))) {
        None => "is not".to_owned(),
        Some((lost, link)) if link.path == lost.given => to_nothing(link),
        Some((_, link)) => format!("is not: {}", leads_nowhere(link)),
    }
}

/// `e_machine` of include/uapi/linux/elf-em.h, as uname(1) and image platforms name it.
fn machine(number: u16, wide: bool) -> String {
    let name = match number {
        3 => "x86 of 32 bits (linux/386)",
        8 => "MIPS (linux/mips)",
        20 => "PowerPC",
        21 => "PowerPC of 64 bits (linux/ppc64le)",
        22 => "s390 (linux/s390x)",
        40 => "ARM of 32 bits (linux/arm)",
        62 => "x86-64 (linux/amd64)",
        183 => "ARM of 64 bits (linux/arm64)",
        243 if wide => "RISC-V of 64 bits (linux/riscv64)",
        243 => "RISC-V",
        247 => "BPF",
        258 => "LoongArch (linux/loong64)",
        other => return format!("machine {other}"),
    };
    name.to_owned()
}

/// As engines call a machine that this program runs on.
fn platform(native: u16) -> &'static str {
    match native {
        183 => "linux/arm64",
        _ => "linux/amd64",
    }
}

/// Whether the kernel runs it beside native programs.
fn is_compatible(native: u16, other: u16) -> bool {
    native == other || (native == 62 && other == 3) || (native == 183 && other == 40)
}

fn no_program(case: &Case<'_>, path: &Path) -> Finding {
    if !is_there(path) {
        return Finding::NotMine;
    }
    let given = shown(&path.given);
    let native = case.scene.machine.elf_machine;
    match &path.program {
        Some(Program::Elf {
            machine: its, wide, ..
        }) if !is_compatible(native, *its) => {
            let wanted = machine(*its, *wide);
            Found::new(
                Cause::Architecture,
                format!(
                    "{given} is a program for {wanted}, and this machine is {}",
                    machine(native, true)
                ),
            )
            .after(format!("e_machine of {given} is {its}"))
            .always("execve(2): ENOEXEC")
            .flag(&format!(
                "--platform {}, where the image has it",
                platform(native)
            ))
            .fix(
                Place::Image,
                "build for this machine, or as an image of several platforms (buildx, buildah manifest)",
            )
            .fix(
                Place::Host,
                "qemu-user-static with binfmt_misc, which runs foreign programs slowly",
            )
            .done()
        }
        Some(Program::Elf { machine: its, .. }) if native != *its => Found::new(
            Cause::Architecture,
            format!("{given} is a program of 32 bits, which this kernel does not run"),
        )
        .after(format!("e_machine of {given} is {its}"))
        .always("CONFIG_IA32_EMULATION or CONFIG_COMPAT")
        .fix(Place::Image, "build for 64 bits")
        .done(),
        Some(Program::Elf { .. }) => Finding::RuledOut("the architecture: it is this machine's".into()),
        Some(Program::Other { empty: true }) => Found::new(Cause::NoProgram, format!("{given} is empty"))
            .always("execve(2): ENOEXEC")
            .fix(Place::Image, "the build has left an empty file")
            .done(),
        Some(Program::Other { empty: false }) => Found::new(
            Cause::NoProgram,
            format!("{given} is neither ELF nor a script with #!"),
        )
        .after("it begins with neither \\x7fELF nor #!, and no binfmt_misc handler took it")
        .always("execve(2): ENOEXEC; a shell then runs it as a script itself")
        .fix(
            Place::Image,
            "if it is a script: #!/bin/sh as the very first bytes (no byte order mark before it)",
        )
        .done(),
        Some(Program::Script { interpreter, .. }) => Finding::RuledOut(format!(
            "the program: it is a script of {}, which was not looked at",
            shown(interpreter)
        )),
        None => Finding::NotMine,
    }
}

fn not_executable(path: &Path) -> Finding {
    let Some(last) = path.steps.last().filter(|_| is_there(path)) else {
        return Finding::NotMine;
    };
    let given = shown(&path.given);
    if last.kind == Kind::Directory {
        return Found::new(Cause::NoProgram, format!("{given} is a directory"))
            .after(format!("{} is a directory", shown(&last.path)))
            .always("execve(2): EACCES of what is no regular file")
            .fix(
                Place::Image,
                "the command of the container (ENTRYPOINT, CMD, command:) must be a program",
            )
            .done();
    }
    if last.kind != Kind::File {
        return Found::new(Cause::NoProgram, format!("{given} is no regular file"))
            .always("execve(2): EACCES")
            .done();
    }
    if last.mode & 0o111 != 0 || last.acl.is_some() {
        return Finding::NotMine;
    }
    Found::new(
        Cause::Dac,
        format!(
            "{given} is {}: nobody may execute it, root neither",
            mode(last.mode)
        ),
    )
    .after(format!("the mode of {} is {:04o}", shown(&last.path), last.mode))
    .always("a capability lets execute what has an x for somebody (capabilities(7), CAP_DAC_OVERRIDE)")
    .fix(
        Place::Image,
        format!("chmod +x {given}; in a Dockerfile, COPY --chmod=755"),
    )
    .done()
}

/// With the effective bit on the file, all that it permits must be in the bounding set.
fn file_capabilities(case: &Case<'_>, path: &Path) -> Finding {
    let (Some(wanted), Some(evidence)) = (path.file_capabilities, case.evidence()) else {
        return Finding::NotMine;
    };
    let lacking = wanted & !evidence.bounding;
    if lacking == 0 {
        return Finding::RuledOut("the file's capabilities: all are in the bounding set".into());
    }
    let names = capabilities(lacking);
    let short: Vec<_> = names
        .iter()
        .map(|name| name.trim_start_matches("CAP_").to_owned())
        .collect();
    let given = shown(&path.given);
    let mut found = Found::new(
        Cause::Capability,
        format!(
            "{given} has file capabilities that the container may not have: {}",
            names.join(", ")
        ),
    )
    .after(format!("security.capability of {given} has the effective bit and {wanted:#x}"))
    .at_call(format!("the task's bounding set is {:#x}", evidence.bounding))
    .always("execve(2): EPERM of a program that would not get the capabilities that its file says (capabilities(7))");
    for name in &short {
        found = found.flag(&format!("--cap-add={name}"));
    }
    found
        .fix(
            Place::Kubernetes,
            format!(
                r#"securityContext.capabilities.add: ["{}"]"#,
                short.join("\", \"")
            ),
        )
        .fix(Place::Image, format!("setcap -r {given}"))
        .done()
}

/// MAX_ARG_STRLEN of include/uapi/linux/binfmts.h: 32 pages, the NUL among them.
const STRING: u64 = 131_072;

/// How long the strings may be: each one, and all together with a pointer each (bprm_stack_limits and copy_strings,
/// fs/exec.c). Which of the two it was, the kernel does not say; few strings cannot be too long together.
fn too_long(case: &Case<'_>) -> Finding {
    let together = case.scene.stack.map(|stack| (stack / 4).clamp(STRING, 6 << 20));
    let strings = strings(case);
    let count = strings.map(|(arguments, variables)| arguments + variables);
    let all_as_long_as_can_be = count.map(|count| count * (STRING + 8) + 4096);
    // As long as the limit is not known, it is the least that it can be.
    let is_one = all_as_long_as_can_be.is_some_and(|most| most <= together.unwrap_or(STRING));
    let mut found = Found::new(
        Cause::Arguments,
        match (is_one, together) {
            (true, _) => format!(
                "an argument, or a variable of the environment, is too long: one may have {} bytes",
                STRING - 1
            ),
            (false, Some(together)) => format!(
                "the arguments and the environment are too long: together they may have {together} bytes here, each one {}",
                STRING - 1
            ),
            (false, None) => "the arguments and the environment are too long".to_owned(),
        },
    );
    if let Some((arguments, variables)) = strings {
        found = found.at_call(format!(
            "it was given {arguments} arguments and {variables} variables: {}",
            if is_one {
                "too few to be too long together"
            } else {
                "they may be too long together, or one of them alone"
            }
        ));
    }
    if let Some(stack) = case.scene.stack {
        found = found.after(format!(
            "RLIMIT_STACK is {}, and a quarter of it is for them",
            bound(stack)
        ));
    }
    found = found.always("one string may have 131072 bytes with its NUL, all together with a pointer each a quarter of RLIMIT_STACK, 128 KiB at least and 6 MiB at most (execve(2))");
    if !is_one && together.is_none_or(|together| together < 6 << 20) {
        found = found
            .flag("--ulimit stack=25165824:25165824, where it is the sum that is too long")
            .fix(
                Place::Systemd,
                "LimitSTACK=25165824 of the engine's unit, where it is the sum",
            );
    }
    found
        .fix(
            Place::Program,
            "pass long lists in a file or through a pipe (xargs, @file), a long variable as a file that is mounted",
        )
        .done()
}

/// How many arguments and how many variables a call was given, where both were counted to their ends.
fn strings(case: &Case<'_>) -> Option<(u64, u64)> {
    let (argv, envp) = (case.text("argv")?, case.text("envp")?);
    let inner = argv.strip_prefix('[')?.strip_suffix(']')?;
    if inner.ends_with("...") && !inner.ends_with("\"...") {
        return None;
    }
    // A quote within a string has a backslash before it; a string that is cut for display has dots behind it.
    let arguments = if inner.is_empty() {
        0
    } else {
        1 + inner.matches("\", \"").count() + inner.matches("\"..., \"").count()
    };
    let variables = if envp == "NULL" {
        0
    } else {
        arguments::number_after(envp, "/* ").filter(|_| !case.arg("envp").is_some_and(|arg| arg.truncated))?
    };
    Some((arguments as u64, variables))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        event::Evidence,
        explain::{
            Component, Machine, Scene,
            rules::testing::{ask, failed, verdict},
        },
    };

    fn scene(program: Option<Program>) -> Scene {
        Scene {
            paths: vec![Path {
                arg: "filename",
                given: b"/app".to_vec(),
                steps: vec![Component {
                    path: b"/app".to_vec(),
                    mode: 0o755,
                    ..Component::default()
                }],
                program,
                ..Path::default()
            }],
            machine: Machine {
                elf_machine: 62,
                ..Machine::default()
            },
            ..Scene::default()
        }
    }

    fn elf(machine: u16, loader: Option<(&str, bool)>) -> Option<Program> {
        Some(Program::Elf {
            machine,
            wide: true,
            loader: loader.map(|(path, there)| (path.into(), there)),
        })
    }

    fn script(interpreter: &str, carriage_return: bool) -> Option<Program> {
        Some(Program::Script {
            interpreter: interpreter.into(),
            there: false,
            carriage_return,
        })
    }

    #[test]
    fn a_program_without_its_loader() {
        let call = failed("execve", libc::ENOENT, &[]);
        let told = verdict(
            &RULE,
            &call,
            &scene(elf(62, Some(("/lib/ld-musl-x86_64.so.1", false)))),
        );
        assert_eq!(told.cause, Cause::Interpreter);
        assert_eq!(
            told.why,
            "/app is there, its loader /lib/ld-musl-x86_64.so.1 is not"
        );
        assert!(told.fixes[0].line.contains("musl"));
        let there = scene(elf(62, Some(("/lib/ld.so", true))));
        assert!(matches!(ask(&RULE, &call, &there), Finding::RuledOut(_)));
    }

    #[test]
    fn a_script_without_its_interpreter() {
        let call = failed("execve", libc::ENOENT, &[]);
        let told = verdict(&RULE, &call, &scene(script("/bin/bash", false)));
        assert_eq!(told.why, "/app is there, its interpreter /bin/bash is not");
        let told = verdict(&RULE, &call, &scene(script("/bin/sh\r", true)));
        assert!(told.why.contains("CR LF"), "{}", told.why);
        assert!(told.fixes[0].line.starts_with("sed -i"));
    }

    #[test]
    fn an_interpreter_that_is_a_link_to_nothing() {
        let call = failed("execve", libc::ENOENT, &[]);
        let link = |path: &str| Component {
            path: path.into(),
            kind: Kind::Link,
            target: Some(b"/opt/bash-5".to_vec()),
            ..Component::default()
        };
        let mut scene = scene(script("/bin/bash", false));
        let mut why = |steps| {
            scene.paths[0].lost = Some(Box::new(Path {
                given: b"/bin/bash".to_vec(),
                steps,
                missing: Some(b"opt".to_vec()),
                ..Path::default()
            }));
            verdict(&RULE, &call, &scene).why
        };
        assert_eq!(
            why(vec![link("/bin/bash")]),
            "/app is there, its interpreter /bin/bash is a link to /opt/bash-5, which is not there"
        );
        assert_eq!(
            why(vec![link("/bin")]),
            "/app is there, its interpreter /bin/bash is not: /bin is a link to /opt/bash-5, which is not there"
        );
        assert_eq!(why(Vec::new()), "/app is there, its interpreter /bin/bash is not");
    }

    #[test]
    fn a_program_that_is_not_there_is_another_rules() {
        let mut scene = scene(None);
        scene.paths[0].missing = Some(b"app".to_vec());
        let call = failed("execve", libc::ENOENT, &[]);
        assert_eq!(ask(&RULE, &call, &scene), Finding::NotMine);
    }

    #[test]
    fn a_program_of_another_machine() {
        let call = failed("execve", libc::ENOEXEC, &[]);
        let told = verdict(&RULE, &call, &scene(elf(183, None)));
        assert_eq!(told.cause, Cause::Architecture);
        assert_eq!(
            told.why,
            "/app is a program for ARM of 64 bits (linux/arm64), and this machine is x86-64 (linux/amd64)"
        );
        assert!(matches!(
            ask(&RULE, &call, &scene(elf(62, None))),
            Finding::RuledOut(_)
        ));
    }

    #[test]
    fn what_is_no_program() {
        let call = failed("execve", libc::ENOEXEC, &[]);
        let other = |empty| verdict(&RULE, &call, &scene(Some(Program::Other { empty }))).why;
        assert_eq!(other(true), "/app is empty");
        assert_eq!(other(false), "/app is neither ELF nor a script with #!");
    }

    #[test]
    fn what_nobody_may_execute() {
        let call = failed("execve", libc::EACCES, &[]);
        let mut scene = scene(None);
        scene.paths[0].steps[0].mode = 0o644;
        let told = verdict(&RULE, &call, &scene);
        assert_eq!(
            (told.cause, &*told.why),
            (
                Cause::Dac,
                "/app is rw-r--r--: nobody may execute it, root neither"
            )
        );
        scene.paths[0].steps[0].kind = Kind::Directory;
        assert_eq!(verdict(&RULE, &call, &scene).cause, Cause::NoProgram);
        scene.paths[0].steps[0].kind = Kind::File;
        scene.paths[0].steps[0].mode = 0o700;
        assert_eq!(ask(&RULE, &call, &scene), Finding::NotMine);
    }

    #[test]
    fn file_capabilities_that_the_container_may_not_have() {
        let mut scene = scene(elf(62, None));
        scene.paths[0].file_capabilities = Some(1 << 13);
        let call = |bounding| {
            let evidence = Evidence {
                bounding,
                ..Evidence::default()
            };
            failed("execve", libc::EPERM, &[]).knowing(evidence)
        };
        let told = verdict(&RULE, &call(0), &scene);
        assert!(told.why.ends_with("CAP_NET_RAW"), "{}", told.why);
        assert_eq!(told.fixes[0].line, "--cap-add=NET_RAW");
        assert!(matches!(ask(&RULE, &call(1 << 13), &scene), Finding::RuledOut(_)));
    }

    #[test]
    fn too_long_together_or_one_of_them() {
        let told = |argv: &str, envp: &str, stack| {
            let args = [("argv", 1, argv), ("envp", 2, envp)];
            let scene = Scene {
                stack,
                ..Scene::default()
            };
            verdict(&RULE, &failed("execve", libc::E2BIG, &args), &scene)
        };
        let few = told(r#"["sh", "-c", "xxxx"...]"#, "0x7ffe /* 9 vars */", Some(8 << 20));
        assert_eq!(few.cause, Cause::Arguments);
        assert_eq!(
            few.why,
            "an argument, or a variable of the environment, is too long: one may have 131071 bytes"
        );
        assert_eq!(
            few.evidence[0].text,
            "it was given 3 arguments and 9 variables: too few to be too long together"
        );
        assert!(
            few.fixes.iter().all(|fix| fix.place == Place::Program),
            "no limit helps"
        );
        // More of them may be too long together, and so may a few where the limit is not known or low.
        for (variables, stack) in [(40, Some(8 << 20)), (9, None), (9, Some(1 << 20))] {
            let many = told(
                r#"["sh", "a\", \"b"]"#,
                &format!("0x7ffe /* {variables} vars */"),
                stack,
            );
            assert!(
                many.evidence[0].text.starts_with("it was given 2 arguments"),
                "{many:?}"
            );
            assert!(
                many.fixes.iter().any(|fix| fix.line.contains("--ulimit stack=")),
                "{many:?}"
            );
        }
        let many = told("[\"a\", ...]", "0x7ffe /* 9 vars */", Some(u64::MAX));
        assert_eq!(
            many.why,
            "the arguments and the environment are too long: together they may have 6291456 bytes here, each one 131071"
        );
        assert_eq!(many.fixes.len(), 1, "no limit lifts it: {many:?}");
    }
}
