//! What a lab begins with, and how it becomes real.

use super::{CloudError, CloudOptions, random_seed, writer};
use crate::lab::{Lab, LabError, Options as LabOptions};
use crate::seed;
use crate::store::Store;
use std::panic::resume_unwind;
use std::sync::{Arc, mpsc};
use std::thread::{self, JoinHandle};
use tombolo_agent::ConvergeReport;
use tombolo_api::State;
use tombolo_model::{Timestamp, World};
use tombolo_topology::Topology;

/// What a lab begins with.
#[derive(Debug)]
pub enum Begin {
    /// What was kept there, in such a lab. What becomes of it is kept there too.
    Kept(Store, LabOptions),
    /// What a file describes. Nothing is kept: the lab will begin with the file again.
    File {
        /// What the file says.
        topology: Box<Topology>,
        /// When all of it is made.
        now: Timestamp,
        /// The lab, still empty.
        lab: Starting,
    },
}

/// An empty lab that a thread starts while somebody reads what is to be in it.
#[derive(Debug)]
pub struct Starting(Option<JoinHandle<Result<Lab, LabError>>>);

impl Starting {
    /// Starts one.
    pub fn new(options: LabOptions) -> std::io::Result<Self> {
        let start = move || Lab::start(options);
        thread::Builder::new().name("start".into()).spawn(start).map(|thread| Self(Some(thread)))
    }

    /// The lab, once it is started.
    fn started(mut self) -> Result<Lab, LabError> {
        let thread = self.0.take().ok_or_else(|| LabError::Server("the lab is started already".into()))?;
        thread.join().unwrap_or_else(|panic| resume_unwind(panic))
    }
}

impl Drop for Starting {
    /// One that nobody wants any more has ended when this returns.
    fn drop(&mut self) {
        if let Some(thread) = self.0.take() {
            let _ = thread.join();
        }
    }
}

/// A lab that is as its State says.
pub(super) struct Begun {
    pub(super) lab: Lab,
    pub(super) state: State,
    /// What it took.
    pub(super) report: ConvergeReport,
    /// Where it is kept, if it is.
    pub(super) store: Option<Store>,
}

impl Begun {
    /// Makes it so. Nobody was told yet that there is anything.
    pub(super) fn new(begin: Begin, options: &CloudOptions) -> Result<Self, CloudError> {
        match begin {
            Begin::Kept(store, lab) => kept(store, lab, options),
            Begin::File { topology, now, lab } => of_file(topology.into(), now, lab, options),
        }
    }
}

fn kept(store: Store, lab: LabOptions, options: &CloudOptions) -> Result<Begun, CloudError> {
    let stored = store.load()?;
    let State { world, operations } = writer::ended(&stored, super::now());
    let seed = if world.seed.is_empty() { random_seed()? } else { world.seed.clone() };
    let world = options.started(&world, &seed);
    let state = State { world: world.clone(), operations };
    let (kept, made) = thread::scope(|scope| {
        let kept = scope.spawn(|| store.commit(&stored, &state));
        let made = Lab::resume(&world, lab).and_then(|lab| become_world(lab, &world));
        (kept.join().unwrap_or_else(|panic| resume_unwind(panic)), made)
    });
    kept?;
    let (lab, report) = made?;
    Ok(Begun { lab, state, report, store: Some(store) })
}

/// Of many resources each takes its time: to make them real, and to answer the requests for them. Their World is known by the
/// file's changes, long before the requests are answered; as a rule it is the same, and is then there only once.
fn of_file(
    topology: Arc<Topology>,
    now: Timestamp,
    lab: Starting,
    options: &CloudOptions,
) -> Result<Begun, CloudError> {
    let seed = random_seed()?;
    let for_lab = &seed;
    let (tell, told) = mpsc::channel::<World>();
    let described = Arc::clone(&topology);
    let answer = move || -> Result<(Option<World>, State), CloudError> {
        let mut state = seed::state(&described, now)?;
        // Whoever does not tell has an error of its own.
        let same = told.recv().is_ok_and(|world| world == state.world);
        let asked = std::mem::take(&mut state.world);
        Ok(((!same).then_some(asked), state))
    };
    let make = move || -> Result<(World, Lab, ConvergeReport), CloudError> {
        let described = topology.world(now).map_err(|refused| CloudError::File(Box::new(refused)))?;
        let world = options.started(&described, for_lab);
        // A thread that is gone has an error of its own.
        let _ = tell.send(described);
        // It is large: who is ready first leaves it to the other.
        drop(topology);
        let (lab, report) = become_world(lab.started()?, &world)?;
        Ok((world, lab, report))
    };
    let (answered, made) = thread::scope(|scope| {
        let answered = scope.spawn(answer);
        let made = make();
        (answered.join().unwrap_or_else(|panic| resume_unwind(panic)), made)
    });
    let (mut world, mut lab, report) = made?;
    let (asked, mut state) = answered?;
    if let Some(asked) = asked {
        world = options.started(&asked, &seed);
        lab.become_world(world.clone())?;
    }
    state.world = world;
    Ok(Begun { lab, state, report, store: None })
}

fn become_world(mut lab: Lab, world: &World) -> Result<(Lab, ConvergeReport), LabError> {
    let report = lab.become_world(world.clone())?;
    Ok((lab, report))
}
