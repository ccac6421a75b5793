//! Child processes: each in a process group of its own, watched by deadlines, and never left behind.

use std::ffi::OsString;
use std::io;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, Command};
use tokio_util::sync::CancellationToken;

use crate::children;
use crate::group::Group;
use crate::limits::{CAPTURED_BYTES_MAX, PIPE_GRACE};

/// Set for every child that this process starts, so that the next one on the same store finds what was left behind.
pub const STORE_MARKER: &str = "WORKSPACE_RUNTIME_STORE";

/// Set for everything that belongs to a session, so that what leaves its process group is found.
pub const SESSION_MARKER: &str = "SESSION_ID";

/// What to run. Nothing is inherited: the environment is exactly what stands here.
pub struct Job {
    /// The program, absolute or found on the `PATH` of `environment`.
    pub program: PathBuf,
    /// Its arguments.
    pub arguments: Vec<OsString>,
    /// Its whole environment.
    pub environment: Vec<(OsString, OsString)>,
    /// Its working directory.
    pub directory: PathBuf,
    /// The user and group that it runs as; this process's own when absent.
    pub user: Option<u32>,
    /// What it reads from standard input; nothing when absent.
    pub input: Option<Vec<u8>>,
    /// Time that it has between the polite and the final signal when it is stopped; 0 omits the polite one.
    pub grace: Duration,
}

/// How long a child may run.
#[derive(Debug, Clone, Copy)]
pub struct Deadline {
    /// Longest time without output.
    pub inactivity: Duration,
    /// Longest time in all.
    pub hard: Duration,
}

/// How a child ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// By itself, with this code.
    Exited(i32),
    /// By a signal that somebody else sent.
    Signaled,
    /// Stopped at a deadline.
    TimedOut,
    /// Stopped because nobody needs it any more.
    Cancelled,
    /// It could not be started.
    NotStarted,
}

/// What is known of a child that has ended.
pub struct Outcome {
    /// How it ended.
    pub ending: Ending,
    /// How long it ran.
    pub elapsed: Duration,
    /// How long it had been silent when it ended.
    pub silent: Duration,
    /// The beginning of its standard output. May hold secrets that a server echoed.
    pub stdout: Vec<u8>,
    /// The end of its standard error. May hold secrets that a server echoed.
    pub stderr: Vec<u8>,
}

impl Outcome {
    /// Whether it ended by itself with code 0.
    pub fn is_success(&self) -> bool {
        self.ending == Ending::Exited(0)
    }

    /// What may be told about it: numbers only.
    pub fn detail(&self) -> String {
        let seconds = self.elapsed.as_secs_f64();
        match self.ending {
            Ending::Exited(code) => format!("exit code {code} after {seconds:.1} s"),
            Ending::Signaled => format!("killed by a signal after {seconds:.1} s"),
            Ending::TimedOut => format!("stopped at its deadline after {seconds:.1} s"),
            Ending::Cancelled => format!("cancelled after {seconds:.1} s"),
            Ending::NotStarted => "the program could not be started".to_owned(),
        }
    }
}

/// Starts a child with all three pipes attached.
///
/// # Errors
/// Those of the system: the program is missing or may not be run, or there are too many processes.
pub fn spawn(job: &Job) -> io::Result<(Child, Group)> {
    let mut command = Command::new(&job.program);
    command
        .args(&job.arguments)
        .env_clear()
        .envs(job.environment.iter().map(|(name, value)| (name, value)))
        .current_dir(&job.directory)
        .stdin(if job.input.is_some() {
            Stdio::piped()
        } else {
            Stdio::null()
        })
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true);
    if let Some(user) = job.user {
        command.uid(user).gid(user);
    }
    let child = children::start(&mut command)?;
    let group = Group::of(&child)?;
    Ok((child, group))
}

/// Writes a child's input in the background. A child that does not read it is not an error.
pub fn feed(child: &mut Child, job: &Job) {
    if let (Some(mut stdin), Some(input)) = (child.stdin.take(), job.input.clone()) {
        tokio::spawn(async move {
            let _ = stdin.write_all(&input).await;
        });
    }
}

/// Runs a child to its end, its deadline or its cancellation, and hands every piece of its standard error to
/// `on_stderr` as it comes. Whatever the child started is gone when this returns or is dropped.
pub async fn run(
    job: &Job,
    deadline: Deadline,
    cancel: &CancellationToken,
    mut on_stderr: impl FnMut(&[u8]),
) -> Outcome {
    let started = Instant::now();
    let mut watched = Watched::new(started);
    let ending = match spawn(job) {
        Err(error) => {
            tracing::error!(error = %error.kind(), "a child process could not be started");
            Ending::NotStarted
        }
        Ok((mut child, mut group)) => {
            feed(&mut child, job);
            let ending = tokio::select! {
                ending = watched.follow(&mut child, &mut group, deadline, &mut on_stderr) => ending,
                () = cancel.cancelled() => Ending::Cancelled,
            };
            if !matches!(ending, Ending::Exited(_) | Ending::Signaled) {
                group.end(&mut child, job.grace).await;
            }
            ending
        }
    };
    Outcome {
        ending,
        elapsed: started.elapsed(),
        silent: watched.last_output.elapsed(),
        stdout: watched.stdout,
        stderr: watched.stderr,
    }
}

/// The output of a child that is being watched.
struct Watched {
    last_output: Instant,
    stdout: Vec<u8>,
    stderr: Vec<u8>,
}

impl Watched {
    fn new(started: Instant) -> Self {
        Self {
            last_output: started,
            stdout: Vec::new(),
            stderr: Vec::new(),
        }
    }

    async fn follow(
        &mut self,
        child: &mut Child,
        group: &mut Group,
        deadline: Deadline,
        on_stderr: &mut impl FnMut(&[u8]),
    ) -> Ending {
        let started = tokio::time::Instant::now();
        let mut stdout = child.stdout.take();
        let mut stderr = child.stderr.take();
        let (mut out_buffer, mut err_buffer) = (vec![0; 8192], vec![0; 8192]);
        let mut status = None;
        let mut last_moment = started + deadline.hard;
        loop {
            if let Some(ending) = status
                && stdout.is_none()
                && stderr.is_none()
            {
                return ending;
            }
            tokio::select! {
                read = read_some(&mut stdout, &mut out_buffer) => {
                    self.heard(read);
                    let room = CAPTURED_BYTES_MAX.saturating_sub(self.stdout.len());
                    self.stdout.extend(out_buffer.iter().take(read.min(room)));
                }
                read = read_some(&mut stderr, &mut err_buffer) => {
                    self.heard(read);
                    let piece = err_buffer.get(..read).unwrap_or_default();
                    on_stderr(piece);
                    keep_end(&mut self.stderr, piece);
                }
                result = group.wait(child), if status.is_none() => {
                    status = Some(match result.ok().and_then(|status| status.code()) {
                        Some(code) => Ending::Exited(code),
                        None => Ending::Signaled,
                    });
                    // Whoever holds the pipes now has left the group and may print for ever.
                    last_moment = tokio::time::Instant::now() + PIPE_GRACE;
                }
                () = tokio::time::sleep(deadline.inactivity) => {
                    return status.unwrap_or(Ending::TimedOut);
                }
                () = tokio::time::sleep_until(last_moment) => {
                    return status.unwrap_or(Ending::TimedOut);
                }
            }
        }
    }

    fn heard(&mut self, bytes: usize) {
        if bytes > 0 {
            self.last_output = Instant::now();
        }
    }
}

/// Reads a piece, or waits for ever when the pipe has ended. 0 marks the end, after which the pipe is `None`.
async fn read_some<R: AsyncRead + Unpin>(pipe: &mut Option<R>, buffer: &mut [u8]) -> usize {
    let Some(open) = pipe else {
        return std::future::pending().await;
    };
    let read = open.read(buffer).await.unwrap_or(0);
    if read == 0 {
        *pipe = None;
    }
    read
}

fn keep_end(kept: &mut Vec<u8>, piece: &[u8]) {
    kept.extend_from_slice(piece);
    let surplus = kept.len().saturating_sub(CAPTURED_BYTES_MAX);
    kept.drain(..surplus);
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio_util::sync::CancellationToken;

    use super::{Deadline, Ending, Job, Outcome, run};

    async fn shell(script: &str, deadline: Deadline, cancel: &CancellationToken) -> Outcome {
        let job = Job {
            program: "/bin/sh".into(),
            arguments: vec!["-c".into(), script.into()],
            environment: vec![("PATH".into(), "/usr/bin:/bin".into())],
            directory: "/".into(),
            user: None,
            input: Some(b"input".to_vec()),
            grace: Duration::ZERO,
        };
        run(&job, deadline, cancel, |_| {}).await
    }

    const LONG: Deadline = Deadline {
        inactivity: Duration::from_secs(20),
        hard: Duration::from_secs(20),
    };

    #[tokio::test]
    async fn output_input_and_code_come_through() {
        let outcome = shell("cat; echo err >&2; exit 3", LONG, &CancellationToken::new()).await;
        assert_eq!(outcome.ending, Ending::Exited(3));
        assert_eq!(outcome.stdout, b"input");
        assert_eq!(outcome.stderr, b"err\n");
        assert!(outcome.detail().starts_with("exit code 3 after "));
    }

    #[tokio::test]
    async fn silence_and_length_are_limited() {
        let short = Duration::from_millis(200);
        let silent = Deadline {
            inactivity: short,
            ..LONG
        };
        let outcome = shell("sleep 20", silent, &CancellationToken::new()).await;
        assert_eq!(outcome.ending, Ending::TimedOut);
        let hard = Deadline {
            hard: short,
            ..LONG
        };
        let chatty = "while :; do echo x; sleep 0.01; done";
        let outcome = shell(chatty, hard, &CancellationToken::new()).await;
        assert_eq!(outcome.ending, Ending::TimedOut);
    }

    #[tokio::test]
    async fn a_child_in_another_group_is_ended_and_its_pipes_are_not_waited_for() {
        // The leader joins the group of its child, so that its own group is empty.
        let moved = r#"exec perl -MPOSIX -e 'pipe R, W; my $c = fork; if (!$c) { POSIX::setpgid(0, 0); syswrite W, "x"; sleep 20; exit }
            sysread R, my $x, 1; POSIX::setpgid(0, $c); sleep 20'"#;
        let silent = Deadline {
            inactivity: Duration::from_secs(1),
            ..LONG
        };
        let started = std::time::Instant::now();
        let outcome = shell(moved, silent, &CancellationToken::new()).await;
        assert_eq!(outcome.ending, Ending::TimedOut);
        let chatty = "setsid sh -c 'for i in $(seq 150); do echo x; sleep 0.1; done' & exit 3";
        let outcome = shell(chatty, LONG, &CancellationToken::new()).await;
        assert_eq!(outcome.ending, Ending::Exited(3));
        assert!(started.elapsed() < Duration::from_secs(12));
    }

    #[tokio::test]
    async fn cancelling_kills_grandchildren_too() {
        let cancel = CancellationToken::new();
        let directory = std::env::temp_dir().join(format!("group-{}", uuid::Uuid::new_v4()));
        std::fs::create_dir(&directory).expect("the folder is new");
        let pid_file = directory.join("pid");
        let script = format!("sleep 60 & echo $! > {} ; wait", pid_file.display());
        let running = shell(&script, LONG, &cancel);
        let stop = async {
            while std::fs::read_to_string(&pid_file)
                .unwrap_or_default()
                .is_empty()
            {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            cancel.cancel();
        };
        let (outcome, ()) = tokio::join!(running, stop);
        assert_eq!(outcome.ending, Ending::Cancelled);
        let pid = std::fs::read_to_string(&pid_file).expect("it was written");
        let gone = || {
            // A killed orphan may stay a zombie until its new parent collects it.
            std::fs::read_to_string(format!("/proc/{}/stat", pid.trim()))
                .map_or(true, |stat| stat.contains(") Z "))
        };
        while !gone() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        std::fs::remove_dir_all(&directory).expect("the folder is there");
    }
}
