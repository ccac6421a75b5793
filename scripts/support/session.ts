// One session, as its user sees it.

import type {
  Acknowledgement,
  GetMessageResultOutput,
  GetSessionOutput,
} from "../../client/index.d.ts";
import type { Client } from "./client.ts";
import { messageId } from "./client.ts";
import { waitFor } from "./wait.ts";

/** A follow-up; prompt and message id are made when they are absent. */
export interface FollowUp {
  prompt?: string;
  messageId?: string;
  mode?: string;
  model?: string;
  gitToken?: string;
  githubToken?: string;
  autoCommit?: boolean;
}

/** Milliseconds within which a turn of a small repository ends. */
const RESULT_MS = 30_000;

/** A prepared session and the client that it is used with. */
export class Session {
  readonly id: string;
  readonly client: Client;

  constructor(client: Client, id: string) {
    this.client = client;
    this.id = id;
  }

  /** Prepares a session; `input` needs a repository, the rest has defaults. */
  static async prepare(client: Client, input: Record<string, unknown>): Promise<Session> {
    const prepared = await client.mutation("prepareSession", {
      prompt: "Write down what you see.",
      mode: "code",
      model: "test/model",
      ...input,
    });
    return new Session(client, (prepared as { cloudAgentSessionId: string }).cloudAgentSessionId);
  }

  /** The same session through another client. */
  through(client: Client): Session {
    return new Session(client, this.id);
  }

  /** Starts the first turn. */
  async initiate(): Promise<Acknowledgement> {
    return (await this.client.mutation("initiateFromKilocodeSessionV2", {
      cloudAgentSessionId: this.id,
    })) as Acknowledgement;
  }

  /** Sends a follow-up. */
  async send(followUp: FollowUp = {}): Promise<Acknowledgement> {
    return (await this.client.mutation("sendMessageV2", {
      cloudAgentSessionId: this.id,
      prompt: "Go on.",
      mode: "code",
      model: "test/model",
      messageId: messageId(),
      ...followUp,
    })) as Acknowledgement;
  }

  /** What became of a message so far. */
  async result(id: string): Promise<GetMessageResultOutput> {
    return (await this.client.query("getMessageResult", {
      cloudAgentSessionId: this.id,
      messageId: id,
    })) as GetMessageResultOutput;
  }

  /** Waits until a message is terminal. */
  async ended(id: string, timeoutMs = RESULT_MS): Promise<GetMessageResultOutput> {
    return await waitFor(
      `the end of message ${id}`,
      async () => {
        const result = await this.result(id);
        return result.status === "queued" || result.status === "running" ? undefined : result;
      },
      timeoutMs,
    );
  }

  /** Waits until a message is terminal, and throws unless it completed. */
  async completed(id: string, timeoutMs = RESULT_MS): Promise<GetMessageResultOutput> {
    const result = await this.ended(id, timeoutMs);
    if (result.status !== "completed") {
      throw new Error(`message ${id} ended as ${JSON.stringify(result)}`);
    }
    return result;
  }

  /** Sends a follow-up and waits until it has completed. Returns its id. */
  async turn(followUp: FollowUp = {}): Promise<string> {
    const { messageId: id } = await this.send(followUp);
    await this.completed(id);
    return id;
  }

  /** Waits until the session waits for a newer credential. */
  async waitsForCredential(): Promise<void> {
    await waitFor(
      "the session to wait for a credential",
      async () => (await this.view()).credential?.waitingSince,
    );
  }

  /** The session's state. */
  async view(): Promise<GetSessionOutput> {
    return (await this.client.query("getSession", {
      cloudAgentSessionId: this.id,
    })) as GetSessionOutput;
  }
}
