//! The TypeScript declarations of `client/index.d.ts`: what a stock tRPC client sees of this service, made from the
//! types that decode and encode. `UPDATE_CLIENT=1 cargo test --lib declarations` writes the file; otherwise a stale one fails.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use ts_rs::{Config, TS, TypeVisitor};

use crate::callback_request::CallbackPayload;
use crate::session::event_data::{
    AutocommitCompletedData, AutocommitStartedData, CloudStatusData, CompletedData, ConnectedData,
    CredentialRequiredData, FailedData, KilocodeData, OutputData, PreparingData, QueuedData,
    SentData, event_types,
};
use crate::stream::error::StreamError;
use crate::stream::ticket::IssuedTicket;
use crate::trpc::input::IssueTicket;
use crate::trpc::input::prepare_session::PrepareSessionFields;
use crate::trpc::input::send_message::SendMessageFields;
use crate::trpc::input::session::{
    DeleteSession, GetMessageResult, GetSession, InitiateSession, InterruptSession,
};
use crate::trpc::input::update_session::UpdateSessionFields;
use crate::trpc::output;
use crate::trpc::procedure::Kind;
use crate::trpc::{AdmissionCode, ErrorKey, Procedure};

/// The head of the file, and what does not depend on a type of this crate.
const HEAD: &str = r#"// Generated from the service's own types; a test fails when it is stale.

import type {
  TRPCBuiltRouter,
  TRPCMutationProcedure,
  TRPCQueryProcedure,
} from "@trpc/server";
"#;

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/client/index.d.ts");

/// Declarations by name, each once.
struct Declarations {
    config: Config,
    by_name: BTreeMap<String, String>,
}

impl Declarations {
    /// Declares a type and what it is made of, and returns its name.
    fn declare<T: TS + 'static + ?Sized>(&mut self) -> String {
        let name = T::name(&self.config);
        if T::output_path().is_some() && !self.by_name.contains_key(&name) {
            let docs = T::docs().unwrap_or_default();
            let declaration = in_one_line_if_union(T::decl(&self.config));
            let declaration = format!("{docs}export {declaration}\n");
            self.by_name.insert(name.clone(), laid_out(&declaration));
            T::visit_dependencies(self);
        }
        name
    }
}

impl TypeVisitor for Declarations {
    fn visit<T: TS + 'static + ?Sized>(&mut self) {
        self.declare::<T>();
    }
}

/// A union of objects is short without the comments on their members.
fn in_one_line_if_union(declaration: String) -> String {
    if !declaration.contains("} | {") {
        return declaration;
    }
    let lines = declaration.lines().map(str::trim);
    let members: Vec<_> = lines.filter(|line| !line.starts_with(['/', '*'])).collect();
    members.join(" ").replace(", }", " }")
}

/// Puts a declaration into the usual form: members indented, comments of one line on one line.
fn laid_out(declaration: &str) -> String {
    let mut text = String::new();
    let mut lines = declaration.lines().map(str::trim_end).peekable();
    let mut indent = "";
    while let Some(line) = lines.next() {
        let mut line = line.replace(", };", ";\n};");
        if line == "/**" {
            let sentence = lines.next().unwrap_or_default().trim_start_matches(" * ");
            if lines.next_if_eq(&" */").is_some() {
                line = format!("/** {sentence} */");
            } else {
                writeln!(text, "{indent}/**\n{indent} * {sentence}").unwrap();
                continue;
            }
        }
        let line = match line.strip_suffix(',') {
            Some(member) if !indent.is_empty() => format!("{member};"),
            _ => line,
        };
        writeln!(text, "{indent}{line}").unwrap();
        if line.ends_with('{') {
            indent = "  ";
        }
    }
    text
}

/// Declares the input and the output of a procedure.
fn signature(procedure: Procedure, types: &mut Declarations) -> [String; 2] {
    macro_rules! signature {
        ($input:ty, $output:ty) => {
            [types.declare::<$input>(), types.declare::<$output>()]
        };
    }
    match procedure {
        Procedure::PrepareSession => {
            signature!(PrepareSessionFields<'static>, output::PrepareSessionOutput)
        }
        Procedure::UpdateSession => signature!(UpdateSessionFields, output::UpdateSessionOutput),
        Procedure::InitiateFromKilocodeSessionV2 => {
            signature!(InitiateSession, output::Acknowledgement)
        }
        Procedure::SendMessageV2 => {
            let [_, output] = signature!(SendMessageFields<'static>, output::Acknowledgement);
            ["SendMessageInput".to_owned(), output]
        }
        Procedure::GetSession => signature!(GetSession, output::GetSessionOutput),
        Procedure::GetMessageResult => signature!(GetMessageResult, output::GetMessageResultOutput),
        Procedure::InterruptSession => signature!(InterruptSession, output::InterruptSessionOutput),
        Procedure::DeleteSession => signature!(DeleteSession, output::DeleteSessionOutput),
        Procedure::Health => ["void".to_owned(), types.declare::<output::HealthOutput>()],
    }
}

/// The forms of a message, which a type with optional fields cannot tell apart.
const SEND_MESSAGE_INPUT: &str = r#"
/** The input of `sendMessageV2`, in one of its three forms. */
export type SendMessageInput = SendMessageFields &
  (
    | { prompt: string; mode: string; model: string }
    | { payload: { type: "prompt"; prompt: string; mode: string; model: string } }
    | { payload: { type: "command"; command: string } }
  );
"#;

/// A union of texts, each once.
fn union(words: impl IntoIterator<Item = &'static str>) -> String {
    let mut lines: Vec<_> = vec![];
    for word in words {
        let line = format!("  | {word:?}");
        if !lines.contains(&line) {
            lines.push(line);
        }
    }
    lines.join("\n")
}

/// What the stream sends, and declares what else is no procedure's: tickets and callbacks.
fn stream(types: &mut Declarations) -> String {
    let (mut data, mut stored) = (String::new(), vec![]);
    macro_rules! declare {
        ($($type:literal, $is_stored:literal, $data:ty;)+) => {
            $(
                let name = types.declare::<$data>();
                writeln!(data, "  {:?}: {name};", $type).unwrap();
                stored.extend($is_stored.then_some($type));
            )+
        };
    }
    event_types!(declare);
    types.declare::<IssueTicket>();
    types.declare::<IssuedTicket>();
    types.declare::<CallbackPayload<'_>>();
    let stored = union(stored);
    let codes = union(StreamError::ALL.iter().map(|error| error.code()));
    format!(
        r#"
/** What stands in the `data` of an event, by its type. */
export interface StreamEventData {{
{data}}}

/** What a `streamEventType` can be. */
export type StreamEventType = keyof StreamEventData;

/** The types of events that are stored: they have ids above 0 and come again after a lower `fromId`. */
export type StoredEventType =
{stored};

/** An event of the stream, told apart by its `streamEventType`. */
export type StreamEvent = {{
  [Type in StreamEventType]: {{
    /** Rises from one stored event to the next; 0 for one that is not stored. */
    eventId: number;
    /** The message that it belongs to. */
    executionId?: string;
    sessionId: string;
    streamEventType: Type;
    /** When it happened, in ISO 8601. */
    timestamp: string;
    data: StreamEventData[Type];
  }};
}}[StreamEventType];

/** What an error of the stream is, for programs. `WS_RECONNECT` asks to connect again with `fromId`. */
export type StreamErrorCode =
{codes};

/** An error of the stream: a frame, or the body of a refused upgrade. */
export interface StreamError {{
  type: "error";
  code: StreamErrorCode;
  /** A sentence for people. */
  message: string;
}}

/** What a message of the WebSocket holds, as JSON. */
export type StreamFrame = StreamEvent | StreamError;
"#
    )
}

/// The router's type, and what an error carries.
fn router(types: &mut Declarations) -> String {
    let mut text = String::new();
    let codes = union(AdmissionCode::ALL.iter().map(|code| code.as_str()));
    let keys = union(ErrorKey::ALL.iter().map(|key| key.as_str()));
    write!(
        text,
        r"
/**
 * Why a message was refused. Clients know all of these; those of `SERVICE_UNAVAILABLE` are not answered any more, since
 * such a failure shows in the result of the admitted message.
 */
export type AdmissionCode =
{codes};

/** The tRPC codes that clients of the service know. */
export type ErrorCode =
{keys};

/** What an error looks like to a client; a `TRPCClientError<AppRouter>` has it as `shape`. */
export interface ErrorShape {{
  message: string;
  /** The number of the code in JSON-RPC. */
  code: number;
  data: {{
    code: ErrorCode;
    httpStatus: number;
    path?: string;
    error?: AdmissionCode;
    /** Whether the same call may succeed later. */
    retryable?: boolean;
  }};
}}

/** For `createTRPCClient<AppRouter>`. */
export type AppRouter = TRPCBuiltRouter<
  {{ ctx: object; meta: object; errorShape: ErrorShape; transformer: false }},
  {{
"
    )
    .unwrap();
    for procedure in Procedure::ALL {
        let [input, output] = signature(*procedure, types);
        let kind = match procedure.kind() {
            Kind::Query => "TRPCQueryProcedure",
            Kind::Mutation => "TRPCMutationProcedure",
        };
        let name = procedure.name();
        writeln!(
            text,
            "    {name}: {kind}<{{ input: {input}; output: {output}; meta: object }}>;"
        )
        .unwrap();
    }
    text.push_str("  }\n>;\n");
    text.push_str(SEND_MESSAGE_INPUT);
    text
}

fn file() -> String {
    let mut types = Declarations {
        config: Config::new().with_large_int("number"),
        by_name: BTreeMap::new(),
    };
    let router = router(&mut types);
    let stream = stream(&mut types);
    let declarations: Vec<_> = types.by_name.into_values().collect();
    format!("{HEAD}{router}{stream}\n{}", declarations.join("\n"))
}

#[test]
fn the_declarations_of_the_client_are_the_ones_in_the_code() {
    let current = file();
    if std::env::var_os("UPDATE_CLIENT").is_some() {
        std::fs::write(FILE, &current).expect("the file can be written");
    } else {
        let stored = std::fs::read_to_string(FILE).unwrap_or_default();
        assert!(
            stored == current,
            "client/index.d.ts is stale: run UPDATE_CLIENT=1 cargo test --lib declarations"
        );
    }
}
