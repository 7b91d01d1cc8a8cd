// Moves rows between Python and one IndexedDB database. Python evaluates; this code does not interpret rows.
//
// A transaction of IndexedDB is active only while its callbacks run, so nothing in it can be awaited: Python answers in
// the callback, with further requests or with the rows to write. Rows are passed as text, many at once.
(() => {
  "use strict";

  const META = "meta";
  const PIECES = "pieces";
  const EMPTY = "[]";
  const UPGRADE = 0; // the number of the transaction that upgrades the database
  const hasDirections = typeof IDBIndex !== "undefined" && "getAllRecords" in IDBIndex.prototype;

  const isEmpty = (lower, upper) => lower !== null && upper !== null && lower >= upper;

  function rangeOf(lower, upper) {
    if (lower === null) return upper === null ? null : IDBKeyRange.upperBound(upper, true);
    return upper === null ? IDBKeyRange.lowerBound(lower) : IDBKeyRange.bound(lower, upper, false, true);
  }

  const allPieces = (id) => IDBKeyRange.bound([id], [id, []]); // an array sorts after every number

  // The bytes of records travel beside their texts, in the order of the marks in these.
  function giveRecords(done, records) {
    done(
      `[${records.map((record) => (record === undefined ? "null" : record.d)).join(",")}]`,
      records.flatMap((record) => record?.b ?? []),
    );
  }

  function walk(index, range, limit, done) {
    const found = [];
    index.openCursor(range, "prev").onsuccess = ({ target: { result: cursor } }) => {
      if (cursor) found.push(cursor.value);
      if (cursor && found.length < limit) cursor.continue();
      else giveRecords(done, found);
    };
  }

  const fetchers = {
    get(transaction, done, python, name, ids) {
      const store = transaction.objectStore(name);
      const requests = ids.map((id) => store.get(id));
      // Requests are answered in order, so all are done when the last one is.
      requests.at(-1).onsuccess = () => giveRecords(done, requests.map(({ result }) => result));
    },

    range(transaction, done, python, name, indexName, lower, upper, isBackward, limit) {
      if (isEmpty(lower, upper)) return done(EMPTY);
      const index = transaction.objectStore(name).index(indexName);
      const range = rangeOf(lower, upper);
      if (!isBackward || limit === null) {
        index.getAll(range, limit ?? undefined).onsuccess = ({ target: { result } }) =>
          giveRecords(done, isBackward ? result.reverse() : result);
      } else if (hasDirections) {
        index.getAll({ query: range, count: limit, direction: "prev" }).onsuccess = ({ target: { result } }) =>
          giveRecords(done, result);
      } else {
        walk(index, range, limit, done);
      }
    },

    count(transaction, done, python, name, indexName, lower, upper) {
      if (isEmpty(lower, upper)) return done("0");
      const request = transaction.objectStore(name).index(indexName).count(rangeOf(lower, upper));
      request.onsuccess = () => done(String(request.result));
    },

    // The bytes of a store's records: text, keys included, is counted as UTF-8.
    size(transaction, done, python, name) {
      let total = 0;
      const encoder = new TextEncoder();
      transaction.objectStore(name).openCursor().onsuccess = ({ target: { result: cursor } }) => {
        if (!cursor) return done(String(total));
        for (const value of Object.values(cursor.value).flat()) {
          total += value.byteLength ?? encoder.encode(value).length;
        }
        cursor.continue();
      };
    },

    // Long bytes, piece by piece: the next one is requested when Python has taken this one, so that the event loop goes
    // on between them. The answer is a row of one mark.
    pieces(transaction, done, python, name, id, size) {
      const store = transaction.objectStore(name);
      const receive = (number, start) => {
        store.get([id, number]).onsuccess = ({ target: { result } }) => {
          if (result === undefined) return done("[null]");
          const [piece] = result.b;
          if (!python.receive(id, size, start, piece)) return transaction.abort();
          const end = start + piece.byteLength;
          return end < size ? receive(number + 1, end) : done("[[{}]]", [id]);
        };
      };
      receive(0, 0);
    },
  };

  function fetchAll(transaction, requests, python, done) {
    const answers = new Array(requests.length);
    const blobs = new Array(requests.length).fill([]);
    let missing = requests.length;
    if (!missing) return done(EMPTY, []);
    requests.forEach(([kind, ...details], place) => {
      fetchers[kind](transaction, (answer, bytes = []) => {
        answers[place] = answer;
        blobs[place] = bytes;
        if (--missing === 0) done(`[${answers.join(",")}]`, blobs.flat());
      }, python, ...details);
    });
  }

  // A message is a line of JSON, followed by a line for each row to put. `bytes` are those of all these rows.
  function write(transaction, { remove, drop, put, meta }, rows, bytes) {
    const tables = [...Object.keys(remove ?? {}), ...Object.keys(put ?? {})];
    for (const [name, ids] of Object.entries(remove ?? {})) {
      const store = transaction.objectStore(name);
      for (const id of ids) store.delete(id);
    }
    for (const id of drop ?? []) transaction.objectStore(PIECES).delete(allPieces(id));
    let place = 0;
    let taken = 0;
    for (const [name, { keys, records, blobs }] of Object.entries(put ?? {})) {
      const store = transaction.objectStore(name);
      for (const [number, [id, ...values]] of records.entries()) {
        const record = { id, d: rows[place++] };
        // A record without the field is not in that index, which is partial.
        values.forEach((value, key) => { if (value !== null) record[keys[key]] = value; });
        if (blobs?.[number]) record.b = bytes.slice(taken, (taken += blobs[number]));
        store.put(record);
      }
    }
    for (const [id, value] of Object.entries(meta ?? {})) {
      transaction.objectStore(META).put({ id, d: JSON.stringify(value) });
    }
    return tables;
  }

  // Stores what Python gives piece by piece, each when the one before is stored, so that the event loop goes on between.
  function putPieces(transaction, python, done) {
    const piece = python.piece();
    if (piece === undefined) return transaction.abort();
    if (!piece.length) return done();
    const [id, bytes] = piece;
    transaction.objectStore(PIECES).put({ id, b: [bytes] }).onsuccess = () => putPieces(transaction, python, done);
    return undefined;
  }

  // Runs the messages of one Python generator until it requests nothing more; adds the written tables to `tables`.
  function drive(transaction, message, python, tables) {
    const [text, bytes] = typeof message === "string" ? [message, []] : message;
    const [first, ...rows] = text.split("\n");
    const order = JSON.parse(first);
    for (const table of write(transaction, order, rows, bytes)) tables.add(table);
    const goOn = () => {
      if (!order.fetch) return order.isLast && transaction.commit?.();
      return fetchAll(transaction, order.fetch, python, (answers, blobs) => {
        const next = python.answer(answers, blobs);
        if (next === undefined) transaction.abort();
        else drive(transaction, next, python, tables);
      });
    };
    if (order.hasPieces) putPieces(transaction, python, goOn);
    else goOn();
  }

  // Python's functions for one transaction.
  const exchangeOf = (python, number) => ({
    answer: (answers, blobs) => python.answer(number, answers, blobs),
    piece: () => python.piece(number),
    receive: (...details) => python.receive(number, ...details),
  });

  function start(transaction, number, message, python) {
    transaction.onabort = () => {
      const error = transaction.error;
      python.settle(number, error?.name ?? "AbortError", error?.message ?? "");
    };
    const tables = new Set();
    try {
      drive(transaction, message, exchangeOf(python, number), tables);
      return tables;
    } catch (error) {
      transaction.abort();
      throw error;
    }
  }

  function shape(database, transaction, stores) {
    for (const [name, indexes] of Object.entries(stores)) {
      const store = database.objectStoreNames.contains(name)
        ? transaction.objectStore(name)
        : database.createObjectStore(name, { keyPath: "id" });
      for (const old of store.indexNames) if (!indexes.includes(old)) store.deleteIndex(old);
      for (const index of indexes) if (!store.indexNames.contains(index)) store.createIndex(index, index);
    }
  }

  // Requesting a lock costs as much as a small write, so it is kept for the next write, but only briefly, because
  // transactions of other tabs may wait for it.
  const IDLE_MILLISECONDS = 5;
  const LONGEST_MILLISECONDS = 50;

  class Connection {
    constructor(name, durability, python) {
      this.name = `swarm-persistence:${name}`;
      this.durability = durability;
      this.python = python;
      this.locks = new Map();
      this.isClosed = false;
      this.writes = 0;
      this.transact = this.transact.bind(this);
      this.channel = new BroadcastChannel(this.name);
      this.channel.onmessage = ({ data }) => python.notice("written", data);
      // A frozen page has missed the broadcasts of other tabs.
      this.awake = () => python.notice("written", "");
      globalThis.document?.addEventListener("visibilitychange", this.awake);
    }

    use(database) {
      this.database = database;
      this.stores = [...database.objectStoreNames];
      database.onversionchange = ({ newVersion }) => this.python.notice(newVersion === null ? "unwanted" : "outdated", "");
      database.onclose = () => this.python.notice("lost", "");
    }

    // Runs a transaction. The end of a read-only one is not reported: Python requests nothing more by itself.
    transact(number, message, isWrite, lock) {
      const mode = isWrite ? "readwrite" : "readonly";
      const transaction = this.database.transaction(this.stores, mode, { durability: this.durability });
      const held = this.locks.get(lock);
      if (held) clearTimeout(held.timer);
      const tables = start(transaction, number, message, this.python);
      if (!isWrite) return;
      this.writes += 1;
      transaction.oncomplete = () => {
        if (held && !held.isExclusive) this.keep(lock, held);
        this.python.settle(number, "", "");
        if (tables.size) this.channel.postMessage([...tables].join(" "));
      };
      const over = () => {
        this.writes -= 1;
        if (this.isClosed) this.leave();
      };
      transaction.addEventListener("complete", over);
      transaction.addEventListener("abort", over);
    }

    keep(number, lock) {
      if (performance.now() - lock.since > LONGEST_MILLISECONDS) this.letGo(number);
      else lock.timer = setTimeout(() => this.letGo(number), IDLE_MILLISECONDS);
    }

    letGo(number) {
      this.unlock(number);
      this.python.released(number);
    }

    // A strict write to the META store completes once all earlier writes have reached the disk.
    flush(number) {
      const transaction = this.database.transaction([META], "readwrite", { durability: "strict" });
      transaction.oncomplete = () => this.python.settle(number, "", "");
      transaction.onabort = () => this.python.settle(number, transaction.error?.name ?? "AbortError", "");
      const store = transaction.objectStore(META);
      store.get("state").onsuccess = ({ target: { result } }) => store.put(result);
    }

    lock(number, isExclusive, milliseconds) {
      const waiting = new AbortController();
      const timer = setTimeout(() => waiting.abort(), milliseconds);
      const hold = new Promise((release) => this.locks.set(number, { isExclusive, release, waiting, timer }));
      const options = { mode: isExclusive ? "exclusive" : "shared", signal: waiting.signal };
      navigator.locks.request(this.name, options, () => {
        clearTimeout(timer);
        if (!this.locks.has(number)) return undefined;
        this.locks.get(number).since = performance.now();
        this.python.locked(number, "");
        return hold;
      }).catch((error) => {
        this.locks.delete(number);
        this.python.locked(number, error.name);
      });
    }

    // Releases a lock, or stops waiting for it.
    unlock(number) {
      const lock = this.locks.get(number);
      if (!lock) return;
      this.locks.delete(number);
      clearTimeout(lock.timer);
      lock.release();
      lock.waiting.abort();
    }

    close() {
      this.isClosed = true;
      globalThis.document?.removeEventListener("visibilitychange", this.awake);
      this.database?.close();
      this.leave();
    }

    // Writes that began before the database was closed still commit under its lock, and are broadcast.
    leave() {
      if (this.writes) return;
      for (const number of [...this.locks.keys()]) this.unlock(number);
      this.channel.close();
    }
  }

  return {
    missing() {
      if (typeof indexedDB === "undefined" || indexedDB === null) return "IndexedDB";
      if (!globalThis.navigator?.locks) return "Web Locks, which pages have over https and from localhost only";
      return "";
    },

    // Opens a database, or creates and upgrades it; `python.opened` is called with the outcome.
    open(name, version, stores, durability, message, milliseconds, python) {
      const connection = new Connection(name, durability, python);
      const request = indexedDB.open(name, version);
      let failure = null;
      // An open request cannot be cancelled: if it succeeds after the connection was closed, close the database then.
      const give = (kind, text) => {
        clearTimeout(timer);
        if (connection.isClosed) return;
        if (kind) connection.close();
        python.opened(kind, text);
      };
      const timer = setTimeout(() => give("TimeoutError", ""), milliseconds);
      request.onupgradeneeded = ({ oldVersion }) => {
        const { result: database, transaction } = request;
        if (connection.isClosed) return transaction.abort();
        if (oldVersion && !database.objectStoreNames.contains(META)) {
          failure = "ForeignError";
          return transaction.abort();
        }
        // The request's own error says only that it was aborted.
        transaction.onabort = () => { failure ??= transaction.error?.name ?? null; };
        try {
          shape(database, transaction, JSON.parse(stores));
          const answer = (answers, blobs) => python.upgrade(oldVersion, answers, blobs);
          drive(transaction, message, { ...exchangeOf(python, UPGRADE), answer }, new Set());
        } catch (error) {
          failure = error.name;
          transaction.abort();
        }
        return undefined;
      };
      request.onerror = () => give(failure ?? request.error.name, request.error.message);
      request.onsuccess = () => {
        const database = request.result;
        const isForeign = !database.objectStoreNames.contains(META);
        if (connection.isClosed || isForeign) database.close();
        else connection.use(database);
        give(isForeign ? "ForeignError" : "", "");
      };
      return connection;
    },

    async estimate() {
      const { usage, quota } = await navigator.storage.estimate();
      return JSON.stringify([usage ?? null, quota ?? null]);
    },

    // A worker cannot ask for persistence; it can only see whether it was granted.
    async persist() {
      return navigator.storage.persist ? navigator.storage.persist() : navigator.storage.persisted();
    },
  };
})()
