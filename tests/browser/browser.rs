//! A headless Chromium, led over WebDriver. Whatever is waited for has an end, and a name that is told when it does not come.

use std::process::{Child, Command, Stdio};
use std::str::FromStr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use fantoccini::actions::{InputSource, KeyAction, KeyActions};
use fantoccini::error::CmdError;
use fantoccini::key::Key;
use fantoccini::wd::WebDriverCompatibleCommand;
use fantoccini::{Client, ClientBuilder, Locator};
use hyper_util::client::legacy::connect::HttpConnector;
use reqwest::{Method, Url};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::runtime::Runtime;

use crate::support::{Log, PATIENCE, dies_with_us};

/// Beyond [`PATIENCE`], which the driver keeps: for a driver that does not answer at all.
const GRACE: Duration = Duration::from_secs(15);

/// How long a browser that is no longer needed may take to say goodbye.
const GOODBYE: Duration = Duration::from_secs(5);

/// Runs in every page before anything of it: keeps what the policy forbade.
const WATCH: &str = "window.forbidden = [];
    addEventListener('securitypolicyviolation', (event) =>
        forbidden.push(`${event.violatedDirective}: ${event.blockedURI} ${event.sample}`));";

pub struct Browser {
    runtime: Runtime,
    client: Client,
    driver: Child,
    log: Arc<Log>,
    base: String,
    _profile: TempDir,
}

impl Browser {
    /// Opens a browser with a profile of its own for the site at `base`.
    pub fn open(base: &str) -> Browser {
        let profile = TempDir::with_prefix("tasker").expect("there is a temporary folder");
        let mut command = Command::new("chromedriver");
        command.arg("--port=0").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        dies_with_us(&mut command);
        let mut driver = command.spawn().expect("chromedriver is installed (Debian: chromium-driver)");
        let log = Log::of(driver.stdout.take().expect("it is piped"));
        let line = log.has("started successfully on port").unwrap_or_else(|lines| panic!("no chromedriver: {lines:?}"));
        let port = line.trim_end_matches('.').rsplit(' ').next().expect("the line ends with the port");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let Value::Object(wanted) = wanted(&profile) else { unreachable!("it is an object") };
        let connected = runtime.block_on(async {
            let mut builder = ClientBuilder::new(HttpConnector::new());
            let driver = format!("http://127.0.0.1:{port}");
            tokio::time::timeout(PATIENCE, builder.capabilities(wanted).connect(&driver)).await
        });
        let client = connected.expect("Chromium does not start").unwrap_or_else(|error| panic!("no browser: {error}"));
        let browser = Browser { runtime, client, driver, log, base: base.to_owned(), _profile: profile };
        browser.devtools("Page.addScriptToEvaluateOnNewDocument", json!({ "source": WATCH }));
        // As if somebody sat before it: a page that has no focus shows none.
        browser.devtools("Emulation.setFocusEmulationEnabled", json!({ "enabled": true }));
        browser
    }

    /// What the browser answers, within a time that has an end. It is asked again when the page changed under the question.
    fn wait<T>(&self, what: &str, ask: impl AsyncFn() -> Result<T, CmdError>) -> T {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.runtime.block_on(async { tokio::time::timeout(PATIENCE + GRACE, ask()).await }) {
                Ok(Ok(answer)) => return answer,
                Ok(Err(error)) if has_changed(&error) && Instant::now() < deadline => {}
                Ok(Err(error)) => panic!("{what}: {error}\n{}", self.scene()),
                Err(_) => panic!("{what}: the browser does not answer; its driver says {}", self.log.text()),
            }
        }
    }

    /// The page as it is, for those who wonder why a test failed.
    fn scene(&self) -> String {
        let asked = self.client.execute("return `${location.href}: ${document.body.innerText}`", Vec::new());
        let told = self.runtime.block_on(async { tokio::time::timeout(GRACE, asked).await });
        told.map_or_else(|_| "the browser does not answer".to_owned(), |page| format!("{page:?}"))
    }

    /// Opens a page of the site, and returns when it has loaded.
    pub fn visit(&self, path: &str) {
        self.wait(&format!("opening {path}"), async || self.client.goto(&format!("{}{path}", self.base)).await);
    }

    /// Path and query of the page.
    pub fn place(&self) -> String {
        let url = self.wait("asking for the address", async || self.client.current_url().await);
        url.as_str().strip_prefix(&self.base).unwrap_or(url.as_str()).to_owned()
    }

    /// What a script returns.
    pub fn run(&self, script: &str) -> Value {
        self.wait(script, async || self.client.execute(script, Vec::new()).await)
    }

    /// Waits until an expression is true; looks whenever something in the page changes.
    pub fn until(&self, what: &str, expression: &str) {
        let script = format!(
            "const done = arguments[arguments.length - 1];
            const holds = () => {{ try {{ return Boolean({expression}); }} catch {{ return false; }} }};
            if (holds()) {{ done(true); return; }}
            const look = () => {{ if (holds()) {{ watch.disconnect(); done(true); }} }};
            const watch = new MutationObserver(look);
            watch.observe(document, {{ subtree: true, childList: true, attributes: true, characterData: true }});
            document.addEventListener('readystatechange', look);"
        );
        self.wait(&format!("waiting until {what}"), async || self.client.execute_async(&script, Vec::new()).await);
    }

    /// Waits until an element has a text in it, whatever stands between its words.
    pub fn shows(&self, css: &str, text: &str) {
        let (element, within) = (json!(css), json!(text));
        let expression =
            format!("document.querySelector({element}).innerText.replace(/\\s+/g, ' ').includes({within})");
        self.until(&format!("{css} shows {text:?}"), &expression);
    }

    /// The text of an element, as it is seen.
    pub fn text(&self, css: &str) -> String {
        self.wait(&format!("reading {css}"), async || self.client.find(Locator::Css(css)).await?.text().await)
    }

    /// How many elements there are.
    pub fn count(&self, css: &str) -> usize {
        self.wait(&format!("counting {css}"), async || self.client.find_all(Locator::Css(css)).await).len()
    }

    /// Clicks what leads to another page, and returns when that has loaded.
    pub fn follow(&self, css: &str) {
        self.run("window.isLeft = true");
        self.click(css);
        self.until(&format!("{css} has led on"), "!window.isLeft && document.readyState === 'complete'");
    }

    /// Clicks an element, which is scrolled to first, out from below the header.
    pub fn click(&self, css: &str) {
        self.wait(&format!("clicking {css}"), async || {
            let element = self.client.find(Locator::Css(css)).await?;
            let found = vec![serde_json::to_value(&element).expect("an element is a reference")];
            self.client.execute("arguments[0].scrollIntoView({ block: 'center' })", found).await?;
            element.click().await
        });
    }

    /// Writes into a field.
    pub fn write(&self, css: &str, text: &str) {
        let found = async || self.client.find(Locator::Css(css)).await?.send_keys(text).await;
        self.wait(&format!("writing into {css}"), found);
    }

    /// Opens a form below its button, gives a reason, and sends it.
    pub fn confirm(&self, id: &str, reason: &str) {
        let form = format!("details[id=\"{id}\"]");
        self.click(&format!("{form} > summary"));
        self.write(&format!("{form} input[name=reason]"), reason);
        self.follow(&format!("{form} button.act"));
    }

    /// Presses a key, wherever the focus is.
    pub fn press(&self, key: Key) {
        self.keys(&String::from(char::from(key)));
    }

    /// Types, wherever the focus is.
    pub fn keys(&self, text: &str) {
        let strokes = || {
            text.chars().fold(KeyActions::new("keyboard".to_owned()), |keys, value| {
                keys.then(KeyAction::Down { value }).then(KeyAction::Up { value })
            })
        };
        self.wait(&format!("typing {text:?}"), async || self.client.perform_actions(strokes()).await);
    }

    /// Asks Chromium what WebDriver has no word for.
    pub fn devtools(&self, command: &str, parameters: Value) -> Value {
        let body = json!({ "cmd": command, "params": parameters });
        let question = Beyond { path: "goog/cdp/execute", body };
        self.wait(command, async || self.client.issue_cmd(question.clone()).await)
    }

    /// What the console has got since it was asked for the last time: warnings and errors, of the network, too.
    pub fn console(&self) -> Vec<Value> {
        let body = json!({ "type": "browser" });
        let question = Beyond { path: "se/log", body };
        let told = self.wait("reading the console", async || self.client.issue_cmd(question.clone()).await);
        let entries = told.as_array().expect("a list").iter();
        entries.filter(|entry| ["WARNING", "SEVERE"].iter().any(|level| entry["level"] == *level)).cloned().collect()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let goodbye = self.client.clone().close();
        let _ = self.runtime.block_on(async { tokio::time::timeout(GOODBYE, goodbye).await });
        let _ = self.driver.kill();
        let _ = self.driver.wait();
    }
}

/// Whether an answer is none because the page, or a part of it, was exchanged meanwhile. A script whose page leaves is said to have
/// timed out, long before its time.
fn has_changed(error: &CmdError) -> bool {
    error.is_stale_element_reference() || error.is_script_timeout()
}

/// Chromium talks to its driver through a pipe, and ends with it, however that ends. It runs as root, where it has no sandbox,
/// and in containers whose shared memory is small.
fn wanted(profile: &TempDir) -> Value {
    let milliseconds = u64::try_from(PATIENCE.as_millis()).expect("a minute fits");
    let profile = format!("--user-data-dir={}", profile.path().display());
    let arguments = [
        "--headless=new",
        "--remote-debugging-pipe",
        "--no-sandbox",
        "--disable-dev-shm-usage",
        "--disable-gpu",
        "--hide-scrollbars",
        "--window-size=1280,900",
        &profile,
    ];
    json!({
        "goog:chromeOptions": { "args": arguments },
        "goog:loggingPrefs": { "browser": "ALL" },
        "timeouts": { "script": milliseconds, "pageLoad": milliseconds, "implicit": 0 },
    })
}

/// A command of chromedriver's own.
#[derive(Clone, Debug)]
struct Beyond {
    path: &'static str,
    body: Value,
}

impl WebDriverCompatibleCommand for Beyond {
    fn endpoint(&self, driver: &Url, session: Option<&str>) -> Result<Url, <Url as FromStr>::Err> {
        driver.join(&format!("session/{}/{}", session.unwrap_or_default(), self.path))
    }

    fn method_and_body(&self, _: &Url) -> (Method, Option<String>) {
        (Method::POST, Some(self.body.to_string()))
    }
}
