//! Ready-made sessions, messages and tokens.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use cloud_agent_session::session::command::{
    AgentChoice, Arrival, SendMessage, Settings, TurnContent,
};
use cloud_agent_session::session::credential::Try;
use cloud_agent_session::session::preparation::{PrepareSession, ProfileSecrets};
use cloud_agent_session::session::record::{
    AgentDefaults, InitialMessage, Profile, RepositoryRecord, SessionRecord,
};
use cloud_agent_session::session::sealing::KeyRing;
use cloud_agent_wire::{Agent, Finalization, Intent, MessageId, Secret, Timestamp, Turn};

/// Stands in every secret that a test makes, so that one search finds any of them where none may be.
pub const CANARY: &str = "canary-f5c1";

/// When the tests' sessions are prepared.
pub const START: Timestamp = Timestamp::from_millis(1_700_000_000_000);

/// The times of every test's session.
pub const SETTINGS: Settings = Settings {
    drain_delay_millis: 1_000,
    marker_ttl_millis: 900_000,
    credential_wait_millis: 600_000,
    no_output_millis: 330_000,
};

pub fn ring() -> KeyRing {
    let key = STANDARD.encode([7; 32]);
    KeyRing::parse(&Secret::new(format!("test:{key}"))).expect("the key is well-formed")
}

/// A git token that a search for the canary finds.
pub fn token(name: &str) -> Secret {
    Secret::new(format!("{CANARY}-token-{name}"))
}

pub fn message_id(digit: char) -> MessageId {
    // The part that looks like a time is the same for all: ids say nothing about age.
    format!("msg_{}{}", "0".repeat(12), digit.to_string().repeat(14))
        .parse()
        .expect("the id is canonical")
}

/// The first message of every session; no test sends another with its id.
pub fn initial_id() -> MessageId {
    message_id('i')
}

pub fn generic_git() -> RepositoryRecord {
    RepositoryRecord::Git {
        url: "https://git.example.com/team/project.git".to_owned(),
    }
}

/// A preparation at [`START`]. Its secrets carry the canary.
pub fn preparation(repository: RepositoryRecord, git_token: Option<Secret>) -> PrepareSession {
    let agent = AgentDefaults {
        mode: "code".to_owned(),
        model: "model-1".to_owned(),
        variant: None,
    };
    let finalization = Finalization::default();
    let intent = Intent {
        turn: Turn::Prompt {
            message_id: initial_id(),
            prompt: "first".to_owned(),
            attachments: None,
        },
        agent: Agent {
            mode: agent.mode.clone(),
            model: agent.model.clone(),
            variant: None,
        },
        finalization: finalization.clone(),
    };
    let secret = |name: &str| Secret::new(format!("{CANARY}-{name}"));
    PrepareSession {
        record: SessionRecord {
            session_id: "agent_0f8fad5b-d9cb-469f-a165-70867728950e"
                .parse()
                .expect("the id is canonical"),
            user_id: "user-1".to_owned().try_into().expect("the id is valid"),
            organization_id: None,
            kilo_session_id: "ses_1".to_owned(),
            created_on_platform: None,
            repository,
            upstream_branch: None,
            shallow: false,
            initial_message_id: initial_id(),
            agent,
            agent_slugs: vec!["reviewer".to_owned()],
            finalization,
            created_at: START,
            prepared_at: None,
            initiated_at: None,
            version: 1,
            callback: None,
            refused: None,
            managed: None,
            deleting_since: None,
        },
        profile: Profile::default(),
        secrets: ProfileSecrets {
            env: [("KEY".to_owned(), secret("env"))].into(),
            ..ProfileSecrets::default()
        },
        callback: None,
        initial: InitialMessage { intent },
        git_token,
        arrival: arrival(START, 1),
    }
}

/// A callback's target as it is sealed. Its header carries the canary.
pub fn callback_target(host: &str) -> Secret {
    Secret::new(format!(
        r#"{{"url":"https://{host}/done?key={CANARY}","headers":{{"authorization":"{CANARY}"}}}}"#
    ))
}

pub fn arrival(received_at: Timestamp, attempt: u32) -> Arrival {
    Arrival {
        received_at,
        attempt: Try::new(attempt),
    }
}

/// A prompt without a token, received at [`START`] on the first try.
pub fn prompt(digit: char) -> SendMessage {
    SendMessage {
        message_id: message_id(digit),
        turn: TurnContent::Prompt {
            prompt: format!("prompt {digit}"),
            attachments: None,
        },
        agent: AgentChoice::default(),
        finalization: Finalization::default(),
        git_token: None,
        attachment_fault: None,
        arrival: arrival(START, 1),
    }
}

/// The parts of a request that tests of rotation vary.
pub trait Vary {
    fn with_token(self, name: &str) -> Self;
    /// Received that many milliseconds after [`START`], or before it when negative.
    fn received(self, offset_millis: i64) -> Self;
    fn on_try(self, number: u32) -> Self;
}

impl Vary for SendMessage {
    fn with_token(self, name: &str) -> Self {
        Self {
            git_token: Some(token(name)),
            ..self
        }
    }

    fn received(self, offset_millis: i64) -> Self {
        let arrival = Arrival {
            received_at: after_start(offset_millis),
            ..self.arrival
        };
        Self { arrival, ..self }
    }

    fn on_try(self, number: u32) -> Self {
        let arrival = Arrival {
            attempt: Try::new(number),
            ..self.arrival
        };
        Self { arrival, ..self }
    }
}

/// The moment that many milliseconds after [`START`], or before it when negative.
pub fn after_start(offset_millis: i64) -> Timestamp {
    let millis = START
        .as_millis()
        .checked_add_signed(offset_millis)
        .expect("the moment is after 1970");
    Timestamp::from_millis(millis)
}
