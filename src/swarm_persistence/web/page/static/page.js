// Keeps the page as the server would render it now: after a change it reads the page again, and replaces what differs.
"use strict";

document.documentElement.classList.add("has-script");

const main = document.getElementById("main");
const sign = document.getElementById("live");
const announce = (text, isLive) => {
  if (sign.textContent !== text) sign.textContent = text;
  sign.classList.toggle("is-live", isLive);
};

// On a phone, the navigation is wider than the window.
document.querySelector(".top nav [aria-current]")?.scrollIntoView({ block: "nearest", inline: "nearest" });

// Times.

const units = [[86400, "d"], [3600, "h"], [60, "min"]];
let skew = 0; // of this clock against the server's

const spoken = (seconds) => {
  const number = Math.abs(seconds);
  if (number < 1) return "now";
  const [length, unit] = units.find(([least]) => number >= least) ?? [1, "s"];
  const text = `${Math.floor(number / length)} ${unit}`;
  return seconds > 0 ? `${text} ago` : `in ${text}`;
};

const tick = (root) => {
  for (const time of root.querySelectorAll("time[datetime]")) {
    const text = spoken((Date.now() + skew - Date.parse(time.dateTime)) / 1000);
    if (time.textContent !== text) time.textContent = text;
  }
};
setInterval(() => tick(document), 1000);

// The page itself.

const keyOf = (node) => node.dataset?.key ?? (node.id || null);
const isSame = (one, other) =>
  one.nodeType === other.nodeType && one.nodeName === other.nodeName && keyOf(one) === keyOf(other);

const copyAttributes = (from, to) => {
  for (const { name } of [...to.attributes]) {
    if (!from.hasAttribute(name) && name !== "open" && name !== "class") to.removeAttribute(name);
  }
  for (const { name, value } of from.attributes) {
    if (to.getAttribute(name) !== value) to.setAttribute(name, value);
  }
};

// Changes `old` into `fresh`, and keeps what is the same: the focus, the selection, what is open and what is typed.
const morph = (old, fresh) => {
  if (old.nodeType !== Node.ELEMENT_NODE) {
    if (old.data !== fresh.data) old.data = fresh.data;
    return;
  }
  if (old.isEqualNode(fresh)) return;
  const isForm = ["INPUT", "SELECT", "TEXTAREA"].includes(old.nodeName);
  if (isForm && old.type !== "hidden") return;
  copyAttributes(fresh, old);
  const keyed = new Map();
  for (const child of old.children) if (keyOf(child)) keyed.set(keyOf(child), child);
  let place = old.firstChild;
  for (const wanted of [...fresh.childNodes]) {
    const known = keyOf(wanted) ? keyed.get(keyOf(wanted)) : place;
    if (known && isSame(known, wanted)) {
      if (known !== place) old.insertBefore(known, place);
      else place = place.nextSibling;
      morph(known, wanted);
    } else {
      old.insertBefore(wanted, place);
      if (wanted.dataset?.key) wanted.classList.add("is-new");
    }
  }
  while (place) {
    const next = place.nextSibling;
    place.remove();
    place = next;
  }
};

let isPaused = false;
let isReading = false;
let isDue = false;
let timer = 0;

const later = (milliseconds) => {
  clearTimeout(timer);
  timer = setTimeout(refresh, milliseconds);
};

const refresh = async () => {
  if (isReading || isPaused || document.hidden) {
    isDue = true;
    return;
  }
  isReading = true;
  isDue = false;
  const start = performance.now();
  let rest = 250;
  try {
    const answer = await fetch(location.href, { headers: { Accept: "text/html" }, redirect: "error" });
    if (answer.ok || answer.status === 404) { // what was shown may be deleted now
      skew = Date.parse(answer.headers.get("date") ?? "") - Date.now() || 0;
      if (Math.abs(skew) < 2000) skew = 0; // the header has no fractions
      const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
      const wanted = fresh.getElementById("main");
      if (wanted && !isPaused) {
        tick(wanted);
        morph(main, wanted);
        fillIn(main);
        document.title = fresh.title;
      }
    }
    rest = Math.max(rest, (performance.now() - start) * 2); // a slow server is asked less often
  } catch {
    rest = 2000; // it is not reachable: the stream tells
  }
  const again = Number(main.dataset.again) * 1000;
  setTimeout(() => {
    isReading = false;
    if (isDue) refresh();
    else if (again) later(Math.max(again, rest));
  }, rest);
};

let stream;
let wasLost = false;

const follow = () => {
  stream = new EventSource(`${document.body.dataset.live}?of=${encodeURIComponent(document.body.dataset.of)}`);
  stream.addEventListener("open", () => {
    announce(isPaused ? "paused" : "live", !isPaused);
    if (wasLost) refresh();
    wasLost = false;
  });
  stream.addEventListener("change", refresh);
  stream.addEventListener("error", () => {
    wasLost = true;
    announce("offline", false);
    // The browser connects again by itself, unless the server has answered with an error.
    if (stream.readyState === EventSource.CLOSED) setTimeout(follow, 2000);
  });
};

if (document.body.dataset.live) {
  follow();
  if (Number(main.dataset.again)) later(Number(main.dataset.again) * 1000);
}
document.addEventListener("visibilitychange", () => { if (!document.hidden && isDue) refresh(); });
addEventListener("pagehide", () => stream?.close());
addEventListener("pageshow", (event) => { if (event.persisted) { follow(); refresh(); } });

// Clicks.

const copy = async (button) => {
  await navigator.clipboard.writeText(button.dataset.copy ?? document.getElementById(button.dataset.copyOf).textContent);
  button.classList.add("is-done");
  announce("copied", sign.classList.contains("is-live"));
  setTimeout(() => {
    button.classList.remove("is-done");
    announce(isPaused ? "paused" : "live", !isPaused);
  }, 1200);
};

document.addEventListener("click", (event) => {
  const button = event.target.closest?.("button");
  if (button?.classList.contains("copy")) copy(button).catch(() => announce("not copied", false));
  if (button?.id === "pause") {
    isPaused = !isPaused;
    button.setAttribute("aria-pressed", String(isPaused));
    button.textContent = isPaused ? "Go on" : "Pause";
    announce(isPaused ? "paused" : "live", !isPaused);
    if (!isPaused) refresh();
  }
});

document.addEventListener("keydown", (event) => {
  if (event.key === "/" && !event.target.closest("input, textarea, select, dialog")) {
    event.preventDefault();
    document.getElementById("q")?.focus();
  }
});

// Confirmations.

const element = (name, text, properties = {}) =>
  Object.assign(document.createElement(name), { textContent: text, ...properties });

document.addEventListener("submit", (event) => {
  const form = event.target;
  const text = event.submitter?.dataset.confirm ?? form.dataset.confirm;
  if (!text || form.dataset.confirmed) return;
  event.preventDefault();
  const label = event.submitter?.dataset.label ?? form.dataset.label;
  const dialog = document.createElement("dialog");
  dialog.setAttribute("aria-labelledby", "asked");
  const no = element("button", "Leave it", { type: "button", autofocus: true });
  const yes = element("button", label, { type: "button", className: "primary" });
  const actions = element("div", "", { className: "actions" });
  actions.append(no, yes);
  dialog.append(element("h2", `${label}?`, { id: "asked" }), element("p", text), actions);
  no.addEventListener("click", () => dialog.close());
  yes.addEventListener("click", () => {
    form.append(element("input", "", { type: "hidden", name: "confirmed", value: "yes" }));
    form.dataset.confirmed = "yes";
    form.requestSubmit(event.submitter); // which has the action of its own
  });
  dialog.addEventListener("close", () => dialog.remove());
  document.body.append(dialog);
  dialog.showModal();
});

// The name that is given with a decision is filled in for the next one.

const remembered = (input) => `swarm ${input.dataset.remember}`;
const fillIn = (root) => {
  for (const input of root.querySelectorAll("input[data-remember]")) {
    if (!input.value) input.value = localStorage.getItem(remembered(input)) ?? "";
  }
};
fillIn(document);
document.addEventListener("change", (event) => {
  if (!event.target.dataset?.remember) return;
  localStorage.setItem(remembered(event.target), event.target.value);
  fillIn(document);
});
