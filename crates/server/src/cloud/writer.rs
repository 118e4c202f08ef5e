//! The thread that owns the lab: one change after the other.

use super::busy::Claim;
use crate::control::FaultEdit;
use crate::flow_log::Logged;
use crate::http::Answer;
use crate::ssh::Login;
use crate::store::Store;
use crate::{Lab, LabError, now};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};
use tokio::sync::{oneshot, watch};
use tombolo_api::{Commit, Failure, Operation, Outcome, Request, State, answer};
use tombolo_dataplane::Faults;
use tombolo_model::{Timestamp, World};

/// How often servers inside the lab are looked after.
const TICK: Duration = Duration::from_secs(1);

/// Something for the writer to do.
#[derive(Debug)]
pub(super) enum Job {
    /// A request that changes something.
    Request {
        /// The request.
        request: Request,
        /// Who waits for the answer.
        reply: oneshot::Sender<Answer>,
        /// What nobody else may change until it is carried out.
        claim: Claim,
    },
    /// Let a key in to an instance.
    Login {
        /// Whose, and where.
        login: Login,
        /// Who waits for the instance's host key.
        reply: oneshot::Sender<Result<String, LabError>>,
    },
    /// Do something about faults.
    Faults {
        /// What.
        edit: FaultEdit,
        /// Who waits for those that there are then.
        reply: oneshot::Sender<Result<Faults, LabError>>,
    },
    /// Tell the flows that were logged, from this number on.
    Flows {
        /// The number.
        since: u64,
        /// Who waits for them.
        reply: oneshot::Sender<Result<Logged, LabError>>,
    },
    /// End the lab.
    End,
}

/// The owner of the lab and of what is stored of it.
#[derive(Debug)]
pub(super) struct Writer {
    lab: Lab,
    store: Option<Store>,
    publish: watch::Sender<Arc<State>>,
    asynchronous: bool,
}

/// The State in which no operation is under way: those that were, when a server was killed, have failed.
pub(super) fn ended(loaded: &State, now: Timestamp) -> State {
    let mut state = loaded.clone();
    let running = loaded.operations.newest_first().filter(|operation| operation.end_time.is_none());
    for operation in running {
        let why = Failure::backend_error("the server ended before the operation was done");
        state.operations.put(failed(operation.as_ref().clone(), why, now));
    }
    state
}

fn failed(mut operation: Operation, failure: Failure, now: Timestamp) -> Operation {
    operation.error = Some(failure);
    operation.end_time = Some(now);
    operation
}

impl From<LabError> for Failure {
    fn from(error: LabError) -> Failure {
        match error {
            LabError::Refused(refusal) => refusal.into(),
            error => Failure::backend_error(error),
        }
    }
}

impl Writer {
    pub(super) fn new(
        lab: Lab,
        store: Option<Store>,
        publish: watch::Sender<Arc<State>>,
        asynchronous: bool,
    ) -> Writer {
        Writer { lab, store, publish, asynchronous }
    }

    /// Does what there is to do until it is told to end; the lab ends with it.
    pub(super) fn run(mut self, queue: &Receiver<Job>) {
        let mut ticked = Instant::now();
        loop {
            match queue.recv_timeout(TICK) {
                Ok(Job::Request { request, reply, claim }) => self.carry_out(&request, reply, claim),
                Ok(Job::Login { login, reply }) => drop(reply.send(self.login(&login))),
                Ok(Job::Faults { edit, reply }) => drop(reply.send(self.faults(edit))),
                Ok(Job::Flows { since, reply }) => drop(reply.send(Ok(self.lab.flows(since)))),
                Ok(Job::End) | Err(RecvTimeoutError::Disconnected) => return,
                Err(RecvTimeoutError::Timeout) => {}
            }
            if ticked.elapsed() >= TICK {
                for done in [self.lab.converge_redis(), self.lab.log_flows()] {
                    if let Err(error) = done {
                        eprintln!("tombolo: {error}");
                    }
                }
                ticked = Instant::now();
            }
        }
    }

    fn state(&self) -> Arc<State> {
        self.publish.borrow().clone()
    }

    /// Answers a request; a client that went away meanwhile is no reason to undo what it asked for.
    fn carry_out(&mut self, request: &Request, reply: oneshot::Sender<Answer>, claim: Claim) {
        let state = self.state();
        // What was true when the request came need not be true now.
        let answer = match answer(&state, request, now()) {
            Ok(Outcome::Commit(commit)) => match commit.earlier(&state) {
                Some(earlier) => Ok(earlier.wire()),
                None => match commit.begin(&state, now()) {
                    Ok((world, operation)) => {
                        return self.begin(&commit, &state, world, operation, reply, claim);
                    }
                    Err(failure) => Err(failure),
                },
            },
            Ok(Outcome::Reply(answer)) => Ok(answer),
            Ok(Outcome::Effect(_)) => Err(Failure::backend_error("the request is another one than before")),
            Err(failure) => Err(failure),
        };
        drop(claim); // before the answer: who has it may claim the same again
        drop(reply.send(answer));
    }

    fn begin(
        &mut self,
        commit: &Commit,
        state: &State,
        world: World,
        operation: Operation,
        reply: oneshot::Sender<Answer>,
        claim: Claim,
    ) {
        if !(self.asynchronous && commit.is_recorded()) {
            return drop(reply.send(self.finish(commit, world, operation, claim)));
        }
        let mut running = state.clone();
        running.operations.put(operation.clone());
        match self.keep(running) {
            Ok(()) => {
                drop(reply.send(Ok(operation.wire())));
                if let Err(failure) = self.finish(commit, world, operation.clone(), claim) {
                    eprintln!("tombolo: {}", failure.message);
                    // Whoever was told that it runs would wait for ever. On the disk it runs until the next start,
                    // which has what ran fail.
                    let mut over = State::clone(&self.state());
                    over.operations.put(failed(operation, failure, now()));
                    self.publish.send_replace(Arc::new(over));
                }
            }
            Err(failure) => drop(reply.send(Err(failure))),
        }
    }

    /// Makes the World real and keeps it; the operation as it ended, or the failure where there is none.
    fn finish(&mut self, commit: &Commit, world: World, operation: Operation, claim: Claim) -> Answer {
        let state = self.state();
        let mut next = State::clone(&state);
        let changed = world != state.world;
        let made = if changed { self.lab.become_world(world.clone()).map(drop) } else { Ok(()) };
        let answer = match made {
            Ok(()) => {
                let operation = commit.done(operation, &world, now());
                let answer = Ok(commit.reply(&operation, &world));
                next.world = world;
                commit.record(&mut next.operations, operation);
                answer
            }
            Err(error) if commit.is_recorded() => {
                let operation = failed(operation, error.into(), now());
                next.operations.put(operation.clone());
                Ok(operation.wire())
            }
            Err(error) => Err(error.into()),
        };
        drop(claim); // before anybody can see that it is done
        if let Err(failure) = self.keep(next) {
            // What is not on the disk must not be in the packets: it would be gone after the next start.
            if let Err(error) = self.lab.become_world(state.world.clone()) {
                eprintln!("tombolo: {error}");
            }
            return Err(failure);
        }
        answer
    }

    /// As [`Lab::login`], and kept.
    fn login(&mut self, login: &Login) -> Result<String, LabError> {
        let state = self.state();
        let host_key = self.lab.login(login, now())?;
        if *self.lab.world() != state.world {
            let next = State { world: self.lab.world().clone(), ..State::clone(&state) };
            if let Err(failure) = self.keep(next) {
                self.lab.become_world(state.world.clone())?;
                return Err(LabError::Server(failure.message));
            }
        }
        Ok(host_key)
    }

    /// Faults are the lab's and end with it: nothing of them is kept.
    fn faults(&mut self, edit: FaultEdit) -> Result<Faults, LabError> {
        self.lab.edit_faults(edit)?;
        Ok(self.lab.faults().clone())
    }

    /// Stores the State, where it is kept, and shows it to everybody.
    fn keep(&self, next: State) -> Result<(), Failure> {
        if let Some(store) = &self.store {
            store.commit(&self.state(), &next).map_err(Failure::backend_error)?;
        }
        self.publish.send_replace(Arc::new(next));
        Ok(())
    }
}
