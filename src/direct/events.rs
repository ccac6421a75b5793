//! The session's events, made of what a turn's driver noted and what its agent printed.
//!
//! The driver appends to a file of records, and the agent to one of output; a record begins with the length of the
//! output at its moment, which puts both in one order. A position is the number of records that were read, then the
//! number of bytes of output: it rises with either, so it serves as the session's cursor, and the sandbox keeps nothing
//! about who reads.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use cloud_agent_wire::agent_output::{
    JSON_LINE_BYTES_MAX, Line, Pipe, TEXT_LINE_BYTES_MAX, event, gate_result,
};
use cloud_agent_wire::git_failure::{AUTHENTICATION, FailedCommand, Operation, classify};
use cloud_agent_wire::redact::Redactor;
use cloud_agent_wire::url_encoding::credential_in;
use cloud_agent_wire::{
    Credential, EventSequence, Failure, FailureCode, FailureStage, GateResult, Generation,
    JournalEvent, MessageId, PrepareStep, RuntimeEvent, Submission, Timestamp, branch_name,
};

use super::answer::{Refusal, number, words};
use super::command::OUTPUT_BYTES_MAX;

/// Bits of a position that count bytes of output.
const OUTPUT_BITS: u32 = 32;
/// More than the beginning of any turn's positions: all of them are exact in a double.
const POSITION_MAX: u64 = 1 << 52;
/// More records than a driver writes.
const RECORDS_MAX: u64 = 1 << 20;
/// Events of one look: each is a row that is written. The next look goes on behind them.
const EVENTS_MAX: usize = 1_000;
/// After so much time without progress git gives up a transfer.
const LOW_SPEED: Duration = Duration::from_secs(30);
/// Exit codes of `timeout` and of shells: stopped at its limit, not executable, not found.
const TIMED_OUT: i32 = 124;
const NOT_EXECUTABLE: i32 = 126;
const NOT_FOUND: i32 = 127;

/// Reads the answer of a command that reads events: those after the position that it was asked for.
///
/// # Errors
/// [`Refusal`].
pub fn read(
    answer: &str,
    redactor: &Redactor,
    now: Timestamp,
) -> Result<Vec<JournalEvent>, Refusal> {
    let (header, rest) = words(answer, "events")?;
    let [
        turn,
        position,
        line,
        byte,
        phase,
        interrupted,
        started,
        generation,
    ] = header.as_slice()
    else {
        return Err(Refusal::Senseless);
    };
    let (message_id, submission) = turn.split_once('/').ok_or(Refusal::Senseless)?;
    let mut lines = rest.split('\n');
    let (Some(records), Some(output)) = (lines.next(), lines.next()) else {
        return Err(Refusal::Senseless);
    };
    let records = decode(records)?;
    let output = decode(output)?;
    let byte: u64 = number(byte)?;
    let line: u64 = number(line)?;
    let position: u64 = number(position)?;
    if position >= POSITION_MAX || line >= RECORDS_MAX || byte >> OUTPUT_BITS > 0 {
        return Err(Refusal::Senseless);
    }
    let (before, output) = output.split_at(usize::from(byte > 0).min(output.len()));
    let mut reading = Reading {
        message_id: message_id.parse().map_err(|_| Refusal::Senseless)?,
        submission: Submission::new(number(submission)?),
        position,
        line,
        byte,
        output,
        in_line: before.first().is_some_and(|byte| *byte != b'\n'),
        is_full: output.len() + before.len() >= OUTPUT_BYTES_MAX,
        redactor,
        now,
        events: Vec::new(),
    };
    if reading.take_records(&records)? && *phase == "lost" && !reading.is_full {
        let end = reading.byte + reading.output.len() as u64;
        reading.take_output(end, true);
        let generation = Generation::new(number(generation)?);
        reading.lose(*interrupted == "1", *started == "1", generation);
    }
    Ok(reading.events)
}

/// The credentials that such an answer says are in the workspace. Output is searched for them, whoever brought them there.
pub fn credentials(answer: &str) -> impl Iterator<Item = Credential> {
    let lines = answer.lines().skip(3).take(2);
    lines.filter_map(|line| credential_in(line.split_once(' ')?.1))
}

fn decode(text: &str) -> Result<Vec<u8>, Refusal> {
    STANDARD.decode(text).map_err(|_| Refusal::Senseless)
}

struct Reading<'a> {
    message_id: MessageId,
    submission: Submission,
    /// Where the turn's positions begin.
    position: u64,
    /// Records that were read.
    line: u64,
    /// Bytes of output that were read.
    byte: u64,
    /// Output from there.
    output: &'a [u8],
    /// Whether that begins in a line whose beginning was shown.
    in_line: bool,
    /// Whether there may be more of it than was brought.
    is_full: bool,
    redactor: &'a Redactor,
    now: Timestamp,
    events: Vec<JournalEvent>,
}

impl Reading<'_> {
    /// Reads records in order, each after the output before it, then the rest of the output. False when something of
    /// it is to be read first.
    fn take_records(&mut self, records: &[u8]) -> Result<bool, Refusal> {
        let text = std::str::from_utf8(records).map_err(|_| Refusal::Senseless)?;
        for record in text.split_inclusive('\n') {
            // One that is not complete comes with the next answer.
            let Some(record) = record.strip_suffix('\n') else {
                return Ok(false);
            };
            let words: Vec<&str> = record.split(' ').collect();
            let [length, words @ ..] = words.as_slice() else {
                return Err(Refusal::Senseless);
            };
            // A refusal comes while the agent prints, perhaps in the middle of a line.
            let ends_line = words.first() != Some(&"refused");
            if !self.take_output(number(length)?, ends_line) {
                return Ok(false);
            }
            self.line += 1;
            // What a turn of another program wrote means nothing.
            if let Some(event) = self.record(words) {
                self.push(event);
            }
        }
        self.take_output(u64::MAX, false);
        Ok(!self.has_enough())
    }

    /// Reads lines of output up to a length of it. False when they have not all been brought.
    fn take_output(&mut self, length: u64, ends_line: bool) -> bool {
        let wanted = length.saturating_sub(self.byte);
        let wanted = usize::try_from(wanted).unwrap_or(usize::MAX);
        let brought = wanted.min(self.output.len());
        let mut text = self.output.get(..brought).unwrap_or_default();
        while let Some(end) = text.iter().position(|byte| *byte == b'\n') {
            if self.has_enough() {
                return false;
            }
            self.take_line(text.get(..end).unwrap_or_default(), 1);
            text = text.get(end + 1..).unwrap_or_default();
        }
        let is_reached = brought == wanted;
        let is_overlong = !is_reached && self.is_full && text.len() >= JSON_LINE_BYTES_MAX;
        if !text.is_empty() && (is_reached && ends_line || is_overlong) {
            self.take_line(text, 0);
            self.in_line = !is_reached;
        }
        is_reached
    }

    /// Reads a line, or, of one that is too long, a part: only the first part is shown.
    fn take_line(&mut self, line: &[u8], end: usize) {
        let length = line.len() + end;
        self.byte += length as u64;
        self.output = self.output.get(length..).unwrap_or_default();
        let is_rest = std::mem::take(&mut self.in_line);
        if is_rest && end > 0 {
            return;
        }
        let line = if is_rest { &[] } else { line };
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let is_cut = line.len() > JSON_LINE_BYTES_MAX;
        // More than is shown, since a secret may stand at the cut.
        let kept = TEXT_LINE_BYTES_MAX + self.redactor.longest();
        let kept = if is_cut { kept } else { line.len() };
        let line = Line {
            bytes: line.get(..kept).unwrap_or(line).to_vec(),
            is_cut,
        };
        let event = event(&line, Pipe::Stdout, self.redactor, &self.message_id);
        self.push(event);
    }

    fn has_enough(&self) -> bool {
        self.events.len() >= EVENTS_MAX
    }

    fn push(&mut self, event: RuntimeEvent) {
        let seq = self.position + (self.line << OUTPUT_BITS) + self.byte;
        self.events.push(JournalEvent {
            seq: EventSequence::new(seq),
            at: self.now,
            event,
        });
    }

    fn record(&self, words: &[&str]) -> Option<RuntimeEvent> {
        let message_id = self.message_id.clone();
        let submission = self.submission;
        Some(match words {
            ["preparing", step] => RuntimeEvent::Preparing {
                step: step_of(step)?,
                percent: None,
            },
            ["ready", generation, cold, branch] => RuntimeEvent::Ready {
                message_id,
                submission,
                generation: Generation::new(generation.parse().ok()?),
                branch: branch_of(branch),
                cold: *cold == "1",
            },
            ["autocommit_started"] => RuntimeEvent::AutocommitStarted { message_id },
            ["autocommit_completed", commit, pushed] => RuntimeEvent::AutocommitCompleted {
                message_id,
                commit: commit_of(commit),
                pushed: *pushed == "1",
            },
            ["refused", generation] => RuntimeEvent::CredentialRefused {
                generation: Generation::new(generation.parse().ok()?),
            },
            ["complete", branch, gate] => RuntimeEvent::Complete {
                message_id,
                submission,
                branch: branch_of(branch),
                gate_result: self.gate_of(gate),
            },
            ["interrupted"] => RuntimeEvent::Interrupted {
                message_id,
                submission,
            },
            ["agent_failed", generation, code, seconds] => {
                let failure = self.agent_failure(generation, code, seconds)?;
                self.error(failure)
            }
            ["failed", stage, operation, rest @ ..] => self.error(failure(stage, operation, rest)?),
            _ => return None,
        })
    }

    fn error(&self, failure: Failure) -> RuntimeEvent {
        RuntimeEvent::Error {
            message_id: self.message_id.clone(),
            submission: self.submission,
            failure,
        }
    }

    fn agent_failure(&self, generation: &str, code: &str, seconds: &str) -> Option<Failure> {
        let exit: i32 = code.parse().ok()?;
        let seconds: u32 = seconds.parse().ok()?;
        let is_missing = matches!(exit, NOT_EXECUTABLE | NOT_FOUND);
        let (stage, code) = if is_missing {
            (
                FailureStage::PostDispatchNoActivity,
                FailureCode::WrapperStartFailed,
            )
        } else if self.byte > 0 {
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
        Some(Failure {
            stage,
            code,
            subtype: None,
            generation: Generation::new(generation.parse().ok()?),
            detail: Some(format!("the agent ended with {}", ending(exit, seconds))),
        })
    }

    /// What the agent's gate said in the last line that speaks of it.
    fn gate_of(&self, line: &str) -> Option<GateResult> {
        let line = String::from_utf8(STANDARD.decode(line).ok()?).ok()?;
        gate_result(&RuntimeEvent::Kilocode {
            message_id: self.message_id.clone(),
            json: line,
        })
    }

    /// The driver is gone and has not said how the turn ended.
    fn lose(&mut self, interrupted: bool, started: bool, generation: Generation) {
        self.line += 1;
        let event = if interrupted {
            RuntimeEvent::Interrupted {
                message_id: self.message_id.clone(),
                submission: self.submission,
            }
        } else {
            self.error(Failure {
                stage: if started {
                    FailureStage::Interruption
                } else {
                    FailureStage::PreDispatch
                },
                code: FailureCode::ContainerShutdown,
                subtype: None,
                generation,
                detail: None,
            })
        };
        self.push(event);
    }
}

/// A step of preparing or publishing that failed.
fn failure(stage: &str, operation: &str, rest: &[&str]) -> Option<Failure> {
    let [number, generation, code, seconds, printed] = rest else {
        return None;
    };
    let stage = match stage {
        "prepare" => FailureStage::PreDispatch,
        "publish" => FailureStage::AgentActivity,
        _ => return None,
    };
    let operation = match operation {
        "transfer" => Operation::Transfer,
        "checkout" => Operation::Checkout,
        "local" => Operation::Local,
        "setup" => Operation::Setup,
        _ => return None,
    };
    let number: u32 = number.parse().ok()?;
    let exit: i32 = code.parse().ok()?;
    let seconds: u32 = seconds.parse().ok()?;
    let printed = STANDARD.decode(printed).unwrap_or_default();
    let words = String::from_utf8_lossy(&printed).to_ascii_lowercase();
    // How long a transfer was silent is not known, but a refusal comes at its beginning: what took long and claims one,
    // or nothing, was silent all the time.
    let is_claim = AUTHENTICATION.iter().any(|word| words.contains(word));
    let silent = if is_claim || words.is_empty() {
        seconds
    } else {
        0
    };
    let failed = FailedCommand {
        timed_out: exit == TIMED_OUT,
        silent: Duration::from_secs(silent.into()),
        low_speed: LOW_SPEED,
        printed: &printed,
    };
    let ending = ending(exit, seconds);
    Some(Failure {
        stage,
        code: FailureCode::WorkspaceSetupFailed,
        subtype: Some(classify(operation, &failed)),
        generation: Generation::new(generation.parse().ok()?),
        detail: Some(match number {
            0 => ending,
            number => format!("setup command {number}: {ending}"),
        }),
    })
}

fn ending(exit: i32, seconds: u32) -> String {
    match exit {
        TIMED_OUT => format!("stopped at its deadline after {seconds} s"),
        exit => format!("exit code {exit} after {seconds} s"),
    }
}

fn step_of(word: &str) -> Option<PrepareStep> {
    Some(match word {
        "prove_credential" => PrepareStep::ProveCredential,
        "clone" => PrepareStep::Clone,
        "fetch" => PrepareStep::Fetch,
        "checkout" => PrepareStep::Checkout,
        "rewrite_origin" => PrepareStep::RewriteOrigin,
        "setup" => PrepareStep::Setup,
        _ => return None,
    })
}

fn branch_of(word: &str) -> Option<String> {
    branch_name::classify(word).map(|_| word.to_owned())
}

fn commit_of(word: &str) -> Option<String> {
    let is_hash = matches!(word.len(), 40 | 64) && word.bytes().all(|b| b.is_ascii_hexdigit());
    is_hash.then(|| word.to_owned())
}

#[cfg(test)]
mod tests;
