//! The process group of a child.

use std::io;
use std::process::ExitStatus;
use std::time::Duration;

use rustix::fd::OwnedFd;
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, kill_process_group, pidfd_open};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::process::Child;

use crate::children;

/// A child's process group, which is killed when this value goes away.
///
/// The child is collected through it, so that no signal goes to a number that the system has given to another
/// process since.
pub struct Group {
    /// The child, which leads the group; absent once it was collected.
    leader: Option<Pid>,
    /// Readable when the child has ended.
    ended: AsyncFd<OwnedFd>,
}

impl Group {
    /// The group of a child that was started as the leader of one.
    ///
    /// # Errors
    /// Those of the system.
    pub fn of(child: &Child) -> io::Result<Self> {
        let id = child.id().and_then(|id| i32::try_from(id).ok());
        let leader = id.and_then(Pid::from_raw).ok_or(io::ErrorKind::NotFound)?;
        let ended = pidfd_open(leader, PidfdFlags::empty())?;
        #[expect(
            deprecated,
            reason = "the replacement is unsafe for types that change their descriptor, which an OwnedFd does not"
        )]
        let ended = AsyncFd::with_interest(ended, Interest::READABLE)?;
        Ok(Self {
            leader: Some(leader),
            ended,
        })
    }

    /// Ends every process of the group.
    fn kill(&self) {
        self.signal(Signal::KILL);
    }

    /// Asks the child to end, ends it when it does not within `grace`, and collects it.
    pub async fn end(&mut self, child: &mut Child, grace: Duration) {
        if !grace.is_zero() {
            self.signal(Signal::TERM);
            if tokio::time::timeout(grace, self.wait(child)).await.is_ok() {
                return;
            }
        }
        self.kill();
        // It cannot be helped when this fails, and it is dead.
        let _ = self.wait(child).await;
    }

    /// Waits for the child's end, ends what is left of the group, and collects the child.
    ///
    /// # Errors
    /// Those of the system.
    pub async fn wait(&mut self, child: &mut Child) -> io::Result<ExitStatus> {
        drop(self.ended.readable().await?);
        self.kill();
        let status = child.wait().await;
        // Not before: a caller that stops waiting leaves the child to this value.
        if let Some(leader) = self.leader.take() {
            children::forget(leader);
        }
        status
    }

    /// The leader is named as well: it may have gone over to another group. Processes that are gone already are the
    /// wanted state, so the errors say nothing.
    fn signal(&self, signal: Signal) {
        if let Some(leader) = self.leader {
            let _ = kill_process_group(leader, signal);
            let _ = kill_process(leader, signal);
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.kill();
        if let Some(leader) = self.leader {
            children::forget(leader);
        }
    }
}
