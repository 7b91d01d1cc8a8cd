// Walks the main paths of the live page; gives for each of them what went wrong, or null.
import { inFirefox } from "./driver.mjs";

const HOSTILE = "<script>window.stolen = 1</script><img src=x onerror='window.stolen = 1'>";

await inFirefox(async (browser, { url, token }) => {
  const page = await browser.newPage();
  const faults = [];
  page.on("pageerror", (error) => faults.push(String(error)));
  page.on("console", (message) => { if (message.type() === "error") faults.push(message.text()); });

  const api = async (method, path, body) => {
    const headers = { Authorization: `Bearer ${token}`, "Content-Type": "application/json" };
    const answer = await fetch(`${url}/api/v1${path}`, { method, headers, body: body && JSON.stringify(body) });
    if (!answer.ok) throw new Error(`${method} ${path}: ${answer.status} ${await answer.text()}`);
    return answer.json();
  };
  const store = (task_type, payload = null) => api("POST", "/tasks", { task_type, payload });
  const statusOf = async (task) => (await api("GET", `/tasks/${task.id}`)).status;

  const until = async (what, condition, ...args) => {
    let last = "it is not so";
    for (const end = Date.now() + 60_000; Date.now() < end; await new Promise((done) => setTimeout(done, 20))) {
      try {
        if (await page.evaluate(condition, ...args)) return;
      } catch (error) {
        last = error; // a page that is being left evaluates nothing
      }
    }
    throw new Error(`${what}: ${last}, in ${await page.evaluate(() => `${location.href}\n${document.body.innerText}`)}`);
  };
  const equal = (what, got, wanted) => { if (got !== wanted) throw new Error(`${what} is ${got}, expected ${wanted}`); };
  const shows = (text) => until(`shows “${text}”`, (text) => document.body.innerText.includes(text), text);
  const isAt = (path) => until(`is at ${path}`, (path) => location.pathname === path && document.readyState === "complete", path);
  const isLive = () => until("is live", () => document.getElementById("live")?.textContent === "live");
  const show = async (path) => { await page.goto(url + path); await isLive(); };
  const click = (selector) => page.locator(selector).setTimeout(60_000).click();

  const paths = {
    "a browser logs in, and comes to the page it wanted": async () => {
      await page.goto(`${url}/tasks`);
      await isAt("/login");
      await page.type("[name=token]", "a wrong token of enough letters");
      await click("button.primary");
      await shows("The token is wrong.");
      await page.type("[name=token]", token);
      await click("button.primary");
      await isAt("/tasks");
      await isLive();
      equal("what a script sees of the cookie", await page.evaluate(() => document.cookie), "");
    },
    "the overview counts new tasks without a reload": async () => {
      await show("/");
      await page.evaluate(() => { window.wasLoadedOnce = true; });
      const count = () => Number(document.querySelector(".tile.is-pending strong").textContent);
      const before = await page.evaluate(count);
      for (let task = 0; task < 3; task++) await store("counted");
      await until("counts 3 more", (wanted) => {
        return Number(document.querySelector(".tile.is-pending strong").textContent) === wanted;
      }, before + 3);
      equal("loaded once", await page.evaluate(() => window.wasLoadedOnce), true);
    },
    "a task is reached from the list, and its payload is text": async () => {
      const task = await store("looked-at", { text: HOSTILE });
      await show("/tasks?task_type=looked-at");
      await click(`tr[data-key="${task.id}"] a`);
      await isAt(`/tasks/${task.id}`);
      await isLive();
      await shows("onerror=");
      equal("images in it", await page.evaluate(() => document.querySelectorAll("main img").length), 0);
      equal("stolen", await page.evaluate(() => window.stolen ?? null), null);
    },
    "a task is cancelled after a confirmation only": async () => {
      const task = await store("unwanted");
      const cancel = `form[action="/tasks/${task.id}/cancel"] button`;
      await show(`/tasks/${task.id}`);
      await click(cancel);
      await click("dialog button:not(.primary)");
      await until("the dialog is gone", () => document.querySelector("dialog") === null);
      equal("status", await statusOf(task), "pending");
      await click(cancel);
      await click("dialog button.primary");
      await shows("The task was cancelled.");
      equal("status", await statusOf(task), "cancelled");
    },
    "the search finds a task by the keyboard": async () => {
      const task = await store("searched-for");
      await show("/");
      await page.keyboard.press("/");
      await page.keyboard.type(task.id);
      await page.keyboard.press("Enter");
      await isAt(`/tasks/${task.id}`);
    },
    "the events arrive in the list": async () => {
      await show("/events");
      const event = await api("POST", "/events", { event_type: "arrived", data: null });
      await until("lists it", (id) => document.querySelector(`tr[data-key="${id}"]`) !== null, event.id);
    },
    "logging out ends it": async () => {
      await show("/");
      await click("form[action='/logout'] button");
      await isAt("/login");
      await page.goto(`${url}/tasks`);
      await isAt("/login");
    },
  };

  const outcomes = {};
  for (const [name, walk] of Object.entries(paths)) {
    faults.length = 0;
    outcomes[name] = await walk().then(() => faults.join("\n") || null, (error) => String(error.stack));
  }
  return outcomes;
});
