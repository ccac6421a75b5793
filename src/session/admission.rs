//! Admission: one synchronous section that validates, recognises replays, checks capacity, rotates and persists.
//!
//! Nothing is awaited between loading the view and committing the last step, so no other request can come between.
//! Rotation and persisting are two steps on purpose: a message must become visible only after its credential is
//! durable, and a marker written with the first step lets the decision survive a death between the two.

use cloud_agent_wire::{Agent, Finalization, Generation, Intent, MessageId, Secret, Timestamp};
use serde::Serialize;

use crate::limits::QUEUE_MESSAGES_MAX;
use crate::telemetry::LogEvent;

use super::command::{AgentChoice, Ingredients, SendMessage, TurnContent};
use super::credential::{
    self, Bearer, CredentialRecord, Marker, Pointer, Try, Verdict, check_git_token,
};
use super::deadline::{DeadlineKind, Deadlines};
use super::error::CommandError;
use super::event;
use super::message::Phase;
use super::record::SessionRecord;
use super::sealing::SecretKind;
use super::step::{Decision, Draft, Write};

/// The part of the state that admission reads: of bounded size, however long the session's past is.
#[derive(Debug, Clone)]
pub struct AdmissionView {
    /// The session.
    pub record: SessionRecord,
    /// Its credential.
    pub credential: Option<CredentialRecord>,
    /// The marker or abandoned entry of the message in question.
    pub marker: Option<Marker>,
    /// The message in question, if it was admitted before.
    pub known: Option<KnownMessage>,
    /// How many messages wait, claimed ones among them.
    pub queued: usize,
    /// Whether a message is claimed or accepted, so that its runtime has to learn of a new credential.
    pub delivering: bool,
    /// The stored deadlines.
    pub deadlines: Deadlines,
}

/// A message that was admitted before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownMessage {
    /// Its content; `None` when it cannot be read any more.
    pub intent: Option<Intent>,
    /// Where it is in its life.
    pub phase: Phase,
}

/// The answer to an admitted message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Acknowledgement {
    /// The message.
    pub message_id: MessageId,
    /// How far it is.
    pub delivery: Delivery,
}

/// How far a message is, as acknowledgements and events say it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
#[cfg_attr(test, derive(ts_rs::TS))]
pub enum Delivery {
    /// It waits.
    Queued,
    /// Its agent was started.
    Sent,
}

/// The mode that takes its instructions from the session's additional system prompt.
pub const CUSTOM_MODE: &str = "custom";
/// Modes that every session knows. Other modes are agents that the session was prepared with.
pub const BUILTIN_MODES: &[&str] = &[
    "plan",
    "code",
    "build",
    "orchestrator",
    "architect",
    "ask",
    CUSTOM_MODE,
];

/// What admission comes to.
pub type Admission = Decision<Result<Acknowledgement, CommandError>>;

/// Decides on a message.
///
/// A refused message and a replay write nothing. A new one is one step (persist), or two when its token is applied
/// (rotate, then persist).
#[must_use]
pub fn admit(
    view: AdmissionView,
    command: SendMessage,
    now: Timestamp,
    ingredients: &Ingredients<'_>,
) -> Admission {
    let message_id = command.message_id.clone();
    match admit_checked(&view, command, now, ingredients) {
        Ok(admission) => admission,
        Err(error) => {
            let log = vec![LogEvent::MessageRejected {
                message_id,
                code: error.code(),
            }];
            Decision {
                steps: Vec::new(),
                deadlines: view.deadlines,
                log,
                volatile: Vec::new(),
                outcome: Err(error),
            }
        }
    }
}

fn admit_checked(
    view: &AdmissionView,
    command: SendMessage,
    now: Timestamp,
    ingredients: &Ingredients<'_>,
) -> Result<Admission, CommandError> {
    let SendMessage {
        message_id,
        turn,
        agent,
        finalization,
        git_token,
        attachment_fault,
        arrival,
    } = command;
    let intent = resolve_intent(&view.record, message_id, turn, agent, &finalization)?;
    if let Some(known) = &view.known {
        return replay(view, known, &intent);
    }
    if let Some(fault) = attachment_fault {
        return Err(CommandError::Attachment(fault));
    }
    // A replay does not use its token, so only a new message's is looked at.
    let git_token = usable_token(view, git_token)?;
    if view.queued >= QUEUE_MESSAGES_MAX {
        return Err(CommandError::QueueFull);
    }

    let mut draft = Draft::new(view.deadlines.clone());
    let mut marked = view.marker.is_some();
    match git_token {
        TokenUse::Apply(token) => {
            let bearer = Bearer::Message(intent.message_id());
            let stamp = arrival.stamp(now);
            let rotation = Rotation {
                bearer,
                stamp,
                attempt: arrival.attempt,
                token: &token,
            };
            let rotated = rotation.stage(view, now, ingredients, &mut draft)?;
            if let Some(generation) = rotated {
                let expires_at = now.plus_millis(ingredients.settings.marker_ttl_millis);
                let message_id = intent.message_id().clone();
                draft.write(Write::PutMarker(Marker {
                    message_id,
                    generation,
                    expires_at: Some(expires_at),
                }));
                draft.set_deadline_no_later(DeadlineKind::MarkerExpiry, expires_at);
                marked = true;
                draft.end_step();
            }
        }
        TokenUse::Ignore => draft.log(LogEvent::CredentialIgnored {
            message_id: intent.message_id().clone(),
        }),
        TokenUse::None => {}
    }
    Ok(persist(view, intent, marked, now, ingredients, draft))
}

/// The second step: the message, its event, the deadline of the drain, and the end of its marker.
fn persist(
    view: &AdmissionView,
    intent: Intent,
    marked: bool,
    now: Timestamp,
    ingredients: &Ingredients<'_>,
    mut draft: Draft,
) -> Admission {
    let message_id = intent.message_id().clone();
    let queued = u32::try_from(view.queued + 1).unwrap_or(u32::MAX);
    draft.log(LogEvent::MessageAdmitted {
        message_id: message_id.clone(),
        queued,
    });
    draft.write(Write::AppendEvent(event::queued(&intent, now)));
    draft.write(Write::AppendMessage {
        intent,
        created_at: now,
        callback: view.record.callback,
    });
    if marked {
        draft.write(Write::RemoveMarker(message_id.clone()));
    }
    draft.set_deadline_no_later(
        DeadlineKind::Drain,
        now.plus_millis(ingredients.settings.drain_delay_millis),
    );
    let acknowledgement = Acknowledgement {
        message_id,
        delivery: Delivery::Queued,
    };
    draft.finish(Ok(acknowledgement))
}

/// What becomes of a token that came with a message.
enum TokenUse {
    /// It belongs to this session's repository.
    Apply(Secret),
    /// The server resolves this repository's token by itself.
    Ignore,
    /// There is none.
    None,
}

fn usable_token(view: &AdmissionView, token: Option<Secret>) -> Result<TokenUse, CommandError> {
    let Some(token) = token.filter(|token| !token.is_empty()) else {
        return Ok(TokenUse::None);
    };
    if !view.record.repository.uses_session_credential() {
        return Ok(TokenUse::Ignore);
    }
    check_git_token(&token).map_err(|expected| CommandError::InvalidField {
        field: "gitToken",
        expected,
    })?;
    Ok(TokenUse::Apply(token))
}

/// A token and who brings it.
pub(super) struct Rotation<'a> {
    pub(super) bearer: Bearer<'a>,
    pub(super) stamp: Timestamp,
    pub(super) attempt: Try,
    pub(super) token: &'a Secret,
}

impl Rotation<'_> {
    /// Writes the new credential into the draft and returns its generation, or counts why it is not applied.
    pub(super) fn stage(
        &self,
        view: &AdmissionView,
        now: Timestamp,
        ingredients: &Ingredients<'_>,
        draft: &mut Draft,
    ) -> Result<Option<Generation>, CommandError> {
        let stored = view.credential.as_ref();
        let verdict = credential::decide(
            self.bearer,
            self.stamp,
            self.attempt,
            view.marker.as_ref(),
            stored.map(|credential| &credential.pointer),
        );
        match (verdict, stored) {
            (Verdict::Skip(reason), Some(stored)) => {
                let skips = stored.skips.saturating_add(1);
                draft.write(Write::PutCredential(CredentialRecord {
                    skips,
                    ..stored.clone()
                }));
                draft.log(LogEvent::CredentialSkipped {
                    message_id: self.bearer.message_id(),
                    reason: reason.as_str(),
                    skips,
                });
                Ok(None)
            }
            (Verdict::Skip(_), None) => Ok(None),
            (Verdict::Apply, stored) => {
                let record = self.apply(&view.record, stored, now, ingredients)?;
                let generation = record.generation;
                let before = stored.map_or(Generation::default(), |stored| stored.generation);
                draft.log(LogEvent::CredentialRotated {
                    message_id: self.bearer.message_id(),
                    generation,
                    changed: generation != before,
                    fingerprint: record.fingerprint.clone(),
                });
                draft.write(Write::PutCredential(record));
                if generation != before {
                    if view
                        .record
                        .refused
                        .is_some_and(|refused| refused.generation == before)
                    {
                        // The queue waits for just this.
                        draft.deadlines.set(DeadlineKind::CredentialWait, None);
                        draft.set_deadline_no_later(DeadlineKind::Drain, now);
                    }
                    if view.delivering {
                        draft.set_deadline_no_later(DeadlineKind::PushOwed, now);
                    }
                }
                Ok(Some(generation))
            }
        }
    }

    /// The credential after this token was applied.
    ///
    /// The same token again moves the pointer only. A stored token that does not open (its key is gone) counts as
    /// another one, so that a fresh token always mends the session.
    fn apply(
        &self,
        record: &SessionRecord,
        stored: Option<&CredentialRecord>,
        now: Timestamp,
        ingredients: &Ingredients<'_>,
    ) -> Result<CredentialRecord, CommandError> {
        let context = record.sealing_context();
        let pointer = Pointer {
            message_id: self.bearer.message_id(),
            stamp: self.stamp,
        };
        let ring = ingredients.ring;
        let fingerprint = ring.fingerprint(self.token);
        if let Some(stored) = stored {
            // Fingerprints under one key that differ tell it without opening what is sealed.
            let may_be_same =
                !ring.is_under_first_key(&stored.sealed) || stored.fingerprint == fingerprint;
            let same = may_be_same
                && ring
                    .open(SecretKind::GitToken, context, &stored.sealed)
                    .is_ok_and(|current| current.expose() == self.token.expose());
            if same {
                return Ok(CredentialRecord {
                    pointer,
                    ..stored.clone()
                });
            }
        }
        let sealed = ring
            .seal(
                SecretKind::GitToken,
                context,
                self.token,
                &ingredients.nonce,
            )
            .map_err(|_| CommandError::Internal("The credential could not be stored"))?;
        Ok(CredentialRecord {
            generation: stored
                .map_or(Generation::default(), |stored| stored.generation)
                .next(),
            updated_at: now,
            sealed,
            fingerprint,
            pointer,
            skips: stored.map_or(0, |stored| stored.skips),
        })
    }
}

/// Fills what the client left out from the session's defaults.
fn resolve_intent(
    record: &SessionRecord,
    message_id: MessageId,
    turn: TurnContent,
    agent: AgentChoice,
    finalization: &Finalization,
) -> Result<Intent, CommandError> {
    match &turn {
        TurnContent::Prompt {
            prompt,
            attachments: None,
        } if prompt.trim().is_empty() => {
            return Err(CommandError::Refused("No prompt provided"));
        }
        TurnContent::Command { command, .. } if command.is_empty() => {
            return Err(CommandError::Refused("No command provided"));
        }
        TurnContent::Prompt { .. } | TurnContent::Command { .. } => {}
    }
    let defaults = &record.agent;
    let mode = agent.mode.unwrap_or_else(|| defaults.mode.clone());
    if !BUILTIN_MODES.contains(&mode.as_str()) && !record.agent_slugs.contains(&mode) {
        return Err(CommandError::InvalidField {
            field: "mode",
            expected: "must be a built-in mode or one of the session's runtimeAgents",
        });
    }
    let agent = Agent {
        mode,
        model: agent.model.unwrap_or_else(|| defaults.model.clone()),
        variant: agent.variant.or_else(|| defaults.variant.clone()),
    };
    let finalization = Finalization {
        auto_commit: finalization.auto_commit.or(record.finalization.auto_commit),
        condense_on_complete: finalization
            .condense_on_complete
            .or(record.finalization.condense_on_complete),
    };
    Ok(Intent {
        turn: turn.into_turn(message_id),
        agent,
        finalization,
    })
}

/// Answers an id that was admitted before. Writes nothing.
fn replay(
    view: &AdmissionView,
    known: &KnownMessage,
    intent: &Intent,
) -> Result<Admission, CommandError> {
    if known.phase.is_terminal() {
        return Err(CommandError::Refused(
            "Message ID is already terminal; submit a new message ID",
        ));
    }
    if known.intent.as_ref() != Some(intent) {
        return Err(CommandError::Refused(
            "Message intent does not match admitted message",
        ));
    }
    let delivery = match known.phase {
        Phase::Accepted => Delivery::Sent,
        _ => Delivery::Queued,
    };
    let message_id = intent.message_id().clone();
    let mut draft = Draft::new(view.deadlines.clone());
    draft.log(LogEvent::MessageReplayed {
        message_id: message_id.clone(),
        phase: known.phase.as_str(),
    });
    Ok(draft.finish(Ok(Acknowledgement {
        message_id,
        delivery,
    })))
}

/// Rotates without a message: the way out of a full queue behind a dead token.
///
/// One step; there is nothing to persist after it, hence no marker.
///
/// # Errors
/// The session's repository takes no token from clients, or the token is malformed.
pub fn rotate(
    view: &AdmissionView,
    token: &Secret,
    arrival: super::command::Arrival,
    now: Timestamp,
    ingredients: &Ingredients<'_>,
) -> Result<Decision<()>, CommandError> {
    let mut draft = Draft::new(view.deadlines.clone());
    if let TokenUse::Apply(token) = usable_token(view, Some(token.clone()))? {
        let rotation = Rotation {
            bearer: Bearer::Update,
            stamp: arrival.stamp(now),
            attempt: arrival.attempt,
            token: &token,
        };
        rotation.stage(view, now, ingredients, &mut draft)?;
    }
    Ok(draft.finish(()))
}
