// Generated from the service's own types; a test fails when it is stale.

import type {
  TRPCBuiltRouter,
  TRPCMutationProcedure,
  TRPCQueryProcedure,
} from "@trpc/server";

/**
 * Why a message was refused. Clients know all of these; those of `SERVICE_UNAVAILABLE` are not answered any more, since
 * such a failure shows in the result of the admitted message.
 */
export type AdmissionCode =
  | "NOT_FOUND"
  | "BAD_REQUEST"
  | "PENDING_QUEUE_FULL"
  | "INTERNAL"
  | "SANDBOX_CONNECT_FAILED"
  | "WORKSPACE_SETUP_FAILED"
  | "KILO_SERVER_FAILED"
  | "WRAPPER_START_FAILED"
  | "WRAPPER_FINALIZING";

/** The tRPC codes that clients of the service know. */
export type ErrorCode =
  | "BAD_REQUEST"
  | "UNAUTHORIZED"
  | "FORBIDDEN"
  | "NOT_FOUND"
  | "METHOD_NOT_SUPPORTED"
  | "CONFLICT"
  | "PAYLOAD_TOO_LARGE"
  | "UNSUPPORTED_MEDIA_TYPE"
  | "TOO_MANY_REQUESTS"
  | "INTERNAL_SERVER_ERROR"
  | "SERVICE_UNAVAILABLE";

/** What an error looks like to a client; a `TRPCClientError<AppRouter>` has it as `shape`. */
export interface ErrorShape {
  message: string;
  /** The number of the code in JSON-RPC. */
  code: number;
  data: {
    code: ErrorCode;
    httpStatus: number;
    path?: string;
    error?: AdmissionCode;
    /** Whether the same call may succeed later. */
    retryable?: boolean;
  };
}

/** For `createTRPCClient<AppRouter>`. */
export type AppRouter = TRPCBuiltRouter<
  { ctx: object; meta: object; errorShape: ErrorShape; transformer: false },
  {
    prepareSession: TRPCMutationProcedure<{ input: PrepareSessionInput; output: PrepareSessionOutput; meta: object }>;
    updateSession: TRPCMutationProcedure<{ input: UpdateSessionInput; output: UpdateSessionOutput; meta: object }>;
    initiateFromKilocodeSessionV2: TRPCMutationProcedure<{ input: InitiateSessionInput; output: Acknowledgement; meta: object }>;
    sendMessageV2: TRPCMutationProcedure<{ input: SendMessageInput; output: Acknowledgement; meta: object }>;
    getSession: TRPCQueryProcedure<{ input: GetSessionInput; output: GetSessionOutput; meta: object }>;
    getMessageResult: TRPCQueryProcedure<{ input: GetMessageResultInput; output: GetMessageResultOutput; meta: object }>;
    interruptSession: TRPCMutationProcedure<{ input: InterruptSessionInput; output: InterruptSessionOutput; meta: object }>;
    deleteSession: TRPCMutationProcedure<{ input: DeleteSessionInput; output: DeleteSessionOutput; meta: object }>;
    health: TRPCQueryProcedure<{ input: void; output: HealthOutput; meta: object }>;
  }
>;

/** The input of `sendMessageV2`, in one of its three forms. */
export type SendMessageInput = SendMessageFields &
  (
    | { prompt: string; mode: string; model: string }
    | { payload: { type: "prompt"; prompt: string; mode: string; model: string } }
    | { payload: { type: "command"; command: string } }
  );

/** What stands in the `data` of an event, by its type. */
export interface StreamEventData {
  "cloud.message.queued": QueuedData;
  "cloud.message.sent": SentData;
  "cloud.message.completed": CompletedData;
  "cloud.message.failed": FailedData;
  "cloud.credential.required": CredentialRequiredData;
  "kilocode": KilocodeData;
  "autocommit_started": AutocommitStartedData;
  "autocommit_completed": AutocommitCompletedData;
  "connected": ConnectedData;
  "preparing": PreparingData;
  "cloud.status": CloudStatusData;
  "output": OutputData;
}

/** What a `streamEventType` can be. */
export type StreamEventType = keyof StreamEventData;

/** The types of events that are stored: they have ids above 0 and come again after a lower `fromId`. */
export type StoredEventType =
  | "cloud.message.queued"
  | "cloud.message.sent"
  | "cloud.message.completed"
  | "cloud.message.failed"
  | "cloud.credential.required"
  | "kilocode"
  | "autocommit_started"
  | "autocommit_completed";

/** An event of the stream, told apart by its `streamEventType`. */
export type StreamEvent = {
  [Type in StreamEventType]: {
    /** Rises from one stored event to the next; 0 for one that is not stored. */
    eventId: number;
    /** The message that it belongs to. */
    executionId?: string;
    sessionId: string;
    streamEventType: Type;
    /** When it happened, in ISO 8601. */
    timestamp: string;
    data: StreamEventData[Type];
  };
}[StreamEventType];

/** What an error of the stream is, for programs. `WS_RECONNECT` asks to connect again with `fromId`. */
export type StreamErrorCode =
  | "WS_PROTOCOL_ERROR"
  | "WS_AUTH_ERROR"
  | "WS_SESSION_NOT_FOUND"
  | "WS_DUPLICATE_CONNECTION"
  | "WS_RECONNECT"
  | "WS_INTERNAL_ERROR";

/** An error of the stream: a frame, or the body of a refused upgrade. */
export interface StreamError {
  type: "error";
  code: StreamErrorCode;
  /** A sentence for people. */
  message: string;
}

/** What a message of the WebSocket holds, as JSON. */
export type StreamFrame = StreamEvent | StreamError;

/** The answer to an admitted message. */
export type Acknowledgement = {
  /** The session. */
  cloudAgentSessionId: string;
  /** Always `started`, which does not mean that anything runs. */
  status: Started;
  /** Path and query of the session's stream. */
  streamUrl: string;
  /** The message. */
  messageId: string;
  /** Whether it was delivered before, on a replay. */
  delivery: Delivery;
  /** The message's id again, for older clients. */
  executionId: string;
};

/** The agent's answer. */
export type AssistantOutput = {
  /** The agent's own id of it. */
  messageId: string;
  /** Its text. */
  text?: string;
};

/** Uploaded files: the folder that they are in and their names. */
export type Attachments = {
  /** The folder. */
  path: string;
  /** The names, 1 to 5. */
  files: Array<string>;
};

/** The agent's changes were committed and pushed. */
export type AutocommitCompletedData = {
  /** The message. */
  messageId: string;
  /** Always true: what does not go well ends the message. */
  success: boolean;
  /** The commit; absent when there was nothing to commit. */
  commitHash?: string;
  /** Whether the branch was pushed. */
  pushed: boolean;
};

/** The agent's changes are being committed and pushed. */
export type AutocommitStartedData = {
  /** The message. */
  messageId: string;
};

/** What a callback says: the body of the request that reports a batch of messages to a `callbackTarget`. */
export type CallbackPayload = {
  /** The session. */
  sessionId: string;
  /** The session. */
  cloudAgentSessionId: string;
  /** The message. */
  executionId: string;
  /** The message that ended last of those that are reported together. */
  messageId: string;
  /** How it ended. */
  status: EndStatus;
  /** Why it did not complete. */
  errorMessage?: string;
  /** The branch that the workspace was on last. */
  lastSeenBranch?: string;
  /** The agent's own id of the session. */
  kiloSessionId: string;
  /** What the agent's gate said. */
  gateResult?: GateResult;
  /** The text of the agent's answer. */
  lastAssistantMessageText?: string;
  /** What it came to, if it completed. */
  completionData?: ReportedCompletion;
  /** The same for every try to report it. */
  idempotencyKey: string;
};

/** The field `callbackTarget`. */
export type CallbackTarget = {
  /** An https URL. */
  url: string;
  /** Headers to send with each report. */
  headers?: Record<string, string>;
};

/** The state of a session's workspace. */
export type CloudStatus = { "type": "preparing", step?: string, message?: string } | { "type": "ready" } | { "type": "finalizing", step: string, message: string } | { "type": "error", message: string };

/** The state of the workspace changed. */
export type CloudStatusData = {
  /** What it is now. */
  cloudStatus: CloudStatus;
};

/** A message completed. */
export type CompletedData = {
  /** The message. */
  messageId: string;
  /** Always `completed`. */
  status: EndStatus;
  /** Always `sent`. */
  delivery: Delivery;
  /** Always true. */
  accepted: boolean;
  /** What brought it about. */
  completionSource: CompletionSource;
  /** The agent's own id of its answer. */
  assistantMessageId?: string;
  /** What the agent's gate said. */
  gateResult?: GateResult;
  /** What it came to. */
  completionData: CompletionData;
};

/** What a completed message came to. */
export type CompletionData = {
  /** The agent's own id of its answer. */
  assistantMessageId?: string;
  /** What the agent's gate said. */
  gateResult?: GateResult;
  /** The branch that the workspace was on last. */
  lastSeenBranch?: string;
  /** When it completed. */
  completedAt: number;
  /** What brought it about. */
  source: CompletionSource;
};

/** What brought a message to its end, as clients know it. */
export type CompletionSource = "assistant_message_event" | "idle_reconciliation" | "wrapper_failure" | "delivery_failure" | "interrupt";

/** A connection has had everything that is stored. */
export type ConnectedData = {
  /** The state of the workspace; absent before anything was asked for. */
  cloudStatus?: CloudStatus;
  /** The newest stored event; 0 when there is none. */
  latestEventId: number;
};

/** Which credential is current, without showing it. */
export type CredentialOutput = {
  /** Counts the changes. */
  generation: number;
  /** When it last changed. */
  updatedAt: number;
  /** The message that brought it; absent when it came otherwise. */
  messageId?: string;
  /** 8 hex digits that are the same for the same token; empty while the session waits for its first one. */
  fingerprint: string;
  /** Since when the session waits for a newer one. */
  waitingSince?: number;
};

/** The remote refused the current credential: the session waits for a newer one. */
export type CredentialRequiredData = {
  /** The refused generation. */
  generation: number;
  /** The message that could not be delivered with it. */
  messageId?: string;
  /** When it was first refused. */
  waitingSince: number;
  /** When the messages that would use it fail. */
  waitingUntil: number;
};

/** The input of `deleteSession`. */
export type DeleteSessionInput = {
  /** The session. */
  sessionId: string;
};

/** The answer of `deleteSession`. */
export type DeleteSessionOutput = {
  /** Always true. */
  success: boolean;
  /** One sentence. */
  message?: string;
};

/** How far a message is, as acknowledgements and events say it. */
export type Delivery = "queued" | "sent";

/** The encrypted value of an environment variable. */
export type EncryptedSecret = {
  /** The ciphertext. */
  encryptedData: string;
  /** The key, encrypted itself. */
  encryptedDEK: string;
  /** How it is encrypted. */
  algorithm: "rsa-aes-256-gcm";
  /** The version of this shape. */
  version: 1;
};

/** How a message ended. */
export type EndStatus = "completed" | "failed" | "interrupted";

/** Whether the runtime gives signs of life. */
export type ExecutionHealth = "healthy" | "stale";

/** The message that is at work or comes next. */
export type ExecutionOutput = {
  /** The message. */
  id: string;
  /** Whether it is at work. */
  status: ExecutionStatus;
  /** The session's timestamp, which is not when it started. */
  startedAt: number;
  /** Always `null`. */
  lastHeartbeat: null;
  /** Always `null`. */
  processId: null;
  /** Always `null`. */
  error: null;
  /** Whether the runtime gives signs of life. */
  health: ExecutionHealth;
};

/** Whether a message is at work. */
export type ExecutionStatus = "pending" | "running";

/** A message failed or was stopped. */
export type FailedData = {
  /** The message. */
  messageId: string;
  /** `failed` or `interrupted`. */
  status: EndStatus;
  /** `sent` when its agent was started. */
  delivery: Delivery;
  /** Whether its agent was started. */
  accepted: boolean;
  /** What brought it about. */
  completionSource: CompletionSource;
  /** Why, in a word. */
  reason: FailureReason;
  /** How often it was delivered, where that is told. */
  attempts?: number;
  /** The failure's sentence. */
  error: string;
  /** Why. */
  failure: MessageFailure;
};

/** What failed. */
export type FailureCode = "sandbox_connect_failed" | "workspace_setup_failed" | "kilo_server_failed" | "wrapper_start_failed" | "invalid_delivery_request" | "session_metadata_missing" | "model_missing" | "delivery_failure_unknown" | "wrapper_disconnected" | "wrapper_no_output" | "wrapper_ping_timeout" | "wrapper_error_before_activity" | "assistant_error" | "wrapper_error_after_activity" | "missing_assistant_reply" | "payment_required" | "user_interrupt" | "container_shutdown" | "system_interrupt" | "unclassified";

/** Why a message did not complete, in a word. */
export type FailureReason = "exhausted" | "failed" | "interrupted";

/** How far a message had come when it failed. */
export type FailureStage = "pre_dispatch" | "post_dispatch_no_activity" | "agent_activity" | "interruption";

/** Which part of preparing a workspace failed. */
export type FailureSubtype = "git_clone_timeout" | "git_checkout_timeout" | "git_authentication_failed" | "git_rate_limited" | "git_network_failed" | "git_pack_corrupt" | "git_checkout_conflict" | "git_branch_missing" | "sandbox_storage_full" | "kilo_import_timeout" | "kilo_import_failed" | "setup_command_timeout" | "setup_command_failed" | "workspace_setup_unknown";

/** Whether what an agent found is within the session's `gateThreshold`. */
export type GateResult = "pass" | "fail";

/** The input of `getMessageResult`. */
export type GetMessageResultInput = {
  /** The session. */
  cloudAgentSessionId: string;
  /** The message. */
  messageId: string;
};

/** The answer of `getMessageResult`. */
export type GetMessageResultOutput = {
  /** The session. */
  cloudAgentSessionId: string;
  /** The message. */
  messageId: string;
  /** How far it is. */
  status: MessageStatus;
  /** When it was admitted. */
  createdAt: number;
  /** When it was queued. */
  queuedAt?: number;
  /** When its agent was started. */
  acceptedAt?: number;
  /** When it ended. */
  terminalAt?: number;
  /** What ended it. */
  completionSource?: CompletionSource;
  /** Why it did not complete. */
  failure?: MessageFailure;
  /** What the agent's gate said. */
  gateResult?: GateResult;
  /** The agent's answer. */
  assistant?: AssistantOutput;
};

/** The input of `getSession`. */
export type GetSessionInput = {
  /** The session. */
  cloudAgentSessionId: string;
};

/** The answer of `getSession`. It never holds a token, an environment variable, a setup command or a callback. */
export type GetSessionOutput = {
  /** The session. */
  sessionId: string;
  /** The agent's own id of the session. */
  kiloSessionId?: string;
  /** Whose it is. */
  userId: string;
  /** The organization that it belongs to. */
  orgId?: string;
  /** Where it runs. */
  sandboxId?: string;
  /** `owner/name` of a repository on GitHub. */
  githubRepo?: string;
  /** The URL of any other repository. */
  gitUrl?: string;
  /** The service that hosts the repository. */
  platform?: string;
  /** The first prompt. */
  prompt?: string;
  /** The agent's mode. */
  mode?: string;
  /** The agent's model. */
  model?: string;
  /** The model's variant. */
  variant?: string;
  /** Commit and push the agent's changes. */
  autoCommit?: boolean;
  /** The branch that was asked for, or that the workspace is on. */
  upstreamBranch?: string;
  /** Agents besides the built-in ones. */
  runtimeAgents?: Array<RuntimeAgent>;
  /** The message that is at work or comes next; `null` when there is none. */
  execution: ExecutionOutput | null;
  /** The session's credential, if its repository is generic git and it has one. */
  credential?: CredentialOutput;
  /** When the workspace was first ready. */
  preparedAt?: number;
  /** When the first message was accepted. */
  initiatedAt?: number;
  /** The first message. */
  initialMessageId?: string;
  /** When the session was prepared. */
  timestamp: number;
  /** Counts the changes of what the session knows about itself. */
  version: number;
  /** The newest event. */
  latestEventId?: number;
};

/** The answer of `health`, and of `GET /health`. */
export type HealthOutput = {
  /** Always `ok`. */
  status: string;
  /** The time, in ISO 8601. */
  timestamp: string;
};

/** Uploaded images, as older clients send them. */
export type Images = {
  /** The folder. */
  path: string;
  /** The names, 1 to 5. */
  files: Array<string>;
};

/** The input of `initiateFromKilocodeSessionV2`. */
export type InitiateSessionInput = {
  /** The session. */
  cloudAgentSessionId: string;
};

/** The input of `interruptSession`. */
export type InterruptSessionInput = {
  /** The session. */
  sessionId: string;
};

/** The answer of `interruptSession`, also for a session that is not there. */
export type InterruptSessionOutput = {
  /** Whether there is such a session. */
  success: boolean;
  /** One sentence. */
  message: string;
  /** Always false. */
  processesFound: boolean;
};

/** The answer of `POST /stream-ticket`. */
export type IssuedTicket = {
  /** The ticket. */
  ticket: string;
  /** The first second, since 1970, at which it is worth nothing. */
  expiresAt: number;
};

/** A line of JSON that the agent printed, as it came. */
export type KilocodeData = unknown;

/** A failure as clients see it: vocabulary and fixed sentences, no captured output. */
export type MessageFailure = {
  /** How far the message had come. */
  stage: FailureStage;
  /** What failed. */
  code: FailureCode;
  /** Which part of the workspace's preparation failed. */
  subtype?: FailureSubtype;
  /** How often it was delivered, where that is told. */
  attempts?: number;
  /** A fixed sentence, with facts such as an exit code. */
  message: string;
  /** Whether sending the same content as a new message may succeed. */
  retryable: boolean;
};

/** How far a message is. */
export type MessageStatus = "queued" | "running" | "completed" | "failed" | "interrupted";

/** A line that the agent printed and that is not JSON. */
export type OutputData = {
  /** The message. */
  messageId: string;
  /** The line without its end. */
  content: string;
  /** Always `stdout`. */
  source: string;
  /** How many lines before it were left out. */
  skippedLines?: number;
};

/** The input of `prepareSession`. Unknown keys are dropped. */
export type PrepareSessionInput = {
  /** What the user asks; the first turn unless there is an `initialPayload`. */
  prompt: string;
  /** The agent's mode. */
  mode: string;
  /** The agent's model. */
  model: string;
  /** The model's variant. */
  variant?: string;
  /** Files that come with the prompt. */
  attachments?: Attachments;
  /** Files, as older clients send them. */
  images?: Images;
  /** The first turn, in place of the prompt. */
  initialPayload?: TurnPayload;
  /** The id of the first message. */
  initialMessageId?: string;
  /** Admit the first message at once. */
  autoInitiate?: boolean;
  /** What to add to the agent's instructions; needed for the mode `custom`. */
  appendSystemPrompt?: string;
  /** A repository on GitHub. */
  githubRepo?: string;
  /** The https URL of any other repository. */
  gitUrl?: string;
  /** Accepted and ignored. */
  githubToken?: unknown;
  /** A token for a generic git repository. */
  gitToken?: string;
  /** The service that hosts the repository. */
  platform?: "github" | "gitlab" | "bitbucket";
  /** The branch to work on. */
  upstreamBranch?: string;
  /** Clone without history. */
  shallow?: boolean;
  /** Commit and push the agent's changes after each turn. */
  autoCommit?: boolean;
  /** Ask the agent to condense its context after each turn. */
  condenseOnComplete?: boolean;
  /** Which findings the agent's gate is to fail for. */
  gateThreshold?: "off" | "all" | "warning" | "critical";
  /** Environment variables. */
  envVars?: Record<string, string>;
  /** Encrypted environment variables. */
  encryptedSecrets?: { [key in string]: EncryptedSecret };
  /** Shell commands that prepare a fresh workspace. */
  setupCommands?: Array<string>;
  /** MCP servers, passed through. */
  mcpServers?: Record<string, unknown>;
  /** Skills, passed through. */
  runtimeSkills?: unknown;
  /** Agents, passed through. */
  runtimeAgents?: Array<RuntimeAgent & Record<string, unknown>>;
  /** Slash commands, passed through. */
  kiloCommands?: unknown;
  /** Where to report what became of messages. */
  callbackTarget?: CallbackTarget;
  /** The organization that the session belongs to. */
  kilocodeOrganizationId?: string;
  /** The profile that the caller took settings from. */
  profileId?: string;
  /** The platform that the session was created on. */
  createdOnPlatform?: string;
  /** Work in a devcontainer, which is not supported. */
  devcontainer?: boolean;
};

/** The answer of `prepareSession`. */
export type PrepareSessionOutput = {
  /** The new session. */
  cloudAgentSessionId: string;
  /** The agent's own id of the session. */
  kiloSessionId: string;
};

/** The preparation of the workspace went on. */
export type PreparingData = {
  /** What is going on; the last step is `ready` or `failed`. */
  step: string;
  /** A sentence for people. */
  message: string;
  /** How far it is, 0 to 100, where git says so. */
  percent?: number;
};

/** A message is in the queue. */
export type QueuedData = {
  /** The message. */
  messageId: string;
  /** What the user asked; a slash command as it is typed. */
  content: string;
  /** Always `queued`. */
  delivery: Delivery;
};

/** What a completed message came to, as a callback says it. */
export type ReportedCompletion = {
  /** The text of the agent's answer. */
  lastAssistantMessageText?: string;
  /** The agent's own id of its answer. */
  assistantMessageId?: string;
  /** What the agent's gate said. */
  gateResult?: GateResult;
  /** The branch that the workspace was on last. */
  lastSeenBranch?: string;
  /** When it completed. */
  completedAt: number;
  /** What brought it about. */
  source: CompletionSource;
};

/** What a session needs to know of an agent. */
export type RuntimeAgent = {
  /** The mode that chooses it. */
  slug: string;
  /** Its name for people. */
  name: string;
  /** Its model. */
  model?: string;
  /** The model's variant. */
  variant?: string;
};

/**
 * The fields of `sendMessageV2`. Three forms are told apart by them: `prompt`, `mode` and `model` at top level; a
 * `payload` of type `prompt`; a `payload` of type `command`. Unknown keys are dropped.
 */
export type SendMessageFields = {
  /** The session. */
  cloudAgentSessionId: string;
  /** The message's id; `null` is the same as none. */
  messageId?: string | null;
  /** The text. */
  prompt?: string;
  /** The agent's mode. */
  mode?: string;
  /** The agent's model. */
  model?: string;
  /** The model's variant. */
  variant?: string;
  /** The turn, looked at only when the first form is not complete. */
  payload?: TurnPayload;
  /** Files. */
  attachments?: Attachments;
  /** Files, as older clients send them. */
  images?: Images;
  /** Commit and push the agent's changes. */
  autoCommit?: boolean;
  /** Ask the agent to condense its context. */
  condenseOnComplete?: boolean;
  /** A token for a generic git repository. */
  gitToken?: string;
  /** Accepted and ignored. */
  githubToken?: unknown;
};

/** A message's agent was started. */
export type SentData = {
  /** The message. */
  messageId: string;
  /** Always `sent`. */
  delivery: Delivery;
};

/** The one status of an acknowledgement. */
export type Started = "started";

/** The body of `POST /stream-ticket`. */
export type TicketRequest = {
  /** The session. */
  cloudAgentSessionId: string;
  /** The organization that the user works in; noted in the ticket. */
  organizationId?: string;
};

/** A turn in the field `payload` or `initialPayload`. Which fields must be there depends on the kind. */
export type TurnPayload = {
  /** What it is. */
  type: "prompt" | "command";
  /** The text. */
  prompt?: string;
  /** The agent's mode. */
  mode?: string;
  /** The agent's model. */
  model?: string;
  /** The model's variant. */
  variant?: string;
  /** The name of the slash command. */
  command?: string;
  /** Its arguments. */
  arguments?: string;
};

/** The input of `updateSession`. */
export type UpdateSessionInput = {
  /** The session. */
  cloudAgentSessionId: string;
  /** The new callback; `null` clears it. */
  callbackTarget?: CallbackTarget | null;
  /** A token for a generic git repository. */
  gitToken?: string;
};

/** The answer of `updateSession`. */
export type UpdateSessionOutput = {
  /** Always true. */
  success: boolean;
};
