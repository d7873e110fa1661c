//! The examples at the end of each `--help`. A test parses every one of them, so that they cannot rot.

use clap::Command;

/// What a line does, and the line.
type Example = (&'static str, &'static str);

/// Examples by subcommand, in the order of `tasker --help`; the empty name is `tasker` itself.
const EXAMPLES: &[(&str, &[Example])] = &[
    (
        "",
        &[
            ("Start everything on this machine", "tasker up"),
            ("Submit a task and wait for its end", "tasker task submit shop/order --context '{\"id\": 42}' --wait"),
            ("See what goes on", "tasker top"),
            ("Find out what is wrong", "tasker doctor"),
        ],
    ),
    (
        "up",
        &[
            ("In the folder tasker-data, at the usual ports", "tasker up"),
            (
                "Elsewhere, at ports 8000 and 8001, with a template",
                "tasker up --data /var/lib/tasker --port 8000 --template order.yaml",
            ),
            ("In a script: free ports, and a file that says which", "tasker up --port 0 --ready-file ready.json"),
        ],
    ),
    (
        "broker",
        &[
            ("With a configuration; DATABASE_URL says where Postgres is", "tasker broker -c /etc/tasker.toml"),
            ("Bring the database up to date first", "tasker broker -c /etc/tasker.toml --migrate"),
        ],
    ),
    (
        "migrate",
        &[
            ("The database that DATABASE_URL names", "tasker migrate"),
            ("That of a configuration; what was done as JSON", "tasker migrate -c /etc/tasker.toml -o json"),
        ],
    ),
    (
        "prune",
        &[
            ("What would leave by the ages of [retention]", "tasker prune -c /etc/tasker.toml --dry-run"),
            ("What would leave if ended tasks were kept for 90 days", "tasker prune --older-than 90d --dry-run"),
            ("Let it leave, into files first", "tasker prune --older-than 90d --archive /var/lib/tasker/archive"),
        ],
    ),
    (
        "archive",
        &[
            ("Whether a file is complete", "tasker archive check tasks-2026-01-001.jsonl.gz"),
            ("What tasks it has", "tasker archive show tasks-2026-01-001.jsonl.gz"),
        ],
    ),
    (
        "archive show",
        &[
            ("Its tasks", "tasker archive show tasks-2026-01-001.jsonl.gz"),
            (
                "All that there is of one",
                "tasker archive show tasks-2026-01-001.jsonl.gz 0190b8a4-0000-7000-8000-000000000001",
            ),
        ],
    ),
    ("archive check", &[("Compare a file with its manifest", "tasker archive check tasks-2026-01-001.jsonl.gz")]),
    (
        "template",
        &[
            ("Check a file without a broker", "tasker template validate order.yaml"),
            ("Store it", "tasker template register order.yaml"),
        ],
    ),
    (
        "template validate",
        &[
            ("All files of a folder", "tasker template validate config/tasker/order.yaml config/tasker/refund.yaml"),
            ("With the overrides of an environment", "tasker template validate order.yaml --environment production"),
        ],
    ),
    (
        "template register",
        &[
            ("Two templates", "tasker template register order.yaml refund.yaml"),
            ("At another broker", "tasker template register order.yaml --context staging"),
        ],
    ),
    (
        "template list",
        &[
            ("All", "tasker template list"),
            ("Those of a namespace, one JSON object a line", "tasker template list --namespace shop -o jsonl"),
        ],
    ),
    (
        "template show",
        &[
            ("The highest version", "tasker template show shop/order"),
            ("Exactly this one, with its digest", "tasker template show shop/order@1.2.0 -o yaml"),
        ],
    ),
    (
        "task",
        &[
            ("Submit", "tasker task submit shop/order --context '{\"id\": 42}'"),
            ("Which have failed?", "tasker task list --state error"),
            ("Why?", "tasker task tree 0190b8a4-0000-7000-8000-000000000001"),
        ],
    ),
    (
        "task submit",
        &[
            (
                "With a context from a file, once for each key",
                "tasker task submit shop/order --context order.json --key order-42",
            ),
            (
                "Wait for at most a minute; the exit code tells how it ended",
                "tasker task submit shop/order --wait --for 1m",
            ),
            ("Tomorrow, before others", "tasker task submit shop/report --run-at 2027-01-01T06:00:00Z --priority 5"),
            ("Follow it live", "tasker task submit shop/order@1.2.0 --context '{\"id\": 42}' --watch"),
        ],
    ),
    (
        "task status",
        &[
            ("The task in a few lines", "tasker task status 0190b8a4-0000-7000-8000-000000000001"),
            ("With its steps", "tasker task status 0190b8a4-0000-7000-8000-000000000001 --steps"),
            (
                "With the results of two steps",
                "tasker task status 0190b8a4-0000-7000-8000-000000000001 --results=validate,charge -o yaml",
            ),
        ],
    ),
    (
        "task tree",
        &[
            ("What depends on what, and how far it is", "tasker task tree 0190b8a4-0000-7000-8000-000000000001"),
            (
                "The first levels alone, in ASCII",
                "tasker task tree 0190b8a4-0000-7000-8000-000000000001 --depth 2 --ascii",
            ),
            ("Nodes and edges", "tasker task tree 0190b8a4-0000-7000-8000-000000000001 -o json"),
        ],
    ),
    (
        "task list",
        &[
            ("Those whose payment timed out", "tasker task list step:charge step.state:error error:Timeout since:1h"),
            ("One by a value of its context", "tasker task list ctx.order.id:42"),
            ("How many are not complete", "tasker task list --count -- -state:complete"),
            ("The next page", "tasker task list --limit 100 --before 0190b8a4-0000-7000-8000-000000000001"),
        ],
    ),
    (
        "task wait",
        &[
            ("For as long as it takes", "tasker task wait 0190b8a4-0000-7000-8000-000000000001"),
            ("For at most five minutes", "tasker task wait 0190b8a4-0000-7000-8000-000000000001 --for 5m"),
        ],
    ),
    (
        "task watch",
        &[
            ("For people", "tasker task watch 0190b8a4-0000-7000-8000-000000000001"),
            (
                "For programs: a step a line, whenever one changes",
                "tasker task watch 0190b8a4-0000-7000-8000-000000000001 -o jsonl",
            ),
        ],
    ),
    (
        "task cancel",
        &[
            (
                "With the reason, for the audit",
                "tasker task cancel 0190b8a4-0000-7000-8000-000000000001 --reason 'ordered twice'",
            ),
            ("In somebody's name", "tasker task cancel 0190b8a4-0000-7000-8000-000000000001 --actor anna"),
        ],
    ),
    (
        "task retry",
        &[
            (
                "All steps that have failed",
                "tasker task retry 0190b8a4-0000-7000-8000-000000000001 --reason 'gateway is back'",
            ),
            ("One of them", "tasker task retry 0190b8a4-0000-7000-8000-000000000001 --step charge"),
        ],
    ),
    (
        "step",
        &[(
            "Settle a step by hand",
            "tasker step resolve 0190b8a4-0000-7000-8000-000000000001 charge --result '{\"paid\": true}'",
        )],
    ),
    (
        "step resolve",
        &[
            (
                "With a result for its children",
                "tasker step resolve 0190b8a4-0000-7000-8000-000000000001 charge --result '{\"paid\": true}'",
            ),
            (
                "With the result of a file, and why",
                "tasker step resolve 0190b8a4-0000-7000-8000-000000000001 charge --result paid.json --reason 'paid by hand'",
            ),
        ],
    ),
    (
        "task why",
        &[
            ("Everything of a task that waits or has failed", "tasker task why 0190b8a4-0000-7000-8000-000000000001"),
            ("One step", "tasker task why 0190b8a4-0000-7000-8000-000000000001 charge"),
        ],
    ),
    ("worker", &[("Who works?", "tasker worker list"), ("Let one leave", "tasker worker drain billing-1")]),
    (
        "worker drain",
        &[
            (
                "It finishes what it has, gets no more, and leaves",
                "tasker worker drain billing-1 --reason 'new kernel'",
            ),
            ("In somebody's name", "tasker worker drain billing-1 --actor anna"),
        ],
    ),
    (
        "namespace",
        &[
            ("What waits where?", "tasker namespace list"),
            ("Hand out nothing more of one", "tasker namespace pause shop --reason 'gateway is down'"),
        ],
    ),
    (
        "namespace list",
        &[
            ("Ready, running and waiting steps of each", "tasker namespace list"),
            ("For programs", "tasker namespace list -o jsonl"),
        ],
    ),
    (
        "namespace pause",
        &[
            ("Running steps go on; no further one starts", "tasker namespace pause shop --reason 'gateway is down'"),
            ("In somebody's name", "tasker namespace pause shop --actor anna"),
        ],
    ),
    (
        "namespace resume",
        &[
            ("Go on where it stopped", "tasker namespace resume shop --reason 'gateway is back'"),
            ("In somebody's name", "tasker namespace resume shop --actor anna"),
        ],
    ),
    (
        "worker list",
        &[("Who works, and how busy they are", "tasker worker list"), ("For programs", "tasker worker list -o jsonl")],
    ),
    (
        "health",
        &[
            ("How is it, and why?", "tasker health"),
            ("Just whether it is well", "tasker health --level basic --timeout 1s"),
            ("A readiness probe, over HTTP", "tasker health --ready"),
            (
                "A liveness probe at another address",
                "tasker health --live --http http://127.0.0.1:8002 --timeout 500ms",
            ),
        ],
    ),
    (
        "top",
        &[
            ("Live, in the terminal", "tasker top"),
            ("Another broker, more often", "tasker top -C prod --interval 500ms"),
            ("One frame, for a note or a script", "tasker top --once"),
            ("A frame a line, for programs", "tasker top -o jsonl --interval 10s"),
        ],
    ),
    (
        "doctor",
        &[
            ("The defaults, and the database that DATABASE_URL names", "tasker doctor"),
            (
                "A configuration, and whether a task goes through",
                "tasker doctor -c /etc/tasker.toml --worker-round-trip",
            ),
            ("A file for support", "tasker doctor -c /etc/tasker.toml --bundle tasker-doctor.tar.gz"),
            ("What is not well, for programs", "tasker doctor -o jsonl"),
        ],
    ),
    (
        "bench",
        &[
            (
                "A broker and a Postgres of its own, and what Postgres alone takes for the same rows",
                "tasker bench --start --runs 3 --with-limit",
            ),
            (
                "What it costs to be looked at, at full load and for a lone task",
                "tasker bench --start --runs 10 --with-pollers 3",
            ),
            ("Latencies at 2,000 tasks a second", "tasker bench --start --open-loop --rate 2000"),
            (
                "Against workers that run already",
                "tasker bench --broker tcp://broker:7570 --events tcp://broker:7571 --worker none --template my.yaml",
            ),
        ],
    ),
    (
        "bench limit",
        &[
            ("A Postgres of its own", "tasker bench limit --start"),
            (
                "The server of a database, in groups of two sizes",
                "tasker bench limit --database postgres://tasker@db/tasker --group 10 --group 1000",
            ),
        ],
    ),
    (
        "key",
        &[
            ("A pair, the secret half in a file", "tasker key new --secret-file /etc/tasker/billing.key"),
            ("The public half of it", "tasker key public /etc/tasker/billing.key"),
        ],
    ),
    (
        "key new",
        &[
            ("The secret half in a file", "tasker key new --secret-file /etc/tasker/broker.key"),
            ("In place of the one that is there", "tasker key new --secret-file /etc/tasker/broker.key --force"),
        ],
    ),
    ("key public", &[("What the broker has to list", "tasker key public /etc/tasker/billing.key")]),
    ("token", &[("For a person who looks", "tasker token new anna --role read --file /etc/tasker/tokens")]),
    (
        "token new",
        &[
            ("For a person who looks", "tasker token new anna --role read --file /etc/tasker/tokens"),
            ("For a program that acts; the line is printed", "tasker token new deploy --role operate"),
        ],
    ),
    (
        "context",
        &[
            ("Name a broker", "tasker context add prod --broker tcp://broker:7570 --events tcp://broker:7571"),
            ("Mean it from now on", "tasker context use prod"),
        ],
    ),
    (
        "context add",
        &[
            (
                "A broker without keys",
                "tasker context add dev --broker tcp://127.0.0.1:7570 --events tcp://127.0.0.1:7571",
            ),
            (
                "One with keys, and its HTTP server",
                "tasker context add prod --broker tcp://broker:7570 --server-key 'Yne@$w-vo<fVvi]a<NY6T1ed:M$fCG*[IaLV{hID' --key-file ~/.config/tasker/me.key --http http://broker:7572",
            ),
        ],
    ),
    (
        "context list",
        &[
            ("All, the current one with a star", "tasker context list"),
            ("For programs", "tasker context list -o jsonl"),
        ],
    ),
    (
        "context use",
        &[
            ("From now on", "tasker context use prod"),
            ("For one command only, this is enough", "tasker health -C prod"),
        ],
    ),
    (
        "context show",
        &[("The current one", "tasker context show"), ("Another one", "tasker context show prod -o yaml")],
    ),
    ("context remove", &[("Forget it; its key files stay", "tasker context remove staging")]),
    (
        "config",
        &[
            ("What is in force, and why?", "tasker config show -c /etc/tasker.toml"),
            ("Is it valid?", "tasker config check -c /etc/tasker.toml"),
        ],
    ),
    (
        "config show",
        &[
            ("Of a file and the environment", "tasker config show -c /etc/tasker.toml"),
            ("One setting a line, for programs", "tasker config show -o jsonl"),
        ],
    ),
    (
        "config check",
        &[
            ("Before a restart", "tasker config check -c /etc/tasker.toml"),
            ("What the environment alone says", "tasker config check"),
        ],
    ),
    (
        "completions",
        &[
            ("For bash, in ~/.bashrc: source <(tasker completions bash)", "tasker completions bash"),
            ("For zsh", "tasker completions zsh"),
        ],
    ),
];

/// The definition with the examples in it.
pub(super) fn add(definition: Command) -> Command {
    add_below(definition, "")
}

fn add_below(command: Command, path: &str) -> Command {
    let names: Vec<String> = command.get_subcommands().map(|below| below.get_name().to_owned()).collect();
    let command = match EXAMPLES.iter().find(|(of, _)| *of == path) {
        Some((_, examples)) => with(command, examples),
        None => command,
    };
    names.into_iter().fold(command, |command, name| {
        let path = if path.is_empty() { name.clone() } else { format!("{path} {name}") };
        command.mut_subcommand(name, |below| add_below(below, &path))
    })
}

fn with(command: Command, examples: &[Example]) -> Command {
    let mut text = "Examples:".to_owned();
    for (what, line) in examples {
        text.push_str(&format!("\n  # {what}\n  {line}"));
    }
    let after = match command.get_after_long_help() {
        Some(more) => format!("{text}\n\n{more}"),
        None => text,
    };
    command.after_long_help(after)
}
