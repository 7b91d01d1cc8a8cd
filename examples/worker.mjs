// A worker in JavaScript: node worker.mjs http://127.0.0.1:8787 summarize
// It claims tasks of a type beside workers in any other language, keeps each claim while it works, and completes it.
const [server, type = "summarize"] = process.argv.slice(2);
const token = process.env.SWARM_TOKEN;
const headers = { "Content-Type": "application/json", ...(token && { Authorization: `Bearer ${token}` }) };
const agent = `node-${process.pid}`;
const lease = 30; // seconds after which another worker may take over, if this one is gone

async function call(path, body) {
  const answer = await fetch(`${server}/api/v1${path}`, { method: "POST", headers, body: JSON.stringify(body) });
  const value = answer.status === 204 ? null : await answer.json();
  if (!answer.ok) throw Object.assign(new Error(value.detail), { status: answer.status });
  return value;
}

async function work(task) {
  const words = task.payload.text.split(/\s+/); // throws if there is no text: the task fails, and is tried again
  await new Promise((resolve) => setTimeout(resolve, task.payload.milliseconds ?? 0));
  return { by: agent, words: words.length };
}

let running = true;
for (const signal of ["SIGTERM", "SIGINT"]) process.on(signal, () => (running = false));
await call("/agents", { id: agent, name: agent, agent_type: "node", status: "active", capabilities: [type] });
while (running) {
  const task = await call("/tasks/claim", { agent_id: agent, task_types: [type], lease, wait: 2 });
  if (!task) continue;
  const claim = { agent_id: agent, claim_count: task.claim_count };
  const extend = () => call(`/tasks/${encodeURIComponent(task.id)}/extend`, { ...claim, lease, is_running: true });
  const extending = setInterval(() => extend().catch(() => {}), (lease * 1000) / 3);
  try {
    await extend();
    await call(`/tasks/${encodeURIComponent(task.id)}/complete`, { ...claim, result: await work(task) });
  } catch (error) {
    if (error.status === 409) console.error(error.message); // another worker has it now
    else await call(`/tasks/${encodeURIComponent(task.id)}/fail`, { ...claim, error: String(error) });
  } finally {
    clearInterval(extending);
  }
}
