//! The command line as a person is shown it: commands in groups, and examples of each, which its help and its manual page
//! end with.

use clap::{Command, CommandFactory};

use super::Cli;

/// The commands by what a person comes for.
const GROUPS: [(&str, &[&str]); 5] = [
    ("Watch", &["run", "tail", "top", "ps"]),
    (
        "Ask about a container",
        &[
            "explain", "stats", "verify", "caps", "dentry", "profile", "report",
        ],
    ),
    ("Keep for later", &["record", "dump", "replay", "export"]),
    (
        "Serve a node",
        &[
            "check", "hook", "daemon", "status", "config", "attach", "detach", "audit", "nri",
        ],
    ),
    ("Beside these", &["schema", "man", "completions", "help"]),
];

/// What it is for, and what is typed.
type Example = (&'static str, &'static str);

/// By the command's words.
const EXAMPLES: [(&str, &[Example]); 38] = [
    (
        "tracer run",
        &[
            ("All calls of a command", "tracer run -- ls /"),
            (
                "Those on files that failed, and why",
                "tracer run -e %file -Z --explain -- ls /nonexistent",
            ),
            ("How often, and how long", "tracer run -c -- ls /"),
            ("As JSON into a file", "tracer run -o json -w calls.jsonl -- ls /"),
        ],
    ),
    (
        "tracer tail",
        &[
            ("From now on", "tracer tail web"),
            (
                "From its start to its end: what failed, and why",
                "tracer tail --since-start --until-gone -Z --explain web",
            ),
            (
                "Network calls of a namespace, with addresses",
                "tracer tail -e trace=%network -yy --namespace shop",
            ),
            (
                "As JSON for another program",
                "tracer tail -o json web | jq .syscall",
            ),
        ],
    ),
    (
        "tracer record",
        &[
            (
                "A container, until it has gone",
                "tracer record --until-gone -w web.trec web",
            ),
            (
                "A command, without the daemon",
                "tracer record -w ls.trec -- ls /nonexistent",
            ),
            ("What failed in it", "tracer replay -Z ls.trec"),
        ],
    ),
    (
        "tracer replay",
        &[
            ("All of it", "tracer replay web.trec"),
            (
                "Calls on files that failed, and why",
                "tracer replay -e %file -Z --explain web.trec",
            ),
            ("One second of it", "tracer replay --from 2s --to 3s web.trec"),
            ("The counts", "tracer replay -c web.trec"),
        ],
    ),
    (
        "tracer dump",
        &[
            (
                "The last events of a container, also of one that has ended",
                "tracer dump web -w web.trec",
            ),
            ("What the daemon kept by itself", "tracer dump --list"),
        ],
    ),
    (
        "tracer export",
        &[
            (
                "For ui.perfetto.dev",
                "tracer export --format chrome -w web.json web",
            ),
            (
                "For DuckDB",
                "tracer export --format parquet -w web.parquet web.trec",
            ),
            (
                "For a spreadsheet, only what failed",
                "tracer export --format csv -Z web.trec > failed.csv",
            ),
        ],
    ),
    (
        "tracer report",
        &[
            ("Of a container, into report.html", "tracer report web"),
            (
                "Of a recording, without the daemon",
                "tracer report web.trec -o web.html",
            ),
        ],
    ),
    (
        "tracer ps",
        &[
            ("All containers", "tracer ps"),
            (
                "Those of a namespace with a label",
                "tracer ps --namespace shop -l 'app in (web,api)'",
            ),
            (
                "Why those are not complete that are not",
                "tracer ps -o json | jq 'select(.complete | not) | .reason'",
            ),
        ],
    ),
    (
        "tracer stats",
        &[
            ("As strace -c", "tracer stats web"),
            (
                "What fails most",
                "tracer stats -S errors -U calls,errors,name,errnos web",
            ),
            ("Again and again", "tracer stats --watch web"),
        ],
    ),
    (
        "tracer top",
        &[
            ("Live", "tracer top"),
            ("One table for a script", "tracer top --once -S errors"),
            ("A line of JSON every five seconds", "tracer top -b -d 5 -o json"),
        ],
    ),
    (
        "tracer explain",
        &[
            ("Each cause, with what to change", "tracer explain robot"),
            ("Of a recording, without the daemon", "tracer explain robot.trec"),
            (
                "For a script",
                "tracer explain robot -o json | jq 'select(.cause == \"capability\")'",
            ),
        ],
    ),
    (
        "tracer dentry",
        &[
            ("The paths that were looked for in vain", "tracer dentry web"),
            (
                "The ten most frequent, each five seconds",
                "tracer dentry --top 10 --watch=5 web",
            ),
        ],
    ),
    (
        "tracer profile",
        &[
            (
                "Make a profile, check it, use it",
                "tracer profile seccomp web > web.json",
            ),
            ("", "tracer profile check web.json web"),
            ("", "podman run --security-opt seccomp=web.json IMAGE"),
        ],
    ),
    (
        "tracer profile seccomp",
        &[
            (
                "For podman, Docker and the kubelet",
                "tracer profile seccomp web > web.json",
            ),
            (
                "For crun alone: tighter",
                "tracer profile seccomp --base crun web > web.json",
            ),
            (
                "For the security-profiles-operator",
                "tracer profile seccomp -o kubernetes web | kubectl apply -f -",
            ),
        ],
    ),
    (
        "tracer profile capabilities",
        &[
            ("Options of podman and Docker", "tracer profile capabilities web"),
            ("For a securityContext", "tracer profile capabilities -o json web"),
        ],
    ),
    (
        "tracer profile diff",
        &[
            (
                "What a new run needs that an old one did not",
                "tracer profile diff old.json new.json",
            ),
            (
                "Of podman's default",
                "tracer profile diff /usr/share/containers/seccomp.json web.json",
            ),
        ],
    ),
    (
        "tracer profile check",
        &[
            ("What it would have refused", "tracer profile check web.json web"),
            (
                "Of Docker's default, for a container with a capability",
                "tracer profile check --cap-add CAP_SYS_ADMIN default.json web",
            ),
        ],
    ),
    (
        "tracer profile merge",
        &[
            (
                "What any of two runs needs",
                "tracer profile merge first.json second.json > web.json",
            ),
            (
                "And what one that runs now needs",
                "tracer profile seccomp web | tracer profile merge web.json - > more.json",
            ),
        ],
    ),
    (
        "tracer caps",
        &[
            ("What it needs, lacks, never used", "tracer caps web"),
            ("Of a recording, without the daemon", "tracer caps web.trec"),
        ],
    ),
    (
        "tracer verify",
        &[
            ("Is it complete? Do its books balance?", "tracer verify web"),
            ("In a script", "tracer verify web > /dev/null && echo complete"),
            ("The books", "tracer verify -o json web | jq .books"),
        ],
    ),
    (
        "tracer status",
        &[
            ("What is traced, by which options", "tracer status"),
            ("In a script", "tracer status -o json | jq .ready"),
        ],
    ),
    (
        "tracer attach",
        &[
            ("By the name that its runtime knows", "tracer attach web"),
            ("By any of its processes", "tracer attach 4711 --name web"),
        ],
    ),
    (
        "tracer detach",
        &[
            ("It runs on; what was seen of it is kept", "tracer detach web"),
            ("With its books", "tracer detach -o json web | jq .books"),
        ],
    ),
    (
        "tracer audit",
        &[
            ("Who asks to be traced and is not?", "tracer audit"),
            (
                "Take them all in",
                "tracer audit -o json | jq -r .id | xargs -r -n 1 tracer attach",
            ),
        ],
    ),
    (
        "tracer check",
        &[
            ("What is there, what is missing", "tracer check"),
            ("And how that is known", "tracer check -v"),
            (
                "In a script",
                "tracer check -o json | jq '.[] | select(.ok | not)'",
            ),
        ],
    ),
    (
        "tracer schema",
        &[
            ("For a validator", "tracer schema > events.schema.json"),
            (
                "The fields of an event",
                "tracer schema | jq '.[\"$defs\"] | keys'",
            ),
        ],
    ),
    (
        "tracer hook",
        &[
            (
                "Show what would be written; write it",
                "tracer hook install --runtime podman",
            ),
            ("", "tracer hook install --runtime podman --write"),
            (
                "Try each step on the way to the daemon",
                "tracer hook status --runtime podman",
            ),
            ("Take it out", "tracer hook uninstall --runtime podman --write"),
        ],
    ),
    (
        "tracer hook install",
        &[
            (
                "Show what would be written",
                "tracer hook install --runtime containerd",
            ),
            ("Write it", "tracer hook install --runtime containerd --write"),
            (
                "For this user's rootless podman",
                "tracer hook install --runtime podman --user --write",
            ),
        ],
    ),
    (
        "tracer hook uninstall",
        &[
            ("Show what would go", "tracer hook uninstall --runtime docker"),
            ("Take it out", "tracer hook uninstall --runtime docker --write"),
        ],
    ),
    (
        "tracer hook status",
        &[
            (
                "Each step from the runtime to the daemon",
                "tracer hook status --runtime podman",
            ),
            (
                "In a script",
                "tracer hook status --runtime podman -o json | jq 'select(.ok | not)'",
            ),
        ],
    ),
    (
        "tracer daemon",
        &[
            (
                "As packages do",
                "systemctl enable --now tracer.socket tracer.service",
            ),
            ("By hand, for a try", "tracer daemon --runtime-dir /tmp/tracer"),
            (
                "Keep what was held of containers that fail",
                "tracer daemon --dump-on exit,signal,oom",
            ),
        ],
    ),
    (
        "tracer config",
        &[
            (
                "What the daemon would do, or what is wrong",
                "tracer config check",
            ),
            (
                "A file to begin with",
                "tracer config default > /etc/tracer/tracer.toml",
            ),
            ("Take it in", "systemctl reload tracer"),
        ],
    ),
    (
        "tracer config check",
        &[
            ("The file that the daemon reads", "tracer config check"),
            (
                "Another, before it takes its place",
                "tracer config check ./tracer.toml",
            ),
        ],
    ),
    (
        "tracer config show",
        &[
            ("What holds", "tracer config show"),
            ("By another file", "tracer config show ./tracer.toml"),
        ],
    ),
    (
        "tracer config default",
        &[
            (
                "A file to begin with",
                "tracer config default > /etc/tracer/tracer.toml",
            ),
            (
                "What was changed",
                "tracer config default | diff - /etc/tracer/tracer.toml",
            ),
        ],
    ),
    (
        "tracer nri",
        &[
            ("As packages do", "systemctl enable --now tracer-nri.service"),
            ("By hand", "tracer nri --socket /var/run/nri/nri.sock"),
        ],
    ),
    (
        "tracer man",
        &[
            ("A command's page", "tracer man hook install"),
            (
                "All of them, as files",
                "tracer man --out /usr/local/share/man/man1",
            ),
        ],
    ),
    (
        "tracer completions",
        &[
            ("In this shell", ". <(tracer completions bash)"),
            (
                "For good",
                "tracer completions fish > ~/.config/fish/completions/tracer.fish",
            ),
        ],
    ),
];

/// The command line with all that is shown of it.
pub fn command() -> Command {
    let root = Cli::command();
    let groups = groups(&root);
    with_examples(root, "tracer")
        .before_help(groups)
        .help_template("{about-with-newline}\n{usage-heading} {usage}\n\n{before-help}Options:\n{options}\n\n`tracer help COMMAND` has options and examples, `tracer man COMMAND` the manual page.")
}

/// The examples of a command, by its words.
pub fn of(words: &str) -> &'static [Example] {
    EXAMPLES
        .iter()
        .find_map(|(command, examples)| (*command == words).then_some(*examples))
        .unwrap_or_default()
}

fn with_examples(command: Command, words: &str) -> Command {
    let mut help = String::new();
    for (what, line) in of(words) {
        if !what.is_empty() {
            help.push_str(&format!("  # {what}\n"));
        }
        help.push_str(&format!("  {line}\n"));
    }
    let command = match help.as_str() {
        "" => command,
        help => command.after_help(format!("Examples:\n{}", help.trim_end_matches('\n'))),
    };
    command.mut_subcommands(|below| {
        let words = format!("{words} {}", below.get_name());
        with_examples(below, &words)
    })
}

fn groups(root: &Command) -> String {
    let mut text = String::new();
    for (head, names) in GROUPS {
        text.push_str(&format!("{head}:\n"));
        for name in names {
            let about = root.find_subcommand(name).and_then(Command::get_about);
            let about = about.map_or_else(|| "Show the help of a command".to_owned(), ToString::to_string);
            text.push_str(&format!("  {name:<12} {about}\n"));
        }
        text.push('\n');
    }
    text.truncate(text.trim_end().len());
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(command: &Command, words: &str, to: &mut Vec<String>) {
        for below in command
            .get_subcommands()
            .filter(|below| below.get_name() != "help" && !below.is_hide_set())
        {
            let words = format!("{words} {}", below.get_name());
            all(below, &words, to);
            to.push(words);
        }
    }

    /// The words of a line as a shell has them, up to where another program begins.
    fn words(line: &str) -> Vec<String> {
        let mut words = vec![String::new()];
        let mut quoted = false;
        for c in line.chars() {
            match c {
                '\'' => quoted = !quoted,
                _ if quoted => words.last_mut().unwrap().push(c),
                '|' | '>' | '&' | ')' => break,
                ' ' if words.last().unwrap().is_empty() => {}
                ' ' => words.push(String::new()),
                c => words.last_mut().unwrap().push(c),
            }
        }
        words.retain(|word| !word.is_empty());
        words
    }

    #[test]
    fn each_command_has_examples_and_each_is_understood() {
        let mut commands = Vec::new();
        all(&Cli::command(), "tracer", &mut commands);
        for (command, examples) in EXAMPLES {
            assert!(
                commands.iter().any(|known| known == command),
                "no command {command}"
            );
            assert!((2..=4).contains(&examples.len()), "{command}: {}", examples.len());
        }
        for command in commands {
            let mut its_own = 0;
            for (_, line) in of(&command) {
                // Also where it stands behind another program.
                for part in line
                    .split_inclusive("| ")
                    .filter_map(|part| part.split_once("tracer "))
                {
                    let (before, rest) = part;
                    if !before.is_empty() && !before.ends_with(['(', ' ']) || before.contains("xargs") {
                        continue;
                    }
                    let typed = words(&format!("tracer {rest}"));
                    let read = command_line().try_get_matches_from(&typed);
                    assert!(read.is_ok(), "{line}: {}", read.unwrap_err());
                    its_own += usize::from(typed.join(" ").starts_with(&command));
                }
            }
            assert!(its_own > 0, "{command} has no example of its own");
        }
    }

    fn command_line() -> Command {
        super::command()
    }

    #[test]
    fn each_command_is_in_one_group_and_told_in_one_line() {
        let mut listed: Vec<_> = GROUPS.iter().flat_map(|(_, names)| *names).copied().collect();
        listed.sort_unstable();
        let root = Cli::command();
        let shown = root.get_subcommands().filter(|command| !command.is_hide_set());
        let mut all: Vec<_> = shown.map(Command::get_name).collect();
        all.push("help");
        all.sort_unstable();
        assert_eq!(listed, all);
        let help = command_line().render_help().to_string();
        for line in help.lines() {
            assert!(line.chars().count() <= 100, "{line}");
        }
        assert!(
            help.find("Watch:").unwrap() < help.find("Options:").unwrap(),
            "{help}"
        );
    }
}
