//! Measures the crate that this library follows: `rust-peer fill PATH COUNT PENDING`, and
//! `rust-peer run PATH VERB IN_FLIGHT SECONDS [durable]`, which prints what was done and how many seconds it took.

use std::env;
use std::ffi::{c_char, c_int, c_void, CStr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::Arc;
use std::time::{Duration, Instant};

use ruv_swarm_persistence::models::TaskPriority;
use ruv_swarm_persistence::{AgentModel, EventModel, SqliteStorage, Storage, TaskModel};
use rusqlite::{ffi, Connection};
use serde_json::json;

const AGENTS: usize = 100;

fn agent_name(number: usize) -> String {
    format!("agent-{:03}", number % AGENTS)
}

#[tokio::main]
async fn main() {
    let arguments: Vec<String> = env::args().collect();
    let words: Vec<&str> = arguments[1..].iter().map(String::as_str).collect();
    match words[..] {
        ["fill", path, count, pending] => fill(path, count.parse().unwrap(), pending.parse().unwrap()).await,
        ["run", path, verb, in_flight, seconds] => {
            run(path, verb, in_flight.parse().unwrap(), seconds.parse().unwrap()).await
        }
        ["run", path, verb, in_flight, seconds, "durable"] => {
            keep_durable();
            run(path, verb, in_flight.parse().unwrap(), seconds.parse().unwrap()).await
        }
        _ => panic!("fill PATH COUNT PENDING, or run PATH VERB IN_FLIGHT SECONDS [durable]"),
    }
}

/// Stores tasks, of which the last ones are pending. The crate writes `"pending"` with JSON's quotes into the column, so
/// that none of its own queries finds a pending task: the quotes are taken away.
async fn fill(path: &str, count: usize, pending: usize) {
    let storage = SqliteStorage::new(path).await.unwrap();
    for number in 0..AGENTS {
        let mut agent = AgentModel::new("worker".into(), "researcher".into(), vec![]);
        agent.id = agent_name(number);
        storage.store_agent(&agent).await.unwrap();
    }
    for number in 0..count {
        let payload = json!({"dataset": "sales_data.csv", "shard": number});
        let priority = [TaskPriority::Low, TaskPriority::Medium, TaskPriority::High, TaskPriority::Critical][number % 4];
        storage.store_task(&TaskModel::new("analyze-data".into(), payload, priority)).await.unwrap();
    }
    let connection = Connection::open(path).unwrap();
    let completed = "UPDATE tasks SET status = CASE WHEN rowid <= ?1 THEN 'completed' ELSE 'pending' END";
    connection.execute(completed, [count - pending]).unwrap();
    connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).unwrap();
}

/// Runs a verb by so many callers, each of which waits for one operation before the next.
async fn run(path: &str, verb: &str, in_flight: usize, seconds: f64) {
    let ids = ids_of(path);
    let storage = Arc::new(SqliteStorage::new(path).await.unwrap());
    let turn = Arc::new(AtomicUsize::new(0));
    let verb: Arc<str> = verb.into();
    let started = Instant::now();
    let deadline = started + Duration::from_secs_f64(seconds);
    let callers: Vec<_> = (0..in_flight)
        .map(|_| {
            let (storage, turn, verb, ids) = (storage.clone(), turn.clone(), verb.clone(), ids.clone());
            tokio::spawn(async move {
                let mut done = 0;
                while Instant::now() < deadline {
                    let place = turn.fetch_add(1, Ordering::Relaxed);
                    if &*verb == "claim" && place >= ids.len() {
                        break;
                    }
                    operate(&storage, &verb, &ids, place).await;
                    done += 1;
                }
                done
            })
        })
        .collect();
    let mut done = 0;
    for caller in callers {
        done += caller.await.unwrap();
    }
    println!("{done} {}", started.elapsed().as_secs_f64());
}

async fn operate(storage: &SqliteStorage, verb: &str, ids: &[String], place: usize) {
    match verb {
        "insert" => {
            let data = json!({"task_id": "task-1", "duration_ms": 5000 + place % 1000, "result": "success"});
            let event = EventModel::new("task_completed".into(), data).with_agent(agent_name(place));
            storage.store_event(&event).await.unwrap();
        }
        "get" => {
            // A multiplicative hash: the ids in no order.
            let id = &ids[place.wrapping_mul(2654435761) % ids.len()];
            assert!(storage.get_task(id).await.unwrap().is_some());
        }
        "pending" => assert_eq!(storage.get_pending_tasks().await.unwrap().len(), 100),
        "claim" => assert!(storage.claim_task(&ids[place], &agent_name(place)).await.unwrap()),
        _ => panic!("unknown verb {verb}"),
    }
}

fn ids_of(path: &str) -> Arc<[String]> {
    let connection = Connection::open(path).unwrap();
    let mut statement = connection.prepare("SELECT id FROM tasks ORDER BY rowid").unwrap();
    let ids: Vec<String> = statement.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
    ids.into()
}

/// Lets every connection of the process ignore `PRAGMA synchronous`, so that all of them keep SQLite's default, FULL. The
/// crate sets NORMAL, on the first connection of its pool only.
fn keep_durable() {
    unsafe extern "C" fn authorize(
        _: *mut c_void,
        action: c_int,
        name: *const c_char,
        _: *const c_char,
        _: *const c_char,
        _: *const c_char,
    ) -> c_int {
        if action == ffi::SQLITE_PRAGMA && CStr::from_ptr(name).to_bytes() == b"synchronous" {
            return ffi::SQLITE_IGNORE;
        }
        ffi::SQLITE_OK
    }
    unsafe extern "C" fn entry_point(
        connection: *mut ffi::sqlite3,
        _: *mut *mut c_char,
        _: *const ffi::sqlite3_api_routines,
    ) -> c_int {
        ffi::sqlite3_set_authorizer(connection, Some(authorize), std::ptr::null_mut())
    }
    unsafe {
        let entry_point: unsafe extern "C" fn(
            *mut ffi::sqlite3,
            *mut *mut c_char,
            *const ffi::sqlite3_api_routines,
        ) -> c_int = entry_point;
        ffi::sqlite3_auto_extension(Some(std::mem::transmute(entry_point)));
    }
}
