//! What somebody wants to see of a task: the part of the page's address after `?`.

use std::collections::BTreeSet;
use std::fmt::Write;

use crate::ops::pages::filter_box::encode;

/// Most groups that an address opens; more are not taken.
const OPEN_MAX: usize = 32;

/// What is looked at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// The page itself.
    pub path: String,
    /// Name of the step with its detail.
    pub step: Option<String>,
    /// Open groups of the graph, by their first step.
    pub open: BTreeSet<u32>,
    /// Part of step names.
    pub search: String,
    /// The table: only steps of this standing.
    pub state: Option<String>,
    /// The table: only steps of the group with this first step.
    pub group: Option<u32>,
    /// The table: number of the page, from 0.
    pub page: usize,
}

impl Wanted {
    /// From the parameters of an address. What cannot be understood is passed over: the page is then the plain one.
    pub fn of<'a>(path: &str, parameters: impl IntoIterator<Item = (&'a str, &'a str)>) -> Wanted {
        let mut wanted = Wanted { path: path.to_owned(), ..Wanted::default() };
        for (name, value) in parameters {
            match name {
                "step" => wanted.step = Some(value.to_owned()).filter(|step| !step.is_empty()),
                "open" => {
                    wanted.open = value.split('.').filter_map(|first| first.parse().ok()).take(OPEN_MAX).collect()
                }
                "find" => wanted.search = value.trim().to_owned(),
                "state" => wanted.state = Some(value.to_owned()).filter(|state| !state.is_empty()),
                "group" => wanted.group = value.parse().ok(),
                "page" => wanted.page = value.parse().unwrap_or(0),
                _ => {}
            }
        }
        wanted
    }

    /// The address of this.
    pub fn address(&self) -> String {
        let mut address = self.path.clone();
        let mut parameters = self.kept();
        if !self.search.is_empty() {
            parameters.push(("find", self.search.clone()));
        }
        if self.page > 0 {
            parameters.push(("page", self.page.to_string()));
        }
        for (at, (name, value)) in parameters.iter().enumerate() {
            // Writing to a String does not fail.
            let _ = write!(address, "{}{name}={}", if at == 0 { '?' } else { '&' }, encode(value));
        }
        address
    }

    /// What stays when a search begins: all but the search and the page.
    pub fn kept(&self) -> Vec<(&'static str, String)> {
        let mut kept = Vec::new();
        let open: Vec<String> = self.open.iter().map(u32::to_string).collect();
        kept.extend(self.step.clone().map(|step| ("step", step)));
        kept.extend((!open.is_empty()).then(|| ("open", open.join("."))));
        kept.extend(self.state.clone().map(|state| ("state", state)));
        kept.extend(self.group.map(|group| ("group", group.to_string())));
        kept
    }

    /// The same with another step.
    pub fn with_step(&self, step: Option<&str>) -> String {
        Wanted { step: step.map(str::to_owned), ..self.clone() }.address()
    }

    /// The same with other steps in the table, by standing.
    pub fn with_state(&self, state: Option<&str>) -> String {
        Wanted { state: state.map(str::to_owned), page: 0, ..self.clone() }.address()
    }

    /// The same with the steps of a group in the table.
    pub fn with_group(&self, group: Option<u32>) -> String {
        Wanted { group, state: None, search: String::new(), page: 0, ..self.clone() }.address()
    }

    /// The same with another page of the table.
    pub fn with_page(&self, page: usize) -> String {
        Wanted { page, ..self.clone() }.address()
    }

    /// The same with a group open.
    pub fn opened(&self, first: u32) -> String {
        let mut open = self.open.clone();
        while open.len() >= OPEN_MAX {
            open.pop_first();
        }
        open.insert(first);
        Wanted { open, ..self.clone() }.address()
    }

    /// The same with a group closed.
    pub fn closed(&self, first: u32) -> String {
        let mut open = self.open.clone();
        open.remove(&first);
        Wanted { open, ..self.clone() }.address()
    }
}

#[cfg(test)]
mod tests {
    use super::{OPEN_MAX, Wanted};

    #[test]
    fn an_address_says_all_that_is_wanted() {
        let wanted =
            Wanted::of("/tasks/1", [("step", "a b"), ("open", "3.1.x"), ("find", " c "), ("page", "2"), ("no", "")]);
        assert_eq!(wanted.address(), "/tasks/1?step=a%20b&open=1.3&find=c&page=2");
        assert_eq!(wanted.opened(7), "/tasks/1?step=a%20b&open=1.3.7&find=c&page=2");
        assert_eq!(wanted.with_group(Some(1)), "/tasks/1?step=a%20b&open=1.3&group=1");
        assert_eq!(Wanted::of("/tasks/1", [("page", "-1"), ("group", "x")]).address(), "/tasks/1");
    }

    #[test]
    fn no_address_grows_without_end() {
        let mut wanted =
            Wanted::of("/", [("open", (0..999).map(|at| at.to_string()).collect::<Vec<_>>().join(".").as_str())]);
        assert_eq!(wanted.open.len(), OPEN_MAX);
        let address = wanted.opened(5_000);
        wanted = Wanted::of("/", [("open", &address[7..])]);
        assert_eq!(wanted.open.len(), OPEN_MAX);
        assert!(wanted.open.contains(&5_000));
    }
}
