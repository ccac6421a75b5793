//! Every bound in one table, so that none is written twice and their relations are checked at compile time.
//!
//! Units are part of the names. *Characters* are UTF-16 code units, which is what JavaScript clients count.

// Requests.

/// Largest request body. Larger ones are answered with `PAYLOAD_TOO_LARGE`.
pub const BODY_BYTES_MAX: usize = 1024 * 1024;
/// Most calls in one batched request: each is a request of its own to an object, and they come one after the other.
pub const BATCH_CALLS_MAX: usize = 50;
/// Longest procedure path that an error repeats; a longer one is cut.
pub const ECHOED_PATH_CHARS_MAX: usize = 128;
/// Longest `Authorization` header that is looked at.
pub const AUTHORIZATION_BYTES_MAX: usize = 8 * 1024;
/// Longest user id.
pub const USER_ID_CHARS_MAX: usize = 128;

// Turns.

/// Longest prompt, and longest arguments of a slash command.
pub const PROMPT_CHARS_MAX: usize = 100_000;
/// Longest name of a slash command.
pub const COMMAND_CHARS_MAX: usize = 255;
/// Most files attached to a prompt.
pub const ATTACHMENT_FILES_MAX: usize = 5;
/// Largest attached file.
pub const ATTACHMENT_BYTES_MAX: u64 = 5 * 1024 * 1024;
/// Longest name of an attached file.
pub const FILE_NAME_BYTES_MAX: usize = 128;
/// Longest mode, which is the slug of an agent.
pub const MODE_CHARS_MAX: usize = 100;
/// Longest name of a model.
pub const MODEL_CHARS_MAX: usize = 255;
/// Longest variant of a model.
pub const VARIANT_CHARS_MAX: usize = 50;

// Credentials.

/// Longest git token; every byte is one of 0x21 to 0x7E.
pub const GIT_TOKEN_BYTES_MAX: usize = 4096;

// Sessions.

/// Longest `owner/name` of a GitHub repository.
pub const GITHUB_REPO_BYTES_MAX: usize = 255;
/// Longest additional system prompt.
pub const SYSTEM_PROMPT_CHARS_MAX: usize = 10_000;
/// Longest name of the platform that a session was created on.
pub const CREATED_ON_PLATFORM_CHARS_MAX: usize = 100;
/// Most environment variables, and most encrypted secrets.
pub const ENV_ENTRIES_MAX: usize = 50;
/// Longest name of an environment variable.
pub const ENV_NAME_CHARS_MAX: usize = 128;
/// Longest value of an environment variable.
pub const ENV_VALUE_CHARS_MAX: usize = 4096;
/// Longest base64 text of an encrypted secret: a value of the longest kind in UTF-8, nonce and tag.
pub const ENCRYPTED_DATA_BYTES_MAX: usize = 20 * 1024;
/// Longest base64 text of an encrypted secret's wrapped key: RSA up to 8,192 bits.
pub const ENCRYPTED_KEY_BYTES_MAX: usize = 2048;
/// Most setup commands.
pub const SETUP_COMMANDS_MAX: usize = 20;
/// Longest setup command.
pub const SETUP_COMMAND_CHARS_MAX: usize = 500;
/// Most MCP servers.
pub const MCP_SERVERS_MAX: usize = 20;
/// Longest name of an MCP server.
pub const MCP_SERVER_NAME_CHARS_MAX: usize = 100;
/// Most runtime agents.
pub const RUNTIME_AGENTS_MAX: usize = 100;
/// Most JSON that only the agent understands (MCP servers, skills, agents, commands), in sum.
pub const PASS_THROUGH_BYTES_MAX: usize = 256 * 1024;
/// Most headers of a callback.
pub const CALLBACK_HEADERS_MAX: usize = 50;
/// Longest name of a callback's header.
pub const HEADER_NAME_BYTES_MAX: usize = 128;
/// Longest value of a callback's header.
pub const HEADER_VALUE_BYTES_MAX: usize = 4096;

// The session object.

/// Most messages that wait in a session's queue.
pub const QUEUE_MESSAGES_MAX: usize = 10;

// The stream.

/// How long a ticket lives.
pub const TICKET_SECONDS: u64 = 60;
/// Longest ticket that is looked at.
pub const TICKET_BYTES_MAX: usize = 4096;
/// Most used tickets that a session remembers; each is forgotten when it expires.
pub const USED_TICKETS_MAX: u64 = 1000;
/// Most sockets of a session, those included that were told to close and have not done so.
pub const SOCKETS_MAX: usize = 16;
/// How long a connection lasts.
pub const SOCKET_MILLIS_MAX: u64 = 60 * 60 * 1_000;
/// What each connection may be sent, whatever the others were.
pub const SOCKET_BYTES_MIN: u64 = 2 * 1024 * 1024;
/// What all connections of a session may be sent beyond that, in sum.
pub const SOCKETS_SHARED_BYTES_MAX: u64 = 32 * 1024 * 1024;
/// What a socket is sent of the stored events before others get their turn.
pub const ROUND_BYTES_MAX: usize = 1024 * 1024;
/// How many stored events are looked at before others get their turn.
pub const ROUND_ROWS_MAX: usize = 5_000;
/// Most of the agent's plain output that is sent in a second.
pub const OUTPUT_BYTES_PER_SECOND_MAX: usize = 256 * 1024;
/// Most entries of a filter.
pub const FILTER_ENTRIES_MAX: usize = 50;
/// Longest entry of a filter.
pub const FILTER_ENTRY_CHARS_MAX: usize = 64;
/// Most messages that never started and are shown to a client that connects.
pub const SHOWN_FAILURES_MAX: usize = 10;

/// Most bytes that the platform stores in one row.
const ROW_BYTES_MAX: usize = 2_000_000;
/// Most bytes that one character takes in JSON text (`\u0000`).
const JSON_BYTES_PER_CHAR_MAX: usize = 6;

const _: () = assert!(
    PROMPT_CHARS_MAX * JSON_BYTES_PER_CHAR_MAX < BODY_BYTES_MAX,
    "the longest prompt fits a body in any JSON spelling"
);
const _: () = assert!(
    BODY_BYTES_MAX < ROW_BYTES_MAX,
    "whatever fits a body fits a row"
);
const _: () = assert!(
    GIT_TOKEN_BYTES_MAX < AUTHORIZATION_BYTES_MAX && PASS_THROUGH_BYTES_MAX < BODY_BYTES_MAX,
    "parts are smaller than what holds them"
);
const _: () = assert!(
    ENV_VALUE_CHARS_MAX * 3 * 4 / 3 + 64 <= ENCRYPTED_DATA_BYTES_MAX,
    "every value that may be plain may also be encrypted"
);
const _: () = assert!(
    (ROW_BYTES_MAX as u64) < SOCKET_BYTES_MIN,
    "every connection gets at least one event"
);
