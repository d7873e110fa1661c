// What the dashboard does beyond plain pages: it follows events, walks tables by keyboard, and remembers light or dark.
// Without it every page is complete, only still.
"use strict";

const root = document.documentElement;
const stored = { get: (key) => { try { return localStorage.getItem(key); } catch { return null; } },
                 set: (key, value) => { try { localStorage.setItem(key, value); } catch { /* private mode */ } } };
// Before the first paint, so that nothing flashes.
if (stored.get("theme")) root.dataset.theme = stored.get("theme");

document.addEventListener("DOMContentLoaded", () => { here(); theme(); help(); times(); keys(); tables(); graphs(); live(); });

// On a phone the navigation is longer than the screen.
function here() {
  const link = document.querySelector(".top nav [aria-current]");
  if (link) link.parentElement.scrollLeft = link.offsetLeft - link.parentElement.offsetLeft - (link.parentElement.clientWidth - link.offsetWidth) / 2;
}

function theme() {
  const button = document.getElementById("theme");
  const dark = () => root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  button.hidden = false;
  button.addEventListener("click", () => {
    root.dataset.theme = dark() ? "light" : "dark";
    stored.set("theme", root.dataset.theme);
  });
}

function help() {
  const button = document.getElementById("help-open");
  button.hidden = false;
  button.addEventListener("click", () => document.getElementById("help").showModal());
}

// Times: how long ago, renewed as they age. The title keeps the time itself.
function times() {
  const renew = () => document.querySelectorAll("time[data-ago]").forEach(ago);
  renew();
  setInterval(renew, 5000);
}

function ago(element) {
  const seconds = (Date.now() - Date.parse(element.dateTime)) / 1000;
  const away = Math.abs(seconds);
  const units = [[60, 1, "s"], [3600, 60, "min"], [86400, 3600, "h"], [30 * 86400, 86400, "d"]];
  const unit = units.find(([limit]) => away < limit);
  if (!unit) return; // After a month, the date says more.
  const text = away < 1 ? "now" : `${Math.floor(away / unit[1])} ${unit[2]}`;
  const words = away < 1 ? text : seconds < 0 ? `in ${text}` : `${text} ago`;
  if (element.textContent !== words) element.textContent = words;
}

// Keyboard.
function keys() {
  let goes = false;
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const field = event.target.closest("input:not([type=checkbox]), textarea, select");
    if (event.key === "Escape") {
      if (field) field.blur();
      document.querySelectorAll("details.confirm[open]").forEach((open) => { open.open = false; });
      return;
    }
    if (field || document.querySelector("dialog[open]")) return;
    if (goes) {
      goes = false;
      const link = document.querySelector(`a[data-go="${CSS.escape(event.key)}"]`);
      if (link) { event.preventDefault(); link.click(); }
      return;
    }
    const row = document.activeElement && document.activeElement.closest("table[data-rows] tbody tr");
    switch (event.key) {
      case "g": goes = true; setTimeout(() => { goes = false; }, 1500); break;
      case "?": event.preventDefault(); document.getElementById("help").showModal(); break;
      case "/": {
        const search = document.querySelector("[data-search]");
        if (search) { event.preventDefault(); search.focus(); search.select(); }
        break;
      }
      case "j": walk(row, 1, event); break;
      case "k": walk(row, -1, event); break;
      case "ArrowDown": if (row) walk(row, 1, event); break;
      case "ArrowUp": if (row) walk(row, -1, event); break;
      case "x": {
        const box = row && row.querySelector("input[name=select]");
        if (box) box.click();
        break;
      }
      case "r": refresh(true); break;
    }
  });
}

function walk(row, by, event) {
  const rows = [...document.querySelectorAll("table[data-rows] tbody tr")].filter((each) => each.querySelector("a, input"));
  if (!rows.length) return;
  event.preventDefault();
  const at = row ? rows.indexOf(row) + by : by > 0 ? 0 : rows.length - 1;
  const next = rows[Math.max(0, Math.min(rows.length - 1, at))];
  (next.querySelector("a") || next.querySelector("input")).focus();
  next.scrollIntoView({ block: "nearest" });
}

// Tables: one box selects all. Delegated, because tables are renewed.
function tables() {
  document.addEventListener("change", (event) => {
    const table = event.target.closest("table[data-rows]");
    if (!table) return;
    const boxes = [...table.querySelectorAll("input[name=select]")];
    if (event.target.matches("[data-all]")) boxes.forEach((box) => { box.checked = event.target.checked; });
    const chosen = boxes.filter((box) => box.checked).length;
    const all = table.querySelector("[data-all]");
    if (all) { all.checked = chosen > 0 && chosen === boxes.length; all.indeterminate = chosen > 0 && chosen < boxes.length; }
    document.querySelectorAll("[data-selected]").forEach((element) => { element.textContent = chosen; });
  });
}

// Graph: drag to move, a button to fit, and what is looked at in the middle.
function graphs() {
  const frame = document.querySelector("[data-graph]");
  if (!frame) return;
  const fit = document.querySelector("[data-fit]");
  if (fit) {
    fit.hidden = false;
    fit.addEventListener("click", () => fit.setAttribute("aria-pressed", frame.classList.toggle("fit")));
  }
  const focus = frame.querySelector(".chosen, .hit, .node.bad");
  const centre = (box) => {
    const [outer, inner] = [frame.getBoundingClientRect(), box.getBoundingClientRect()];
    frame.scrollLeft += inner.left + inner.width / 2 - outer.left - outer.width / 2;
    frame.scrollTop += inner.top + inner.height / 2 - outer.top - outer.height / 2;
  };
  if (focus) centre(focus);
  else frame.scrollLeft = (frame.scrollWidth - frame.clientWidth) / 2;
  let from = null;
  let moved = false;
  frame.addEventListener("pointerdown", (event) => {
    if (event.pointerType !== "mouse" || event.button !== 0) return;
    from = [event.clientX + frame.scrollLeft, event.clientY + frame.scrollTop];
    moved = false;
  });
  addEventListener("pointermove", (event) => {
    if (!from) return;
    const [left, top] = [from[0] - event.clientX, from[1] - event.clientY];
    if (!moved && Math.abs(left - frame.scrollLeft) + Math.abs(top - frame.scrollTop) < 5) return;
    moved = true;
    frame.classList.add("drag");
    frame.scrollTo(left, top);
  });
  addEventListener("pointerup", () => { from = null; frame.classList.remove("drag"); });
  frame.addEventListener("click", (event) => { if (moved) { event.preventDefault(); moved = false; } }, true);
  frame.addEventListener("dragstart", (event) => event.preventDefault());
}

// Live: news have the page fetched again, at most once a second, and only what differs is exchanged.
const INTERVAL_MS = 1000;
let last = Date.now(); // The page has just been drawn.
let waiting = null;
let fetching = false;

function live() {
  const body = document.body;
  if (!body.dataset.live) return;
  const state = document.getElementById("link-state");
  const source = new EventSource(body.dataset.live);
  source.addEventListener("message", () => refresh(false));
  // What happened while there was no connection, and between the drawing of the page and the first one, is seen by looking again.
  source.addEventListener("open", () => { state.hidden = true; refresh(false); });
  source.addEventListener("error", () => { state.hidden = false; });
  document.addEventListener("visibilitychange", () => { if (!document.hidden && waiting === "shown") { waiting = null; refresh(false); } });
  addEventListener("pagehide", () => source.close());
}

function refresh(now) {
  if (waiting !== null && !now) return;
  if (document.hidden) { waiting = "shown"; return; }
  const pause = now ? 0 : Math.max(0, last + INTERVAL_MS - Date.now());
  waiting = setTimeout(renew, pause);
}

async function renew() {
  if (fetching) { waiting = setTimeout(renew, INTERVAL_MS); return; }
  fetching = true;
  waiting = null;
  try {
    const answer = await fetch(location.href, { headers: { "X-Partial": "1" }, cache: "no-store" });
    if (answer.ok && (answer.headers.get("content-type") || "").startsWith("text/html")) {
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      document.querySelectorAll("[data-refresh][id]").forEach((old) => {
        const fresh = page.getElementById(old.id);
        if (fresh) morph(old, fresh);
      });
      document.querySelectorAll("time[data-ago]").forEach(ago);
      document.dispatchEvent(new Event("renewed"));
    } else {
      tell(answer.status === 401 || answer.status === 403 ? "Not signed in any more." : `The broker answers ${answer.status}.`, "bad");
    }
  } catch {
    document.getElementById("link-state").hidden = false;
  } finally {
    last = Date.now();
    fetching = false;
  }
}

// Makes `old` like `fresh` without touching what is the same: focus, scroll, open details and typed text stay.
function morph(old, fresh) {
  if (old.isEqualNode(fresh)) return;
  if (old.nodeType !== fresh.nodeType || old.nodeName !== fresh.nodeName) { old.replaceWith(fresh); return; }
  if (old.nodeType !== Node.ELEMENT_NODE) { if (old.data !== fresh.data) old.data = fresh.data; return; }
  const mine = (name) => (name === "open" && old.nodeName === "DETAILS") || (name === "class" && old.hasAttribute("data-graph"))
    || (old.nodeName === "INPUT" && (name === "value" || name === "checked"));
  for (const { name } of [...old.attributes]) if (!fresh.hasAttribute(name) && !mine(name)) old.removeAttribute(name);
  for (const { name, value } of [...fresh.attributes]) if (old.getAttribute(name) !== value && !mine(name)) old.setAttribute(name, value);
  const named = new Map([...old.children].filter((child) => child.id).map((child) => [child.id, child]));
  let at = old.firstChild;
  for (const child of [...fresh.childNodes]) {
    const same = child.id ? named.get(child.id) : null;
    if (same) {
      if (same === at) at = at.nextSibling; else old.insertBefore(same, at);
      morph(same, child);
    } else if (at && !at.id && !child.id && at.nodeName === child.nodeName) {
      const next = at.nextSibling;
      morph(at, child);
      at = next;
    } else {
      old.insertBefore(child, at);
    }
  }
  while (at) { const next = at.nextSibling; at.remove(); at = next; }
}

function tell(text, tone) {
  const toasts = document.getElementById("toasts");
  const line = document.createElement("p");
  line.className = `notice ${tone || ""}`;
  line.textContent = text;
  toasts.replaceChildren(line);
  setTimeout(() => line.remove(), 8000);
}
