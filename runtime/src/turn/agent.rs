//! Runs the agent of a turn and journals what it prints.

use std::process::ExitStatus;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use cloud_agent_wire::agent_output::{JSON_LINE_BYTES_MAX, LineSplitter, Pipe, event, gate_result};
use cloud_agent_wire::{Failure, FailureCode, FailureStage, GateResult, MessageId, agent_input};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::Child;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::run::Turn;
use crate::agent_environment::agent_environment;
use crate::git::run::blocking;
use crate::group::Group;
use crate::journal::Journal;
use crate::limits::{INTERRUPT_GRACE, PIPE_BYTES_MAX, PIPE_GRACE};
use crate::process::{Job, feed, spawn};
use crate::session::Secrets;
use crate::store::files;
use crate::strays::{Work, kill_session};

/// How the agent ended.
pub enum AgentEnd {
    /// With exit code 0.
    Done {
        /// What its gate said last.
        gate_result: Option<GateResult>,
    },
    /// Because it was stopped.
    Interrupted,
    /// In any other way.
    Failed(Failure),
}

/// Runs the agent to its end.
pub async fn run(turn: &Turn<'_>) -> AgentEnd {
    let work = Work::begin(&turn.session.paths);
    let (mut child, mut group) = match start(turn).await {
        Ok(started) => started,
        Err(error) => {
            tracing::error!(sessionId = %turn.session.id, error = %error, "the agent could not be started");
            let detail = format!("the agent could not be started: {}", error.kind());
            return failed(
                turn,
                FailureStage::PostDispatchNoActivity,
                FailureCode::WrapperStartFailed,
                detail,
            );
        }
    };
    let started = std::time::Instant::now();
    let mut pumps = Pumps::start(turn, &mut child);
    let status = tokio::select! {
        status = group.wait(&mut child) => Some(status),
        () = turn.cancel.cancelled() => None,
    };
    if status.is_none() {
        group.end(&mut child, INTERRUPT_GRACE).await;
    }
    // Whatever the agent left running ends with it.
    drop(work);
    kill_session(&turn.session.context, &turn.session.paths).await;
    let Some(status) = status else {
        pumps.abandon().await;
        return AgentEnd::Interrupted;
    };
    if !pumps.finish(turn.cancel).await {
        return AgentEnd::Interrupted;
    }
    let code = status.ok().as_ref().and_then(ExitStatus::code);
    if code == Some(0) {
        let gate_result = *files::lock(&pumps.gate_result);
        return AgentEnd::Done { gate_result };
    }
    let seconds = started.elapsed().as_secs_f64();
    let detail = match code {
        Some(code) => format!("the agent ended with exit code {code} after {seconds:.1} s"),
        None => format!("the agent was killed by a signal after {seconds:.1} s"),
    };
    let (stage, code) = if pumps.active.load(Ordering::Acquire) {
        (
            FailureStage::AgentActivity,
            FailureCode::WrapperErrorAfterActivity,
        )
    } else {
        (
            FailureStage::PostDispatchNoActivity,
            FailureCode::WrapperErrorBeforeActivity,
        )
    };
    failed(turn, stage, code, detail)
}

fn failed(turn: &Turn<'_>, stage: FailureStage, code: FailureCode, detail: String) -> AgentEnd {
    AgentEnd::Failed(Failure {
        stage,
        code,
        subtype: None,
        generation: turn.ready.generation,
        detail: Some(detail),
    })
}

async fn start(turn: &Turn<'_>) -> std::io::Result<(Child, Group)> {
    let session = turn.session;
    let (context, paths) = (&session.context, &session.paths);
    let (folder, agent) = (paths.attachments(), context.config.agent_uid);
    blocking(move || files::directory_of(&folder, agent)).await?;
    let own = context.program.to_string_lossy().into_owned();
    let command = context
        .config
        .agent_command
        .clone()
        .unwrap_or_else(|| vec![own, "agent".to_owned()]);
    let mut words = command.into_iter();
    let input = agent_input::line(
        turn.intent,
        &turn.spec.configuration,
        &paths.attachments().to_string_lossy(),
    )?;
    let job = Job {
        program: words.next().unwrap_or_default().into(),
        arguments: words.map(Into::into).collect(),
        environment: agent_environment(context, paths, &turn.spec.env),
        directory: paths.repo(),
        user: context.config.agent_uid,
        input: Some(input.into_bytes()),
        grace: INTERRUPT_GRACE,
    };
    let (mut child, group) = spawn(&job)?;
    feed(&mut child, &job);
    Ok((child, group))
}

/// The tasks that read the agent's pipes.
struct Pumps {
    tasks: JoinSet<()>,
    /// Whether anything was printed.
    active: Arc<AtomicBool>,
    /// What the agent's gate said last.
    gate_result: Arc<Mutex<Option<GateResult>>>,
    /// Fires when the process has ended: pipes that stay open then belong to nobody.
    ended: CancellationToken,
    /// Fires when nobody waits for the rest any more.
    abandoned: CancellationToken,
}

impl Pumps {
    fn start(turn: &Turn<'_>, child: &mut Child) -> Self {
        let mut pumps = Self {
            tasks: JoinSet::new(),
            active: Arc::new(AtomicBool::new(false)),
            gate_result: Arc::default(),
            ended: CancellationToken::new(),
            abandoned: CancellationToken::new(),
        };
        if let Some(stdout) = child.stdout.take() {
            pumps.spawn(turn, stdout, Pipe::Stdout);
        }
        if let Some(stderr) = child.stderr.take() {
            pumps.spawn(turn, stderr, Pipe::Stderr);
        }
        pumps
    }

    fn spawn(
        &mut self,
        turn: &Turn<'_>,
        source: impl AsyncRead + Unpin + Send + 'static,
        pipe: Pipe,
    ) {
        let pump = Pump {
            pipe,
            message_id: turn.message_id.clone(),
            journal: Arc::clone(&turn.session.journal),
            secrets: turn.session.secrets(),
            active: Arc::clone(&self.active),
            gate_result: Arc::clone(&self.gate_result),
            ended: self.ended.clone(),
            abandoned: self.abandoned.clone(),
        };
        self.tasks.spawn(pump.run(source));
    }

    /// Waits until everything that was printed is journaled; `false` when the turn was stopped before.
    async fn finish(&mut self, cancel: &CancellationToken) -> bool {
        self.ended.cancel();
        let all = async { while self.tasks.join_next().await.is_some() {} };
        let is_complete = tokio::select! {
            () = all => true,
            () = cancel.cancelled() => false,
        };
        if !is_complete {
            self.abandon().await;
        }
        is_complete
    }

    /// Takes what is still in the pipes, if there is room for it at once.
    async fn abandon(&mut self) {
        self.ended.cancel();
        let all = async { while self.tasks.join_next().await.is_some() {} };
        if tokio::time::timeout(PIPE_GRACE, all).await.is_err() {
            self.abandoned.cancel();
            while self.tasks.join_next().await.is_some() {}
        }
    }
}

struct Pump {
    pipe: Pipe,
    message_id: MessageId,
    journal: Arc<Journal>,
    /// Grows when a rotation comes while the agent runs.
    secrets: Arc<Secrets>,
    active: Arc<AtomicBool>,
    gate_result: Arc<Mutex<Option<GateResult>>>,
    ended: CancellationToken,
    abandoned: CancellationToken,
}

impl Pump {
    async fn run(self, mut source: impl AsyncRead + Unpin) {
        let mut splitter = LineSplitter::default();
        let mut buffer = vec![0; 16 * 1024];
        let mut late = std::pin::pin!(self.late());
        let mut left = PIPE_BYTES_MAX;
        loop {
            let read = tokio::select! {
                // What is in the pipe comes before the deadline: the journal may have been full until then.
                biased;
                () = self.abandoned.cancelled() => 0,
                read = source.read(&mut buffer), if left > 0 => read.unwrap_or(0),
                () = &mut late => 0,
            };
            if self.ended.is_cancelled() {
                left = left.saturating_sub(read);
            }
            let piece = buffer.get(..read).unwrap_or_default();
            let redactor = self.secrets.redactor();
            let lines = if piece.is_empty() {
                splitter.finish().into_iter().collect()
            } else {
                splitter.feed(piece, JSON_LINE_BYTES_MAX + redactor.longest())
            };
            for line in lines {
                self.active.store(true, Ordering::Release);
                let event = event(&line, self.pipe, &redactor, &self.message_id);
                if let Some(result) = gate_result(&event) {
                    *files::lock(&self.gate_result) = Some(result);
                }
                if let Err(error) = self.journal.append_output(event, &self.abandoned).await {
                    tracing::warn!(error = ?error, "a line of the agent was not journaled");
                    return;
                }
            }
            if piece.is_empty() {
                return;
            }
        }
    }

    /// The moment after which nothing more is waited for: whoever still prints has left the agent's group.
    async fn late(&self) {
        self.ended.cancelled().await;
        tokio::time::sleep(PIPE_GRACE).await;
    }
}
