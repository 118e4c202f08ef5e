//! The lab behind an API: one thread changes it, everybody reads snapshots.
//!
//! ```text
//!   request ─▶ answer(snapshot) ─┬─ Reply ───────────────────────────────────────────▶ client
//!                                ├─ Effect ─▶ agent ──────────────────────────────────▶ client
//!                                └─ Commit ─▶ queue ─▶ the writer:
//!                                      answer again, on the present State
//!                                      begin: the World as it will be, or a refusal ──▶ client
//!                                      Lab::become_world: returns when the packets obey
//!                                      Store::commit: returns when it is on the disk (but for a lab of a file)
//!                                      publish the snapshot ──────────────────────────▶ client
//! ```
//!
//! When the packets do not obey, the old World is made real again, and the operation is done, with an error.

mod begin;
mod busy;
mod writer;

use crate::control::{FaultEdit, Served};
use crate::flow_log::Logged;
use crate::http::{Answer, Answering, Service};
use crate::run::state;
use crate::seed::SeedError;
use crate::ssh::Login;
use crate::store::StoreError;
use crate::{LabError, STARTUP_SCRIPT, now};
use begin::Begun;
pub use begin::{Begin, Starting};
use busy::Busy;
use serde_json::{Value, json};
use std::os::fd::OwnedFd;
use std::panic::AssertUnwindSafe;
use std::path::PathBuf;
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::sync::{oneshot, watch};
use tombolo_agent::Agent;
use tombolo_api::{Effect, Failure, Outcome, Request, State, answer, methods, serial_port_output};
use tombolo_dataplane::Faults;
use tombolo_fabric::Owner;
use tombolo_model::{InstanceKey, Seed, World};
use tombolo_topology::Diagnostic;
use writer::{Job, Writer};

/// How long a `wait` of an operation lasts at most. Source: `globalOperations.wait`.
const LONGEST_WAIT: Duration = Duration::from_secs(120);

/// Changes that may wait for the writer. A client that goes away leaves its change behind, so connections are no bound.
const QUEUE: usize = 256;

/// How to serve a lab.
#[derive(Clone, Debug)]
pub struct CloudOptions {
    /// Answer with the operation as it begins, not as it ends.
    pub asynchronous: bool,
    /// The agent's socket, for questions that do not go through the writer.
    pub agent: PathBuf,
    /// Whether the lab's internet goes on into the host's network.
    pub reaches_host: bool,
    /// Whether pings do too.
    pub pings_host: bool,
}

impl CloudOptions {
    /// A World with its secrets, in a lab that was started in this way.
    fn started(&self, world: &World, seed: &Seed) -> World {
        let world = world.clone().seeded(seed.clone()).reaching_host(self.reaches_host);
        if self.pings_host { world } else { world.without_pings() }
    }
}

fn random_seed() -> std::io::Result<Seed> {
    let mut random = [0; 32];
    getrandom::fill(&mut random).map_err(|error| std::io::Error::other(error.to_string()))?;
    Ok(Seed::new(&random))
}

/// Why a cloud did not start.
#[derive(Debug, thiserror::Error)]
pub enum CloudError {
    /// Its State could not be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// What a file describes, Google Cloud would refuse.
    #[error("{0}")]
    File(Box<Diagnostic>),
    /// A request for what a file describes is refused.
    #[error(transparent)]
    Seed(#[from] SeedError),
    /// Its World could not be made real.
    #[error(transparent)]
    Lab(#[from] LabError),
    /// The system has no thread or descriptor left.
    #[error(transparent)]
    Io(#[from] std::io::Error),
}

/// A lab with a State that outlives it.
#[derive(Debug)]
pub struct Cloud {
    jobs: mpsc::SyncSender<Job>,
    snapshots: watch::Receiver<Arc<State>>,
    agent_gone: OwnedFd,
    agent: PathBuf,
    busy: Busy,
    resumed: Option<usize>,
}

impl Cloud {
    /// Makes real what the lab begins with, if it is kept in the lab that a server that was killed has left if there is one,
    /// and returns when the packets obey and the State is on the disk if it is kept; and the writer's thread, which ends the
    /// lab after [`Cloud::end`].
    pub fn start(begin: Begin, options: CloudOptions) -> Result<(Arc<Cloud>, JoinHandle<()>), CloudError> {
        let Begun { lab, state, report, store } = Begun::new(begin, &options)?;
        let was_running = lab.is_resumed();
        // A connection on which nobody asks: on the writer's, an answer would look like the agent's end.
        let agent_gone = lab.agent().new_connection().map_err(LabError::from)?.into_fd();
        let (publish, snapshots) = watch::channel(Arc::new(state));
        let (jobs, queue) = mpsc::sync_channel(QUEUE);
        let writer = Writer::new(lab, store, publish, options.asynchronous);
        let write = move || {
            let written = std::panic::catch_unwind(AssertUnwindSafe(|| writer.run(&queue)));
            if written.is_err() {
                // A lab that nobody changes any more must not look as if it were alive.
                std::process::exit(2);
            }
        };
        let thread = std::thread::Builder::new().name("writer".into()).spawn(write)?;
        Ok((
            Arc::new(Cloud {
                jobs,
                snapshots,
                agent_gone,
                agent: options.agent,
                busy: Busy::default(),
                resumed: was_running.then_some(report.edits.len()),
            }),
            thread,
        ))
    }

    /// If the lab was running already: how many edits it took to make its packets those of the State.
    pub fn resumed(&self) -> Option<usize> {
        self.resumed
    }

    /// The State as it is.
    pub fn state(&self) -> Arc<State> {
        self.snapshots.borrow().clone()
    }

    /// Has the writer end after the job it is at. Requests that wait are not answered.
    pub fn end(&self) {
        // A writer that is gone has ended.
        let _ = self.jobs.send(Job::End);
    }

    async fn answer_request(self: Arc<Self>, request: Request) -> Answer {
        let answered = answer(&self.state(), &request, now())?;
        match answered {
            Outcome::Reply(reply) if is_wait(&request) => Ok(self.wait(&request, reply).await),
            Outcome::Reply(reply) => Ok(reply),
            Outcome::Effect(Effect::SerialOutput { instance, start }) => {
                let agent = self.agent.clone();
                let read = move || serial_output(&agent, &instance, start);
                let read = tokio::task::spawn_blocking(read).await;
                read.unwrap_or_else(|error| Err(Failure::backend_error(error)))
            }
            Outcome::Commit(commit) => {
                let claim = self.busy.claim(commit.peers(&self.state().world))?;
                let (reply, answered) = oneshot::channel();
                offer(&self.jobs, Job::Request { request, reply, claim })?;
                answered.await.unwrap_or_else(|_| Err(ending()))
            }
        }
    }

    /// The operation once it is done, or as it is when that takes too long.
    async fn wait(&self, request: &Request, mut reply: Value) -> Value {
        let mut snapshots = self.snapshots.clone();
        let done = async {
            while reply.get("status").is_some_and(|status| status != "DONE")
                && snapshots.changed().await.is_ok()
            {
                let state = snapshots.borrow_and_update().clone();
                if let Ok(Outcome::Reply(present)) = answer(&state, request, now()) {
                    reply = present;
                }
            }
        };
        // Out of time: the client asks again, as of Google.
        let _ = tokio::time::timeout(LONGEST_WAIT, done).await;
        reply
    }
}

impl Service for Cloud {
    fn answer(self: Arc<Self>, request: Request) -> Answering {
        Box::pin(self.answer_request(request))
    }
}

impl Served for Cloud {
    fn world(&self) -> World {
        // Nobody outside needs the secrets.
        self.state().world.clone().seeded(Seed::default())
    }

    fn watch(&self) -> std::io::Result<OwnedFd> {
        self.agent_gone.try_clone()
    }

    /// The writer looks after the servers itself.
    fn tick(&self) -> Result<(), LabError> {
        Ok(())
    }

    fn login(&self, login: Login) -> Result<String, LabError> {
        self.ask_writer(|reply| Job::Login { login, reply })
    }

    fn faults(&self, edit: FaultEdit) -> Result<Faults, LabError> {
        self.ask_writer(|reply| Job::Faults { edit, reply })
    }

    fn flows(&self, since: u64) -> Result<Logged, LabError> {
        self.ask_writer(|reply| Job::Flows { since, reply })
    }
}

impl Cloud {
    /// Has the writer do something, and waits for what comes of it.
    fn ask_writer<T>(
        &self,
        job: impl FnOnce(oneshot::Sender<Result<T, LabError>>) -> Job,
    ) -> Result<T, LabError> {
        let (reply, answered) = oneshot::channel();
        let ending = || LabError::Server("the server is ending".into());
        self.jobs.send(job(reply)).map_err(|_| ending())?;
        answered.blocking_recv().map_err(|_| ending())?
    }
}

/// Hands a job to the writer, unless as many wait as may.
fn offer(jobs: &mpsc::SyncSender<Job>, job: Job) -> Result<(), Failure> {
    jobs.try_send(job).map_err(|error| match error {
        mpsc::TrySendError::Disconnected(_) => ending(),
        mpsc::TrySendError::Full(_) => {
            let why = format!("Rate Limit Exceeded: {QUEUE} changes wait already. Try again later.");
            let mut failure = Failure::new(429, "rateLimitExceeded", why);
            failure.details = vec![json!({
                "@type": "type.googleapis.com/google.rpc.ErrorInfo",
                "reason": "RATE_LIMIT_EXCEEDED",
                "domain": "googleapis.com",
            })];
            failure
        }
    })
}

fn ending() -> Failure {
    Failure::new(503, "backendError", "The server is ending.")
}

fn is_wait(request: &Request) -> bool {
    methods::find(request).is_ok_and(|(method, _)| method.id.ends_with("Operations.wait"))
}

/// What a startup script printed, as `instances.getSerialPortOutput` tells it.
fn serial_output(agent: &std::path::Path, instance: &InstanceKey, start: u64) -> Answer {
    let endpoint = Owner::Instance(instance.clone()).to_string();
    let read = || {
        let agent = Agent::connect(agent)?;
        match state(&agent, &endpoint, STARTUP_SCRIPT)? {
            Some(_) => agent.read_log(&endpoint, STARTUP_SCRIPT).map(|log| (log.text, log.dropped)),
            None => Ok((String::new(), 0)),
        }
    };
    let (text, dropped) = read().map_err(Failure::backend_error)?;
    let end = dropped + text.len() as u64;
    // What is gone, and what is not there yet, is left out.
    let start = start.clamp(dropped, end);
    let contents = text.as_bytes().get((start - dropped) as usize..).unwrap_or_default();
    Ok(serial_port_output(instance, &String::from_utf8_lossy(contents), start..end))
}

#[cfg(test)]
mod tests {
    use super::*;
    use tombolo_api::{Api, Verb};

    #[test]
    fn more_changes_than_may_wait_are_refused() {
        let (jobs, queue) = mpsc::sync_channel(1);
        let job = || {
            let request = Request::new("localhost", Verb::Post, "/", Value::Null);
            let claim = Busy::default().claim(Default::default()).expect("nothing to claim");
            Job::Request { request, reply: oneshot::channel().0, claim }
        };
        offer(&jobs, job()).expect("there is a place");
        let refused = offer(&jobs, job()).expect_err("there is none");
        let body = refused.body(Some(Api::Compute));
        assert_eq!(body["error"]["code"], 429);
        assert_eq!(body["error"]["status"], "RESOURCE_EXHAUSTED");
        assert_eq!(body["error"]["errors"][0]["reason"], "rateLimitExceeded");
        queue.recv().expect("the first");
        offer(&jobs, job()).expect("a place again");
        drop(queue);
        assert_eq!(offer(&jobs, job()).expect_err("nobody is there").code, 503);
    }
}
