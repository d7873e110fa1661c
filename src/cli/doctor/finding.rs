//! What was looked at, what was found, and what to do about it.

use serde::Serialize;

use crate::cli::Exit;
use crate::cli::output::one_line;

/// Longest line of what was found, in characters: messages of servers can be long.
const FOUND_CHARS_MAX: usize = 300;

/// How bad it is, best first; the worst of all findings is the exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Level {
    /// All well.
    Ok,
    /// Works, and will not for ever, or not as well as it could.
    Warning,
    /// Nobody knows.
    Unknown,
    /// Does not work, or is not safe.
    Problem,
}

impl Level {
    pub(super) fn name(self) -> &'static str {
        match self {
            Level::Ok => "ok",
            Level::Warning => "warning",
            Level::Unknown => "unknown",
            Level::Problem => "problem",
        }
    }

    /// The codes of a doctor are not those of the other commands; its help says so.
    pub(super) fn exit(self) -> Exit {
        match self {
            Level::Ok => Exit::Done,
            Level::Warning => Exit::Unsuccessful,
            Level::Problem => Exit::Usage,
            Level::Unknown => Exit::Refused,
        }
    }
}

/// The result of one check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Finding {
    pub check: &'static str,
    pub level: Level,
    /// What, and where.
    pub found: String,
    /// What to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub advice: Option<String>,
}

/// All of them, in the order in which was looked.
#[derive(Debug, Default)]
pub(super) struct Findings(pub(super) Vec<Finding>);

impl Findings {
    pub(super) fn ok(&mut self, check: &'static str, found: impl AsRef<str>) {
        self.add(check, Level::Ok, found.as_ref(), None);
    }

    pub(super) fn warning(&mut self, check: &'static str, found: impl AsRef<str>, advice: impl Into<String>) {
        self.add(check, Level::Warning, found.as_ref(), Some(advice.into()));
    }

    pub(super) fn problem(&mut self, check: &'static str, found: impl AsRef<str>, advice: impl Into<String>) {
        self.add(check, Level::Problem, found.as_ref(), Some(advice.into()));
    }

    pub(super) fn unknown(&mut self, check: &'static str, found: impl AsRef<str>, advice: impl Into<String>) {
        self.add(check, Level::Unknown, found.as_ref(), Some(advice.into()));
    }

    fn add(&mut self, check: &'static str, level: Level, found: &str, advice: Option<String>) {
        self.0.push(Finding { check, level, found: one_line(found, FOUND_CHARS_MAX), advice });
    }

    pub(super) fn worst(&self) -> Level {
        self.0.iter().map(|finding| finding.level).max().unwrap_or(Level::Ok)
    }

    pub(super) fn count(&self, level: Level) -> usize {
        self.0.iter().filter(|finding| finding.level == level).count()
    }

    /// A line each, with the advice below.
    pub(super) fn render(&self) -> String {
        let width = self.0.iter().map(|finding| finding.check.len()).max().unwrap_or(0);
        let mut text = String::new();
        for Finding { check, level, found, advice } in &self.0 {
            text.push_str(&format!("{:<7}  {check:<width$}  {found}\n", level.name()));
            if let Some(advice) = advice {
                text.push_str(&format!("{:<7}  {:<width$}  -> {advice}\n", "", ""));
            }
        }
        let counts = [Level::Problem, Level::Warning, Level::Unknown]
            .map(|level| (self.count(level), level.name()))
            .into_iter()
            .filter(|(count, _)| *count > 0)
            .map(|(count, name)| format!("{count} {name}"))
            .collect::<Vec<_>>();
        let summary = if counts.is_empty() { "all is well".to_owned() } else { counts.join(", ") };
        text + &format!("\n{} checks: {summary}\n", self.0.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_finding_decides() {
        let mut findings = Findings::default();
        assert_eq!(findings.worst().exit() as u8, 0);
        findings.ok("a", "fine");
        assert_eq!(findings.worst().exit() as u8, 0);
        findings.warning("b", "hm", "do this");
        assert_eq!(findings.worst().exit() as u8, 1);
        findings.unknown("c", "?", "let me");
        assert_eq!(findings.worst().exit() as u8, 3);
        findings.problem("dd", "two\nlines", "do that");
        assert_eq!(findings.worst().exit() as u8, 2);
        let expected = "\
ok       a   fine
warning  b   hm
             -> do this
unknown  c   ?
             -> let me
problem  dd  two lines
             -> do that

4 checks: 1 problem, 1 warning, 1 unknown
";
        assert_eq!(findings.render(), expected);
    }
}
