//! One request, one answer. A new kind of request gets its arm here.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::thread;

use anyhow::Result;

use crate::agent;
use crate::bind;
use crate::capture;
use crate::connect;
use crate::detached;
use crate::hits;
use crate::kernel::ConvergeReport;
use crate::lab::{Lab, lock};
use crate::late;
use crate::message::{Request, Response};
use crate::proto::Conn;
use crate::ssh;
use crate::wake;

/// An answer and the descriptors that go with it.
pub(crate) struct Reply {
    pub(crate) response: Response,
    pub(crate) fds: Vec<OwnedFd>,
}

impl From<Response> for Reply {
    fn from(response: Response) -> Self {
        Self { response, fds: Vec::new() }
    }
}

/// Carries a request out. An error becomes [`Response::Failed`]; the connection goes on.
///
/// [`Request::Exec`], [`Request::Adopt`] and [`Request::Shutdown`] concern the connection itself and are dealt with before.
pub(crate) fn dispatch(lab: &Arc<Lab>, request: Request, _fds: Vec<OwnedFd>) -> Result<Reply> {
    Ok(match request {
        Request::Ping => Response::Pong { version: env!("CARGO_PKG_VERSION").into() }.into(),
        Request::NewConnection => {
            let (ours, theirs) = Conn::pair()?;
            agent::serve_on_thread(lab, ours)?;
            Reply { response: Response::Done, fds: vec![theirs.into_fd()] }
        }
        Request::SetVms { vms } => {
            lab.set_vms(vms)?;
            done(ssh::listen(lab)?)
        }
        Request::ChangeVms { gone, vms } => {
            lab.change_vms(&gone, vms);
            done(ssh::listen(lab)?)
        }
        Request::Expect { routers, endpoints } => done(lab.dataplane.expect(&routers, endpoints)?),
        Request::MakeNetns { name } => done(lab.dataplane.make_netns(&name)?),
        Request::Converge { desired } => {
            let report = lab.dataplane.converge(desired)?;
            attend(lab)?;
            look_ahead(lab, &report.0);
            converged(report)
        }
        Request::ConvergeChanges { since, changes } => {
            let report = lab.dataplane.converge_changes(since, changes)?;
            attend(lab)?;
            report.iter().for_each(|(report, _)| look_ahead(lab, report));
            report.map_or(Response::DesiredOtherwise.into(), converged)
        }
        Request::Connect { netns, to, limit } => connect::connect(lab, &netns, to, limit)?,
        Request::Bind { netns, tcp, udp } => bind::bind(lab, &netns, &tcp, &udp)?,
        Request::Capture { netns, link } => capture::capture(lab, &netns, &link)?,
        Request::Probe { probes, counted, late } => {
            let (seen, woken) = lab.dataplane.probe(&probes, counted, late)?;
            if woken {
                lab.waker.stir();
            }
            Response::Seen(seen).into()
        }
        Request::Hits { since } => Response::Hits(hits::since(lab, since)).into(),
        Request::Connections { netns } => Response::Connections(lab.dataplane.connections(&netns)?).into(),
        Request::Asleep => Response::Asleep(lab.dataplane.asleep()).into(),
        Request::Counters => Response::Counters(lab.dataplane.counters()?).into(),
        Request::StartDetached { vm, log, program, stdin } => {
            done(detached::start(lab, &*lab.vm(&vm)?, log, program, stdin)?)
        }
        Request::ReadLog { vm, log } => Response::Log(detached::find(&*lab.vm(&vm)?, &log)?.text()).into(),
        Request::Processes { vm } => Response::Processes(detached::list(&*lab.vm(&vm)?)).into(),
        Request::StopDetached { vm, log } => {
            detached::find(&*lab.vm(&vm)?, &log)?.stop();
            Response::Done.into()
        }
        Request::SetNote { note } => {
            *lock(&lab.note) = Some(note);
            Response::Done.into()
        }
        Request::Note => Response::Note(lock(&lab.note).clone()).into(),
        Request::Exec { .. } | Request::Adopt { .. } | Request::Shutdown => {
            unreachable!("dealt with by the connection")
        }
    })
}

/// Listens where there is something to be heard after a convergence.
fn attend(lab: &Arc<Lab>) -> Result<()> {
    wake::listen(lab)?;
    late::listen(lab)?;
    hits::listen(lab)?;
    ssh::listen(lab)
}

/// Looks at what a convergence has made. Without a thread the next one does.
fn look_ahead(lab: &Arc<Lab>, report: &ConvergeReport) {
    let lab = Arc::clone(lab);
    if !report.edits.is_empty() {
        let _ = thread::Builder::new().name("look".into()).spawn(move || lab.dataplane.look_ahead());
    }
}

fn converged((report, number): (ConvergeReport, u64)) -> Reply {
    Response::Converged { report, number }.into()
}

fn done((): ()) -> Reply {
    Response::Done.into()
}
