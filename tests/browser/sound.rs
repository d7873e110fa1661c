//! What holds for every page, whatever it is about: nothing in the console, nothing against the policy, no wider than the
//! screen, with a title and one heading, readable, and usable with the keyboard alone.

use fantoccini::key::Key;
use serde_json::Value;

use crate::browser::Browser;

/// Stops of the Tab key that are looked at; enough to pass the header and come into the page.
const STOPS: usize = 14;

/// Says what is wrong with a page, a line each.
const LOOK: &str = r#"
const faults = [];
const name = (element) => element.tagName.toLowerCase() + (element.id ? `#${element.id}` : "")
    + [...element.classList].map((one) => `.${one}`).join("");
const shown = (element) => element.checkVisibility({ visibilityProperty: true });

for (const violation of window.forbidden || ["nobody watches"]) faults.push(`against the policy: ${violation}`);
if (!/\S.* · Tasker$/.test(document.title)) faults.push(`the title is ${JSON.stringify(document.title)}`);
const headings = document.querySelectorAll("h1").length;
if (headings !== 1) faults.push(`${headings} first headings`);
const ids = [...document.querySelectorAll("[id]")].map((element) => element.id);
for (const id of new Set(ids)) if (ids.filter((other) => other === id).length > 1) faults.push(`the id ${id} is there twice`);

// Wider than the screen, and not in something that can be scrolled by itself.
const width = document.documentElement.clientWidth;
if (document.documentElement.scrollWidth > width) {
    const scrolls = (element) => element && (["auto", "scroll", "hidden", "clip"].includes(getComputedStyle(element).overflowX)
        && element !== document.body && element !== document.documentElement || scrolls(element.parentElement));
    const wide = [...document.body.querySelectorAll("*")].filter((element) =>
        element.getBoundingClientRect().right > width + 0.5 && !scrolls(element.parentElement));
    faults.push(`${document.documentElement.scrollWidth} pixels wide on ${width}: ${wide.slice(0, 5).map(name).join(", ")}`);
}

// What acts says what it is, to those who do not see it, too.
for (const element of document.querySelectorAll("a[href], button, summary, input:not([type=hidden]), select, textarea")) {
    const labels = [...(element.labels || [])].map((label) => label.innerText).join("");
    const says = element.textContent || element.getAttribute("aria-label") || labels || element.title;
    if (shown(element) && !says.trim()) faults.push(`${name(element)} has no name`);
}

// Contrast of text (WCAG 2.2, 1.4.3): 4.5, for large text 3. Colours become numbers by being painted.
const pen = new OffscreenCanvas(1, 1).getContext("2d", { willReadFrequently: true });
const known = new Map();
const colour = (text) => {
    if (!known.has(text)) {
        pen.clearRect(0, 0, 1, 1); pen.fillStyle = text; pen.fillRect(0, 0, 1, 1);
        known.set(text, [...pen.getImageData(0, 0, 1, 1).data].map((part) => part / 255));
    }
    return known.get(text);
};
const over = (above, below) => above.slice(0, 3).map((part, at) => part * above[3] + below[at] * (1 - above[3])).concat(1);
const ground = (element) => {
    const own = element ? colour(getComputedStyle(element).backgroundColor) : [1, 1, 1, 1];
    return own[3] === 1 || !element ? own : over(own, ground(element.parentElement));
};
const light = (parts) => {
    const [r, g, b] = parts.map((part) => part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
};
const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
const pale = new Set();
while (texts.nextNode()) {
    const element = texts.currentNode.parentElement;
    if (!texts.currentNode.data.trim() || element.closest("svg, :disabled, script, .hidden, option") || !shown(element)) continue;
    const style = getComputedStyle(element);
    const below = ground(element);
    const [one, other] = [light(over(colour(style.color), below)), light(below)];
    const contrast = (Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05);
    const size = parseFloat(style.fontSize);
    const needed = size >= 24 || size >= 18.66 && style.fontWeight >= 700 ? 3 : 4.5;
    if (contrast < needed) pale.add(`${name(element)} has a contrast of ${contrast.toFixed(2)}`);
}
return faults.concat([...pale]);
"#;

/// Whether something has the focus, or is where the walk begins.
const BEGUN: &str = "return document.activeElement !== document.body || location.hash !== '' || document.querySelector('[autofocus]') !== null";

/// What has the focus, and what is wrong with how it shows that.
const FOCUS: &str = r#"
const element = document.activeElement;
if (!element || element === document.body) return ["nothing", ""];
const name = element.tagName.toLowerCase() + (element.id ? `#${element.id}` : "") + (element.className.baseVal ?? element.className);
const style = getComputedStyle(element);
const box = element.getBoundingClientRect();
const frame = element.matches(".node") ? getComputedStyle(element.querySelector("rect:not(.behind)")).strokeWidth : style.outlineWidth;
const drawn = element.matches(".node") || style.outlineStyle !== "none";
if (!element.matches(":focus-visible") || !drawn || parseFloat(frame) < 2) return [name, `${name} does not show that it has the focus`];
if (box.width < 1 || box.height < 1 || box.bottom <= 0 || box.top >= innerHeight) return [name, `${name} has the focus out of sight`];
return [name, ""];
"#;

/// What is wrong with the page that is open. Its focus is somewhere else afterwards.
pub fn faults(browser: &Browser) -> Vec<String> {
    let mut faults = keyboard(browser);
    faults.extend(glance(browser));
    faults
}

/// The same without the keyboard.
pub fn glance(browser: &Browser) -> Vec<String> {
    let mut faults = words(&browser.run(LOOK));
    faults.extend(browser.console().iter().map(|entry| format!("in the console: {}", entry["message"])));
    faults
}

/// Fails when something is wrong with the page that is open.
pub fn demand(browser: &Browser, what: &str) {
    let faults = faults(browser);
    assert!(faults.is_empty(), "{what} at {}:\n{}", browser.place(), faults.join("\n"));
}

/// The first stop leads past the header, unless something has the focus from the start; each one is seen.
fn keyboard(browser: &Browser) -> Vec<String> {
    let mut faults = Vec::new();
    // A field with `autofocus` has it from the next frame on.
    let begun = browser.run(BEGUN) == true;
    for stop in 0..STOPS {
        browser.press(Key::Tab);
        let told = words(&browser.run(FOCUS));
        let [name, fault] = &told[..] else { panic!("two words, not {told:?}") };
        if name == "nothing" {
            if stop == 0 && !begun {
                faults.push("Tab leads nowhere".to_owned());
            }
            break;
        }
        if stop == 0 && !begun && !name.ends_with("skip") {
            faults.push(format!("the first stop of Tab is {name}"));
        }
        faults.extend((!fault.is_empty()).then(|| fault.clone()));
    }
    faults
}

fn words(list: &Value) -> Vec<String> {
    let words = list.as_array().expect("a list").iter();
    words.map(|word| word.as_str().expect("a text").to_owned()).collect()
}
