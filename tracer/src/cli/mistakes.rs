//! What is said beside clap's words to whoever takes `-o` and `-w` for each other: by command, `-o` is a format, a file, or
//! not there.

use std::ffi::OsString;

use clap::{
    Arg, Command, Error,
    error::{ContextKind, ContextValue, ErrorKind},
};

/// The error with what to type instead, where that is known.
pub fn advised(mut error: Error, root: &Command, typed: impl Iterator<Item = OsString>) -> Error {
    let wrong = match error.get(ContextKind::InvalidArg) {
        Some(ContextValue::String(wrong)) => wrong.split([' ', '=']).next().unwrap_or_default(),
        _ => return error,
    };
    if let Some(tip) = tip(command(root, typed), error.kind(), wrong) {
        error.insert(ContextKind::Suggested, ContextValue::StyledStrs(vec![tip.into()]));
    }
    error
}

/// The command that these words are of.
fn command(root: &Command, typed: impl Iterator<Item = OsString>) -> &Command {
    let mut command = root;
    for word in typed.skip(1) {
        match command.find_subcommand(&word) {
            Some(below) => command = below,
            None if command.has_subcommands() => {}
            None => break,
        }
    }
    command
}

fn tip(command: &Command, kind: ErrorKind, wrong: &str) -> Option<&'static str> {
    let takes = |short, value| {
        let is = |arg: &Arg| {
            let names = arg.get_value_names().unwrap_or_default();
            arg.get_short() == Some(short) && names.iter().any(|name| name == value)
        };
        command.get_arguments().any(is)
    };
    let formats = || {
        command
            .get_arguments()
            .any(|arg| arg.get_long() == Some("format"))
    };
    match (kind, wrong) {
        (ErrorKind::InvalidValue, "--output") if takes('w', "FILE") => {
            Some("-o is the format here, the file is -w FILE")
        }
        (ErrorKind::InvalidValue, "--output") => Some("-o is the format here, a file is made by > FILE"),
        (ErrorKind::UnknownArgument, "-o" | "--output") if formats() => {
            Some("the format is --format FORMAT here, the file -w FILE")
        }
        (ErrorKind::UnknownArgument, "-o" | "--output") if takes('w', "FILE") => {
            Some("the file is -w FILE here")
        }
        (ErrorKind::UnknownArgument, "-w" | "--write") if takes('o', "FILE") => {
            Some("the file is -o FILE here")
        }
        (ErrorKind::UnknownArgument, "-w" | "--write") if takes('o', "FORMAT") => {
            Some("a file is made by > FILE here")
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use crate::cli;

    /// What is said to that line.
    fn said(line: &str) -> String {
        let words = || line.split(' ').map(Into::into);
        let mut command = cli::command();
        let error = command.try_get_matches_from_mut(words()).unwrap_err();
        super::advised(error, &command, words()).to_string()
    }

    #[test]
    fn a_file_and_a_format_are_told_apart() {
        for (line, tip) in [
            (
                "tracer run -o calls.json -- true",
                "-o is the format here, the file is -w FILE",
            ),
            (
                "tracer tail --output=calls.json web",
                "-o is the format here, the file is -w FILE",
            ),
            (
                "tracer dump web -o web.trec",
                "-o is the format here, the file is -w FILE",
            ),
            (
                "tracer stats -o web.json web",
                "-o is the format here, a file is made by > FILE",
            ),
            (
                "tracer profile seccomp -o web.json web",
                "-o is the format here, a file is made by > FILE",
            ),
            ("tracer record -o web.trec web", "the file is -w FILE here"),
            (
                "tracer export web -o web.json --format chrome",
                "the format is --format FORMAT here, the file -w FILE",
            ),
            ("tracer report -w web.html web", "the file is -o FILE here"),
            (
                "tracer profile seccomp -w web.json web",
                "a file is made by > FILE here",
            ),
            ("tracer report -o json web", "-o ./json if that is its name"),
            (
                "tracer report web --output text",
                "which is always HTML: -o report.html",
            ),
        ] {
            let said = said(line);
            assert!(
                said.contains(tip) && !said.contains("use '-- -"),
                "{line}\n{said}"
            );
        }
    }

    #[test]
    fn other_mistakes_are_left_to_clap() {
        assert!(said("tracer tail --falied-only").contains("a similar argument exists: '--failed-only'"));
        assert!(!said("tracer tail --mode full").contains("-w"));
        assert!(!said("tracer hook install -w --runtime podman").contains("FILE"));
    }

    #[test]
    fn what_is_of_a_command_is_not_taken_with_containers() {
        for line in [
            "tracer record -w x --lossless web",
            "tracer record -w x --rootfs / web",
            "tracer record -w x --lossless",
            "tracer record -w x --pod web -- true",
            "tracer record -w x --since-start -- true",
            "tracer record -w x web -- true",
        ] {
            let _refused = said(line);
        }
        let whole = "tracer record -w x --lossless --rootfs / -- true";
        cli::command().try_get_matches_from(whole.split(' ')).unwrap();
    }
}
