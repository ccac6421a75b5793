// Generated from the service's own types; a test fails when it is stale.

import type {
  TRPCBuiltRouter,
  TRPCMutationProcedure,
  TRPCQueryProcedure,
} from "@trpc/server";

/** Why the service refused, where it is more exact than the tRPC code. */
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

/** The tRPC codes that the service answers. */
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

/** The field `callbackTarget`. */
export type CallbackTarget = {
  /** An https URL. */
  url: string;
  /** Headers to send with each report. */
  headers?: Record<string, string>;
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

/** How far an acknowledged message is. */
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
  completionSource?: string;
  /** Why it did not complete. */
  failure?: MessageFailure;
  /** What the agent's gate said. */
  gateResult?: string;
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

/** A failure as clients see it: vocabulary and fixed sentences, no captured output. */
export type MessageFailure = {
  /** How far the message had come. */
  stage: string;
  /** What failed. */
  code: string;
  /** Which part of the workspace's preparation failed. */
  subtype?: string;
  /** How often it was delivered, where that is told. */
  attempts?: number;
  /** A fixed sentence, with facts such as an exit code. */
  message: string;
  /** Whether sending the same content as a new message may succeed. */
  retryable: boolean;
};

/** How far a message is. */
export type MessageStatus = "queued" | "running" | "completed" | "failed" | "interrupted";

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
 * The input of `sendMessageV2`. Three forms are told apart by their fields: `prompt`, `mode` and `model` at top
 * level; a `payload` of type `prompt`; a `payload` of type `command`. Unknown keys are dropped.
 */
export type SendMessageInput = {
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

/** The one status of an acknowledgement. */
export type Started = "started";

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
