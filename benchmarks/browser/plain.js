// The same work as `programs/timings.py`, in plain JavaScript on the same IndexedDB.
const finished = (transaction) => new Promise((resolve, reject) => {
  transaction.oncomplete = resolve;
  transaction.onabort = () => reject(transaction.error);
});
const answered = (request) => new Promise((resolve, reject) => {
  request.onsuccess = () => resolve(request.result);
  request.onerror = () => reject(request.error);
});

function open(name) {
  const request = indexedDB.open(name, 1);
  request.onupgradeneeded = () => {
    request.result.createObjectStore("documents", { keyPath: ["collection", "key"] }).createIndex("by_label", "label");
    const tasks = request.result.createObjectStore("tasks", { keyPath: "id" });
    tasks.createIndex("pending", ["status", "priority", "created_at", "id"]);
    tasks.createIndex("by_agent", ["assigned_to", "created_at"]);
  };
  return answered(request);
}

const START = Date.UTC(2026, 0, 1);

function task(id, place) {
  const moment = START + place * 1000;
  return {
    id, task_type: "analyze", priority: -(place % 4), status: "pending", assigned_to: null,
    payload: { dataset: "sales.csv", page: place }, result: null, error: null, retry_count: 0, max_retries: 3,
    dependencies: [], created_at: moment, updated_at: moment, started_at: null, completed_at: null, version: 1,
  };
}

const key = (place) => `${place}`.padStart(6, "0");

function document(collection, place) {
  const words = Array.from({ length: 38 }, (_, word) => `word-${(place * 31 + word * 17) % 997}`);
  words.push(...(place % 10 === 0 ? ["seldom", "found"] : ["often", "there"]));
  const moment = Date.now();
  return {
    collection, key: key(place), value: { kind: `kind-${place % 50}`, text: words.join(" ") }, label: null,
    created_at: moment, updated_at: moment, expires_at: null, version: 1,
  };
}

// BM25 over the documents that have every word, as `search_documents` ranks.
function ranked(documents, words, limit) {
  const counted = documents.map((found) => found.value.text.toLowerCase().match(/[\p{L}\p{N}_]+/gu));
  const mean = counted.reduce((sum, all) => sum + all.length, 0) / counted.length;
  const having = words.map((word) => counted.filter((all) => all.includes(word)).length);
  const scored = [];
  documents.forEach((found, place) => {
    let score = 0;
    for (const [number, word] of words.entries()) {
      const times = counted[place].filter((one) => one === word).length;
      if (!times) return;
      const rarity = Math.log(1 + (documents.length - having[number] + 0.5) / (having[number] + 0.5));
      score += rarity * times * 2.2 / (times + 1.2 * (0.25 + 0.75 * counted[place].length / mean));
    }
    scored.push({ found, score });
  });
  return scored.sort((one, other) => other.score - one.score).slice(0, limit);
}

async function measureDocuments(name, calls, batches, records) {
  const database = await open(name);
  const put = (documents) => {
    const transaction = database.transaction(["documents"], "readwrite", { durability: "relaxed" });
    for (const one of documents) transaction.objectStore("documents").put(one);
    return finished(transaction);
  };
  const reading = () => database.transaction(["documents"]).objectStore("documents");
  const kept = () => answered(reading().getAll(IDBKeyRange.bound(["kept"], ["kept", []])));
  const many = Array.from({ length: records }, (_, place) => document("kept", place));
  const times = {
    "put document": await milliseconds(calls, (place) => put([document("one", place)])),
    "put documents": await milliseconds(batches, () => put(many)) / records,
    "get document": await milliseconds(calls, (place) => answered(reading().get(["one", key(place)]))),
    "list documents": await milliseconds(batches, kept),
    "search documents": await milliseconds(batches, async () => ranked(await kept(), ["seldom", "found"], 10)),
    "filter documents": await milliseconds(batches, async () =>
      (await kept()).filter((found) => found.value.kind === "kind-7")),
  };
  database.close();
  return times;
}

async function measureLarge(name, times, size) {
  const database = await open(name);
  const values = [0, 1].map((number) => new Uint8Array(size).fill(number));
  const writing = () => database.transaction(["documents"], "readwrite", { durability: "relaxed" });
  const place = ["large", "1"];
  const large = (data, version) => ({ ...document("large", 0), key: "1", data, version });
  const calls = {
    "put large": () => {
      const transaction = writing();
      transaction.objectStore("documents").put(large(values[0], 1));
      return finished(transaction);
    },
    "get large": () => answered(database.transaction(["documents"]).objectStore("documents").get(place)),
    "update large": () => {
      const transaction = writing();
      const store = transaction.objectStore("documents");
      store.get(place).onsuccess = ({ target: { result: { version } } }) =>
        store.put(large(values[version % 2], version + 1));
      return finished(transaction);
    },
  };
  const found = {};
  for (const [kind, call] of Object.entries(calls)) {
    const measured = [];
    for (let number = 0; number < times; number++) measured.push(await timeAndDelay(call));
    found[kind] = median(measured.map(([time]) => time));
    found[`${kind}, late`] = median(measured.map(([, delay]) => delay));
  }
  database.close();
  return found;
}

// How long a call takes, and the longest time between two turns of the event loop meanwhile.
async function timeAndDelay(call) {
  const { port1, port2 } = new MessageChannel();
  let longest = 0;
  let before = performance.now();
  port1.onmessage = () => {
    const now = performance.now();
    longest = Math.max(longest, now - before);
    before = now;
    port2.postMessage(null);
  };
  port2.postMessage(null);
  const start = performance.now();
  await call();
  const taken = performance.now() - start;
  await new Promise((resolve) => setTimeout(resolve));
  port1.close();
  return [taken, longest];
}

const median = (times) => times.sort((one, other) => one - other)[Math.floor(times.length / 2)];

async function milliseconds(rounds, call) {
  const times = [];
  for (let place = 0; place < rounds; place++) {
    const start = performance.now();
    await call(place);
    times.push(performance.now() - start);
  }
  return median(times);
}

export async function measure(name, calls, batches, records, large) {
  const database = await open(name);
  const writing = () => database.transaction(["tasks"], "readwrite", { durability: "relaxed" });
  const tasks = (transaction) => transaction.objectStore("tasks");

  const put = (id, place) => {
    const transaction = writing();
    tasks(transaction).add(task(id, place));
    return finished(transaction);
  };
  const batch = (prefix) => {
    const transaction = writing();
    for (let place = 0; place < records; place++) tasks(transaction).add(task(`${prefix}-${place}`, place));
    return finished(transaction);
  };
  const change = (id, edit) => {
    const transaction = writing();
    const request = tasks(transaction).get(id);
    request.onsuccess = () => {
      edit(request.result);
      tasks(transaction).put(request.result);
    };
    return finished(transaction);
  };
  const claim = (id) => change(id, (found) => {
    if (found.status !== "pending") return;
    Object.assign(found, { status: "assigned", assigned_to: "agent-1", version: found.version + 1 });
  });

  const times = {
    "put": await milliseconds(calls, (place) => put(`single-${place}`, place)),
    "batch": await milliseconds(batches, (place) => batch(`batch-${place}`)) / records,
    "at once": await milliseconds(batches, (round) => Promise.all(
      Array.from({ length: records }, (_, place) => put(`once-${round}-${place}`, place)))) / records,
    "get": await milliseconds(calls, (place) =>
      answered(tasks(database.transaction(["tasks"])).get(`single-${place}`))),
    "claim": await milliseconds(calls, (place) => claim(`single-${place}`)),
    "change": await milliseconds(calls, (place) => change(`single-${place}`, (found) => {
      found.payload.page += 1;
    })),
  };
  database.close();

  const other = await open(`${name}-select`);
  const filling = other.transaction(["tasks"], "readwrite");
  for (let place = 0; place < records; place++) filling.objectStore("tasks").add(task(`pending-${place}`, place));
  await finished(filling);
  const range = IDBKeyRange.bound(["pending"], ["pending", []]);
  times.select = await milliseconds(batches, () =>
    answered(other.transaction(["tasks"]).objectStore("tasks").index("pending").getAll(range)));
  other.close();
  Object.assign(times, await measureDocuments(`${name}-documents`, calls, batches, records));
  Object.assign(times, await measureLarge(`${name}-large`, batches, large));
  return JSON.stringify(times);
}
