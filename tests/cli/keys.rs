//! `tasker key`, and the options that name keys.

use std::os::unix::fs::{MetadataExt, PermissionsExt};

use serde_json::Value;
use tempfile::TempDir;

use crate::tasker::{command, run, tasker};

/// A folder, and the path of a file in it.
fn place(name: &str) -> (TempDir, String) {
    let folder = TempDir::new().expect("temporary folder");
    let path = folder.path().join(name).to_str().expect("UTF-8").to_owned();
    (folder, path)
}

#[test]
fn a_new_key_is_printed_but_for_the_secret_half() {
    let (folder, file) = place("worker.key");
    let made = tasker(&["key", "new", "--secret-file", &file]);
    assert_eq!((made.code, made.stdout.len()), (0, 41), "{}", made.stderr);
    let secret = std::fs::read_to_string(&file).expect("written");
    assert_eq!((secret.len(), std::fs::metadata(&file).expect("written").mode() & 0o777), (41, 0o600));
    assert!(!format!("{}{}", made.stdout, made.stderr).contains(secret.trim()), "the secret was printed");
    assert_eq!(tasker(&["key", "public", &file]).stdout, made.stdout);

    let again = tasker(&["key", "new", "--secret-file", &file]);
    assert_eq!((again.code, again.stdout.as_str()), (7, ""));
    let expected =
        format!("error: {file}: is there already, and may hold a key that is in use\nhint: --force replaces it\n");
    assert_eq!(again.stderr, expected);
    assert_eq!(std::fs::read_to_string(&file).expect("still there"), secret);

    let forced = tasker(&["key", "new", "--secret-file", &file, "--force", "-o", "json"]);
    let document: Value = serde_json::from_str(&forced.stdout).expect("JSON");
    assert_eq!(document["secret_key_file"], file);
    let public: Value = serde_json::from_str(&tasker(&["key", "public", &file, "-o", "json"]).stdout).expect("JSON");
    assert_eq!((&public["public_key"], document.get("secret_key")), (&document["public_key"], None));
    assert_ne!(document["public_key"], made.stdout.trim());
    assert_eq!(std::fs::read_dir(folder.path()).expect("there").count(), 1, "a draft was left behind");
}

#[test]
fn a_key_without_a_file_is_printed_whole_and_says_so() {
    let made = tasker(&["key", "new", "-o", "json"]);
    let document: Value = serde_json::from_str(&made.stdout).expect("JSON");
    let (_folder, file) = place("key");
    std::fs::write(&file, document["secret_key"].as_str().expect("text")).expect("written");
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).expect("ours");
    assert_eq!(tasker(&["key", "public", &file]).stdout.trim(), document["public_key"]);
    assert!(made.stderr.contains("--secret-file"), "{}", made.stderr);
    let lines = tasker(&["key", "new"]).stdout;
    assert!(lines.starts_with("public  ") && lines.contains("\nsecret  "), "{lines}");
}

#[test]
fn keys_that_cannot_be_used_are_refused_before_anything_is_sent() {
    let (_folder, file) = place("key");
    let public = tasker(&["key", "new", "--secret-file", &file]).stdout;
    let public = public.trim();
    let health = |arguments: &[&str]| run(command(&["health", "--broker", "ipc:///no/such/socket"]).args(arguments));
    for (arguments, message) in [
        (vec!["--server-key", public], "error: --server-key and --key-file belong together\n".to_owned()),
        (vec!["--key-file", &file], "error: --server-key and --key-file belong together\n".to_owned()),
        (
            vec!["--key-file", &file, "--server-key", "-short"],
            "error: the value of --server-key is not a key: it has 6 characters instead of 40\n".to_owned(),
        ),
        (
            vec!["--key-file", "/no/such.key", "--server-key", public],
            "error: /no/such.key: cannot be read: No such file or directory (os error 2)\n".to_owned(),
        ),
    ] {
        let run = health(&arguments);
        assert_eq!((run.code, run.stderr), (2, message), "{arguments:?}");
    }
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).expect("ours");
    let open = run(command(&["health"]).env("TASKER_KEY_FILE", &file).env("TASKER_SERVER_KEY", public));
    assert_eq!(open.code, 2);
    assert!(open.stderr.contains("can be read by others (its mode is 644)"), "{}", open.stderr);
    // An empty variable is as good as none.
    let run = run(command(&["health", "--timeout", "100ms", "--broker", "tcp://127.0.0.1:1"])
        .env("TASKER_KEY_FILE", "")
        .env("TASKER_SERVER_KEY", ""));
    assert_eq!(run.code, 4, "{}", run.stderr);
}

#[test]
fn what_config_show_prints_of_peers_can_be_read_again() {
    let (folder, file) = place("broker.toml");
    let key = tasker(&["key", "new", "-o", "json"]).stdout;
    let key: Value = serde_json::from_str(&key).expect("JSON");
    let text = format!(
        "[[security.peers]]\nname = \"fleet\"\npublic_key = {}\nrole = \"worker\"\nnamespaces = [\"a\", \"b\"]\n",
        key["public_key"]
    );
    std::fs::write(&file, text).expect("written");
    let shown = tasker(&["config", "show", "-c", &file]);
    assert_eq!(shown.code, 0, "{}", shown.stderr);
    let again = folder.path().join("again.toml");
    std::fs::write(&again, &shown.stdout).expect("written");
    let again = tasker(&["config", "show", "-c", again.to_str().expect("UTF-8"), "-o", "json"]);
    assert_eq!(again.code, 0, "{}\n{}", again.stderr, shown.stdout);
    let document: Value = serde_json::from_str(&again.stdout).expect("JSON");
    let peer = &document["security"]["peers"]["value"][0];
    assert_eq!(
        (&peer["name"], &peer["public_key"], &peer["namespaces"][1]),
        (&"fleet".into(), &key["public_key"], &"b".into())
    );
}

#[test]
fn a_broker_whose_key_is_missing_does_not_start() {
    let (_folder, file) = place("broker.toml");
    std::fs::write(&file, "[security]\ncurve = true\nsecret_key_file = \"/no/such.key\"\n").expect("written");
    let run = run(command(&["up", "-c", &file, "--data", "/no/such/data"]).env("RUST_LOG", "error"));
    assert_eq!(run.code, 5, "{}", run.stderr);
    let expected = "error: /no/such.key: security.secret_key_file: cannot be read: No such file or directory";
    assert!(run.stderr.starts_with(expected), "{}", run.stderr);
}
