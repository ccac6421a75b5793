// The checks of the kill test find what they look for.

import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { test } from "node:test";
import { messageId } from "../../scripts/support/client.ts";
import { freshSecrets } from "../../scripts/support/secrets.ts";
import { checkCredentials, fingerprintOf } from "../../scripts/torture/checks/credentials.ts";
import { checkMessages, type MessageEvidence } from "../../scripts/torture/checks/messages.ts";
import { Findings } from "../../scripts/torture/findings.ts";
import { History, type SentMessage } from "../../scripts/torture/history.ts";
import { LogIndex } from "../../scripts/torture/log-index.ts";
import type { EventRow, MessageRow, StoredSession } from "../../scripts/torture/objects.ts";

const SESSION = "agent_0f8fad5b-d9cb-469f-a165-70867728950e";
const secrets = freshSecrets();

/** Two messages, one after the other, each with a token of its own, of which nothing is wrong. */
class Story {
  readonly history = new History();
  readonly first = sent(1000, 1100);
  readonly second = sent(1200, 1300);
  readonly object: StoredSession;
  readonly starts = new Map<string, number[]>();
  readonly ends = new Map<string, number[]>();
  readonly workerLog: string[] = [];

  constructor() {
    const messages = [this.first, this.second];
    const firstToken = randomBytes(8).toString("hex");
    this.history.sessions.push({ id: SESSION, repository: "repository", firstToken, messages });
    for (const { messageId: id, firstTryAt = 0 } of messages) {
      this.starts.set(id, [firstTryAt + 10]);
      this.log(id, "credential_rotated", firstTryAt);
    }
    this.object = {
      messages: messages.map(completedRow),
      events: messages.flatMap(eventsOf),
      markers: [],
      credential: {
        generation: 3,
        fingerprint: fingerprintOf(secrets, this.second.token ?? ""),
        pointer_message_id: this.second.messageId,
      },
    };
  }

  log(id: string, event: string, at: number): void {
    this.workerLog.push(JSON.stringify({ at, event, messageId: id }));
  }

  /** What the checks say. */
  get findings(): string[] {
    const findings = new Findings();
    const log = new LogIndex(this.workerLog, []);
    const stored = new Map([[SESSION, this.object]]);
    const { history, starts, ends } = this;
    const evidence: MessageEvidence = { history, stored, starts, ends, log };
    checkMessages(evidence, findings);
    checkCredentials(secrets, history, stored, log, findings);
    return findings.all.map(({ text }) => text);
  }
}

function sent(firstTryAt: number, acknowledgedAt: number): SentMessage {
  const token = randomBytes(8).toString("hex");
  return { messageId: messageId(), token, autoCommit: false, firstTryAt, acknowledgedAt };
}

function completedRow({ messageId: id }: SentMessage, position: number): MessageRow {
  const state = JSON.stringify({ phase: "completed", acceptedAt: 1250, terminalAt: 1400 });
  return { position, message_id: id, phase: "completed", state };
}

function eventsOf({ messageId: id }: SentMessage, index: number): EventRow[] {
  const payload = JSON.stringify({ messageId: id });
  return [
    { id: 2 * index, kind: "cloud.message.queued", payload },
    { id: 2 * index + 1, kind: "cloud.message.completed", payload },
  ];
}

function fail(story: Story, code: string): void {
  const [row] = story.object.messages;
  const [, event] = story.object.events;
  assert.ok(row && event);
  row.phase = "failed";
  row.state = JSON.stringify({ acceptedAt: 1250, terminalAt: 1400, failure: { code } });
  event.kind = "cloud.message.failed";
}

/** The first message was stopped between these two moments. */
function interrupt(story: Story, from: number, until: number): void {
  const [row] = story.object.messages;
  const [, event] = story.object.events;
  assert.ok(row && event);
  row.phase = "interrupted";
  row.state = JSON.stringify({ acceptedAt: 1250, terminalAt: 1400 });
  event.kind = "cloud.message.failed";
  story.history.interrupts.push({ sessionId: SESSION, from, until });
}

const VIOLATIONS: [string, (story: Story) => void, RegExp][] = [
  ["a lost message", ({ object }) => object.messages.pop(), /is not stored/],
  [
    "a message that nobody acknowledged",
    ({ first }) => {
      first.acknowledgedAt = undefined;
    },
    /never acknowledged/,
  ],
  [
    "a message that has not ended",
    ({ object }) => Object.assign(object.messages[0] ?? {}, { phase: "accepted" }),
    /has not ended/,
  ],
  ["a missing event", ({ object }) => object.events.pop(), /0 terminal events/],
  [
    "an event that is there twice",
    ({ object }) => object.events.push(...object.events.slice(1, 2)),
    /2 terminal events/,
  ],
  ["a message that was not queued", ({ object }) => object.events.shift(), /0 queued events/],
  [
    "an agent that was started twice",
    ({ starts, first }) => starts.set(first.messageId, [1010, 1020]),
    /started 2 times/,
  ],
  [
    "an agent that was never started",
    ({ starts, first }) => starts.delete(first.messageId),
    /never started/,
  ],
  ["a failure without a kill", (story) => fail(story, "container_shutdown"), /killed 0 times/],
  [
    "a failure for another reason than the kill",
    (story) => {
      fail(story, "wrapper_no_output");
      story.history.runtimeKills.push(1300);
    },
    /failed with wrapper_no_output/,
  ],
  [
    "an interrupt that nobody asked for",
    (story) => interrupt(story, 1401, 1500),
    /nobody asked for/,
  ],
  ["a marker", ({ object }) => object.markers.push({}), /keeps markers/],
  [
    "an older message that owns the credential",
    ({ object, first }) => {
      const fingerprint = fingerprintOf(secrets, first.token ?? "");
      object.credential = { generation: 4, fingerprint, pointer_message_id: first.messageId };
    },
    /came from msg_/,
  ],
  [
    "a late retry that owns the credential",
    ({ object, first }) => {
      first.acknowledgedAt = 1400;
      const fingerprint = fingerprintOf(secrets, first.token ?? "");
      object.credential = { generation: 4, fingerprint, pointer_message_id: first.messageId };
    },
    /first applied later/,
  ],
  [
    "another token than the owner's",
    ({ object, first }) =>
      Object.assign(object.credential ?? {}, {
        fingerprint: fingerprintOf(secrets, first.token ?? ""),
      }),
    /not the token of its message/,
  ],
];

test("a story of which nothing is wrong", () => {
  assert.deepEqual(new Story().findings, []);
});

test("a failure that a kill of the runtime explains, and a repeated delivery that the log explains", () => {
  const story = new Story();
  fail(story, "container_shutdown");
  story.history.runtimeKills.push(1300);
  story.starts.set(story.first.messageId, [1010, 1020]);
  story.log(story.first.messageId, "delivery_retried", 1015);
  assert.deepEqual(story.findings, []);
});

test("an interrupt that the user asked for", () => {
  const story = new Story();
  interrupt(story, 1390, 1410);
  assert.deepEqual(story.findings, []);
});

for (const [what, harm, expected] of VIOLATIONS) {
  test(`finds ${what}`, () => {
    const story = new Story();
    harm(story);
    assert.match(story.findings.join("\n"), expected);
  });
}
