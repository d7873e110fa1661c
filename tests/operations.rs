//! The runbook and the alerts know each other.

use std::collections::BTreeSet;
use std::path::Path;

fn read(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("failed to read {}: {error}", path.display()))
}

#[test]
fn every_alert_has_a_section_of_the_runbook_and_every_section_an_alert() {
    let alerts = read("config/monitoring/alerts.yml");
    let named = |prefix: &str, text: &str| -> BTreeSet<String> {
        text.lines()
            .filter_map(|line| line.trim_start().strip_prefix(prefix))
            .map(|name| name.trim().to_owned())
            .collect()
    };
    let alerted = named("- alert:", &alerts);
    assert!(alerted.len() > 5, "{alerted:?}");
    let operations = read("OPERATIONS.md");
    let (_, runbook) = operations.split_once("\n## Runbook\n").expect("OPERATIONS.md has a runbook");
    let runbook = runbook.split("\n## ").next().unwrap_or(runbook);
    assert_eq!(alerted, named("### ", runbook), "alerts on the left, sections of OPERATIONS.md on the right");
    // Where an alert says that its section is.
    for name in &alerted {
        let link = format!("OPERATIONS.md#{}", name.to_lowercase());
        assert!(alerts.lines().any(|line| line.trim_end().ends_with(&link)), "{name} has no runbook_url {link}");
    }
}

#[test]
fn links_of_the_operations_guide_lead_somewhere() {
    let operations = read("OPERATIONS.md");
    let anchors: BTreeSet<String> = operations
        .lines()
        .filter_map(|line| line.strip_prefix("## ").or_else(|| line.strip_prefix("### ")))
        .map(|heading| heading.to_lowercase().replace(' ', "-"))
        .collect();
    let mut links = 0;
    for (_, rest) in operations.match_indices("](").map(|(at, _)| operations.split_at(at + 2)) {
        let target = rest.split(')').next().unwrap_or_default();
        links += 1;
        match target.split_once('#') {
            Some(("", anchor)) => assert!(anchors.contains(anchor), "#{anchor} is no heading"),
            Some((file, _)) => drop(read(file)),
            None => assert!(Path::new(env!("CARGO_MANIFEST_DIR")).join(target).exists(), "{target} is missing"),
        }
    }
    assert!(links > 10, "this looks in the wrong place");
}
