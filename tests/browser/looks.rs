//! Ways to look at pages: wide and narrow, light and dark, with a picture of each if somebody wants to see them.

use std::path::{Path, PathBuf};

use base64::Engine;
use base64::prelude::BASE64_STANDARD as BASE64;
use serde_json::json;

use crate::browser::Browser;
use crate::sound::{faults, glance};

/// The environment variable with a folder for pictures of all pages; without it none are taken.
const SCREENSHOTS: &str = "TASKER_SCREENSHOTS";

/// Tallest part of a page that is in a picture, in pixels.
const TALL: u64 = 3_000;

/// How somebody looks at pages.
#[derive(Clone, Copy)]
pub struct Look {
    name: &'static str,
    pub width: u32,
    height: u32,
    scheme: &'static str,
}

pub const LOOKS: [Look; 4] = [
    Look { name: "wide-light", width: 1280, height: 900, scheme: "light" },
    Look { name: "wide-dark", width: 1280, height: 900, scheme: "dark" },
    Look { name: "narrow-light", width: 390, height: 844, scheme: "light" },
    Look { name: "narrow-dark", width: 390, height: 844, scheme: "dark" },
];

impl Look {
    pub fn of(self, browser: &Browser) {
        let scheme = json!([{ "name": "prefers-color-scheme", "value": self.scheme }]);
        browser.devtools("Emulation.setEmulatedMedia", json!({ "features": scheme }));
        let mobile = self.width < 720;
        browser.devtools(
            "Emulation.setDeviceMetricsOverride",
            json!({ "width": self.width, "height": self.height, "deviceScaleFactor": 1, "mobile": mobile }),
        );
    }
}

/// A page: its name, its address, a text that is on it, and what is done to it before it is looked at.
pub struct Stop {
    name: &'static str,
    path: String,
    text: &'static str,
    open: &'static str,
}

impl Stop {
    pub fn new(name: &'static str, path: impl Into<String>, text: &'static str) -> Stop {
        Stop { name, path: path.into(), text, open: "" }
    }

    /// The same with a form open.
    pub fn with(name: &'static str, path: impl Into<String>, text: &'static str, open: &'static str) -> Stop {
        Stop { open, ..Stop::new(name, path, text) }
    }
}

/// A walk through pages, which notes what is wrong with each.
pub struct Walk<'a> {
    browser: &'a Browser,
    look: Look,
    pictures: Option<PathBuf>,
    faults: Vec<String>,
}

impl<'a> Walk<'a> {
    pub fn with(browser: &'a Browser) -> Walk<'a> {
        let pictures = std::env::var_os(SCREENSHOTS).map(PathBuf::from);
        if let Some(folder) = &pictures {
            std::fs::create_dir_all(folder).expect("the folder of TASKER_SCREENSHOTS can be made");
        }
        Walk { browser, look: LOOKS[0], pictures, faults: Vec::new() }
    }

    /// Looks in another way from now on.
    pub fn change(&mut self, look: Look) {
        look.of(self.browser);
        self.look = look;
    }

    pub fn stop(&mut self, stop: &Stop) {
        self.browser.visit(&stop.path);
        let text = self.browser.text("body");
        if !text.contains(stop.text) {
            self.faults.push(format!("{} does not show {:?}: {text}", stop.name, stop.text));
        }
        if !stop.open.is_empty() {
            self.browser.click(stop.open);
        }
        self.look(stop.name, stop.open.is_empty());
    }

    /// Looks at the page that is open; a picture is taken of the whole of it, or of what is on the screen.
    pub fn look(&mut self, name: &str, whole: bool) {
        let Look { name: look, width, .. } = self.look;
        if let Some(folder) = &self.pictures {
            picture(self.browser, &folder.join(format!("{name}-{look}.png")), whole.then_some(width));
        }
        assert_eq!(self.browser.run("return innerWidth"), width, "the screen is as wide as it is to be");
        // Stops of the Tab key are the same in all colours.
        let faults = if self.look.scheme == "light" { faults(self.browser) } else { glance(self.browser) };
        self.faults.extend(faults.into_iter().map(|fault| format!("{name}, {look}: {fault}")));
    }

    /// Fails when something was wrong with a page.
    pub fn end(self) {
        assert!(self.faults.is_empty(), "{}", self.faults.join("\n"));
    }
}

/// Takes a picture of the screen, or of the whole page of this width.
fn picture(browser: &Browser, path: &Path, width: Option<u32>) {
    let mut wanted = json!({});
    if let Some(width) = width {
        let height = browser.run("return document.documentElement.scrollHeight").as_u64().expect("a number").min(TALL);
        let clip = json!({ "x": 0, "y": 0, "width": width, "height": height, "scale": 1 });
        wanted = json!({ "captureBeyondViewport": true, "clip": clip });
    }
    let taken = browser.devtools("Page.captureScreenshot", wanted);
    let taken = BASE64.decode(taken["data"].as_str().expect("a picture")).expect("base64");
    std::fs::write(path, taken).unwrap_or_else(|error| panic!("failed to write {}: {error}", path.display()));
}
