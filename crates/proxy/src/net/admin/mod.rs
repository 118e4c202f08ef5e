//! What a proxy tells about itself over HTTP: metrics, health, statistics, slow requests and hot keys. A thread of
//! its own accepts; workers are asked, and never wait for who reads the answer.
//!
//! | path | answer |
//! |---|---|
//! | `/metrics` | OpenMetrics text |
//! | `/healthz` | 200 while every worker turns |
//! | `/readyz` | 200 while new clients are welcome |
//! | `/stats` | twemproxy's JSON |
//! | `/slowlog` | the slow requests of pools that have a slow log |
//! | `/hotkeys?seconds=N` | after N seconds, the keys that were asked for most meanwhile |

mod http;
mod metrics;
mod slow;

use std::collections::VecDeque;
use std::io;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError, TryLockError};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::{Answer, Target};
use metrics::Process;
use serde_json::json;

use super::NetError;
use super::mailbox::Workers;
use super::stats::Stats;
use crate::core::{SAMPLE, Sketch};

/// Connections at a time whose requests are still to come, answers about health at a time, and others.
const MOST: usize = 32;
/// Those that look at keys at a time: one does, and another may wait for what it finds.
const MOST_LOOKING: usize = 2;
/// Keys that are told of each pool.
const SHOWN_KEYS: usize = 20;
/// The longest that keys are looked at, in seconds.
const MAX_SECONDS: u64 = 60;

/// What requests are answered from.
#[derive(Debug)]
struct Admin {
    workers: Workers,
    /// Nobody is accepted any more.
    draining: Arc<AtomicBool>,
    stats: Stats,
    started: u64,
    /// Those whose requests are still to come. The oldest makes room for a new one: who asks has the
    /// request ready, and must not be kept out by who does not ask.
    silent: Mutex<VecDeque<Arc<TcpStream>>>,
    /// Answers at a time: about health, those that look at keys, others. Each have their own places.
    busy: [AtomicUsize; 3],
    /// Held by who looks at keys: one at a time. The last answer.
    keys: Mutex<String>,
    /// How long they look, or the last one did, in seconds.
    looking: AtomicU64,
}

/// Listens on `address`, and starts the thread that answers.
pub(super) fn start(
    address: SocketAddr,
    workers: Workers,
    draining: Arc<AtomicBool>,
) -> Result<SocketAddr, NetError> {
    let failed = |reason| NetError::Metrics { address, reason };
    let listener = TcpListener::bind(address).map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    let started = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_secs());
    let admin = Arc::new(Admin {
        workers,
        draining,
        stats: Stats::new(),
        started,
        silent: Mutex::default(),
        busy: Default::default(),
        keys: Mutex::default(),
        looking: AtomicU64::new(0),
    });
    thread::Builder::new()
        .name("metrics".to_string())
        .spawn(move || accept(&listener, &admin))
        .map_err(failed)?;
    Ok(address)
}

fn accept(listener: &TcpListener, admin: &Arc<Admin>) {
    for stream in listener.incoming() {
        let Ok(stream) = stream else {
            // No descriptors are left; trying again at once would only keep a core busy.
            thread::sleep(Duration::from_millis(100));
            continue;
        };
        let (stream, admin) = (Arc::new(stream), Arc::clone(admin));
        admin.heard_nothing(&stream);
        // Without a thread for it, the connection waits to make room for others.
        let _ = thread::Builder::new().name("metrics-answer".to_string()).spawn(move || {
            let request = http::read(&stream);
            admin.silent().retain(|other| !Arc::ptr_eq(other, &stream));
            let Ok(request) = request else { return };
            // Whoever has gone needs no answer.
            let _ = match &request {
                Ok(target) => admin.answer_in_place(target, &stream),
                Err(refusal) => http::write(&stream, refusal),
            };
        });
    }
}

/// One of the answers that are given at a time.
struct Place<'a>(&'a AtomicUsize);

impl Place<'_> {
    fn take(busy: &AtomicUsize, most: usize) -> Option<Place<'_>> {
        let place = (busy.fetch_add(1, Ordering::Relaxed), Place(busy));
        (place.0 < most).then_some(place.1)
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Admin {
    fn silent(&self) -> MutexGuard<'_, VecDeque<Arc<TcpStream>>> {
        self.silent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A connection is new.
    fn heard_nothing(&self, stream: &Arc<TcpStream>) {
        let mut silent = self.silent();
        silent.push_back(Arc::clone(stream));
        if silent.len() > MOST
            && let Some(oldest) = silent.pop_front()
        {
            let _ = oldest.shutdown(Shutdown::Both);
        }
    }

    /// Answers, if there is a place for it.
    fn answer_in_place(&self, target: &Target, stream: &TcpStream) -> io::Result<()> {
        let [health, looking, others] = &self.busy;
        let (busy, most) = match target.path.as_str() {
            "/healthz" | "/readyz" => (health, MOST),
            "/hotkeys" => (looking, MOST_LOOKING),
            _ => (others, MOST),
        };
        let place = Place::take(busy, most);
        let answer = match place {
            Some(_) => self.answer(target, stream),
            None => Answer::text(503, "too many requests at a time"),
        };
        http::write(stream, &answer)
    }

    fn answer(&self, target: &Target, stream: &TcpStream) -> Answer {
        match target.path.as_str() {
            "/metrics" => self.metrics(),
            "/healthz" => match self.workers.snapshot() {
                Ok(_) => Answer::text(200, "ok"),
                Err(_) => Answer::text(503, "a worker does not answer"),
            },
            "/readyz" if self.draining.load(Ordering::Relaxed) => Answer::text(503, "draining"),
            "/readyz" => Answer::text(200, "ok"),
            "/stats" => match self.workers.snapshot() {
                Ok(snapshot) => Answer::json(self.stats.render(&snapshot)),
                Err(_) => Answer::text(503, "a worker does not answer"),
            },
            "/slowlog" => match self.workers.snapshot() {
                Ok(snapshot) => Answer::json(slow::render(&snapshot)),
                Err(_) => Answer::text(503, "a worker does not answer"),
            },
            "/hotkeys" => self.hot_keys(target, stream),
            _ => Answer::text(404, "there are /metrics /healthz /readyz /stats /slowlog /hotkeys?seconds=N"),
        }
    }

    fn metrics(&self) -> Answer {
        let process = Process {
            started: self.started,
            workers: self.workers.count(),
            draining: self.draining.load(Ordering::Relaxed),
        };
        let snapshot = self.workers.snapshot().map_err(|_| std::fmt::Error);
        match snapshot.and_then(|snapshot| metrics::render(process, snapshot)) {
            Ok(body) => Answer { status: 200, kind: metrics::KIND, body },
            Err(_) => Answer::text(503, "a worker does not answer"),
        }
    }

    fn hot_keys(&self, target: &Target, stream: &TcpStream) -> Answer {
        let seconds = target.parameter("seconds").unwrap_or("5");
        let Some(seconds) = seconds.parse().ok().filter(|seconds| (1..=MAX_SECONDS).contains(seconds)) else {
            let shown: String = seconds.chars().take(20).collect();
            let expected =
                format!("seconds: bad value: '{shown}'; expected a number from 1 to {MAX_SECONDS}");
            return Answer::text(400, &expected);
        };
        let mut latest = match self.keys.try_lock() {
            Err(TryLockError::WouldBlock) if self.looking.load(Ordering::Relaxed) <= seconds => {
                // What the other one finds is as good, and comes no later.
                let latest = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
                if !latest.is_empty() {
                    return Answer::json(latest.clone());
                }
                // Its client has gone: what it wanted to know nobody has found out.
                latest
            }
            Err(TryLockError::WouldBlock) => {
                return Answer::text(409, "somebody else looks at keys now, for longer");
            }
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Ok(latest) => latest,
        };
        self.looking.store(seconds, Ordering::Relaxed);
        let time = Duration::from_secs(seconds);
        self.workers.sample_keys(time + Duration::from_secs(1));
        latest.clear();
        if http::goes_within(stream, time) {
            return Answer::text(503, "nobody is there to be answered");
        }
        *latest =
            self.workers.sampled_keys().map_or_else(|_| String::new(), |pools| keys_json(seconds, &pools));
        match latest.is_empty() {
            true => Answer::text(503, "a worker does not answer"),
            false => Answer::json(latest.clone()),
        }
    }
}

fn keys_json(seconds: u64, pools: &[(String, Sketch)]) -> String {
    let pools: Vec<serde_json::Value> = pools
        .iter()
        .map(|(name, sketch)| {
            let keys = sketch.top(SHOWN_KEYS).into_iter().map(|(key, seen)| {
                let key = String::from_utf8_lossy(key);
                json!({"key": key, "count": seen.count, "excess": seen.excess})
            });
            json!({"pool": name, "seen": sketch.total(), "keys": keys.collect::<Vec<_>>()})
        })
        .collect();
    json!({"seconds": seconds, "one_in": SAMPLE, "pools": pools}).to_string() + "\n"
}
