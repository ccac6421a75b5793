// Each session's credential is that of the newest token, and no token is where it does not belong.

import { createHmac } from "node:crypto";
import { findInFiles, findInText, needlesOf } from "../../../tests/support/canary.ts";
import type { Secrets } from "../../support/secrets.ts";
import type { Stack } from "../../support/stack.ts";
import type { Findings } from "../findings.ts";
import { type History, possibleOwners, type SessionHistory } from "../history.ts";
import type { LogIndex } from "../log-index.ts";
import type { StoredSession, StoredSessions } from "../objects.ts";

/** What was logged this shortly before workerd was killed need not have become durable. */
const DURABLE_MS = 500;

/** Checks owner, generation and token of every session; returns for how many the order was unambiguous. */
export function checkCredentials(
  secrets: Secrets,
  history: History,
  stored: StoredSessions,
  log: LogIndex,
  findings: Findings,
): number {
  let unambiguous = 0;
  for (const session of history.sessions) {
    const object = stored.get(session.id);
    if (object === undefined) continue;
    const markers = JSON.stringify(object.markers);
    findings.check(object.markers.length === 0, `session ${session.id} keeps markers: ${markers}`);
    if (possibleOwners(session).length <= 1) unambiguous += 1;
    checkOwner(secrets, session, object, findings);
    checkLatestApplication(history, session, object, log, findings);
  }
  return unambiguous;
}

function checkOwner(
  secrets: Secrets,
  session: SessionHistory,
  { credential }: StoredSession,
  findings: Findings,
): void {
  findings.check(credential !== undefined, `session ${session.id} has no credential`);
  if (credential === undefined) return;
  const owners = possibleOwners(session);
  const owner = owners.find(({ messageId }) => messageId === credential.pointer_message_id);
  const possible = owners.map(({ messageId }) => messageId).join(", ") || "none, the first token";
  findings.check(
    owner !== undefined || (owners.length === 0 && credential.pointer_message_id === null),
    `the credential of ${session.id} came from ${credential.pointer_message_id}, not from ${possible}`,
    credential.pointer_message_id ?? undefined,
  );
  const token = owner?.token ?? session.firstToken;
  findings.check(
    credential.fingerprint === fingerprintOf(secrets, token),
    `the credential of ${session.id} is not the token of its message`,
    credential.pointer_message_id ?? undefined,
  );
  // The first token is generation 1; a token that is sent again after another one is a new generation.
  const bringers = session.messages.filter(({ token }) => token !== undefined).length;
  findings.check(
    credential.generation >= 1 + Math.min(1, bringers) && credential.generation <= 1 + bringers,
    `generation ${credential.generation} of ${session.id} does not fit ${bringers} messages with tokens`,
  );
}

/** No message whose token was first applied earlier may own the credential: a late retry brings nothing back. */
function checkLatestApplication(
  { workerKills }: History,
  session: SessionHistory,
  { credential }: StoredSession,
  log: LogIndex,
  findings: Findings,
): void {
  const owner = credential?.pointer_message_id;
  if (!owner) return;
  const ownedAt = log.first(owner, "credential_rotated");
  // The line of the newest application may have been lost with its process.
  if (ownedAt === undefined) return;
  for (const { messageId } of session.messages) {
    const appliedAt = log.first(messageId, "credential_rotated") ?? 0;
    const isCertain = !workerKills.some((at) => at >= appliedAt && at <= appliedAt + DURABLE_MS);
    findings.check(
      appliedAt <= ownedAt || !isCertain,
      `${owner} owns the credential of ${session.id}, but this message was first applied later`,
      messageId,
    );
  }
}

/** What the service shows of a token. */
export function fingerprintOf(secrets: Secrets, token: string): string {
  const [, key = ""] = secrets.CREDENTIAL_SEALING_KEYS.split(":");
  const digest = createHmac("sha256", Buffer.from(key, "base64")).update(token).digest("hex");
  return digest.slice(0, 8);
}

/**
 * Looks for tokens in files, logs and replies. All tokens of a run have `mark` in them, which stands for all of them.
 * Git finds the newest one in files outside the repository that only their owner may read, and in `origin` where that
 * is how it is handed over.
 */
export function checkPlaces(
  stack: Stack,
  history: History,
  mark: string,
  findings: Findings,
): void {
  const needles = needlesOf("a token", mark);
  const finds = findInFiles(stack.folder, needles);
  for (const { place, needle, mode } of finds) {
    const [, sessionId, ...rest] = place.split("/");
    const isOrigin =
      stack.originCredentials === "url" && rest.join("/").endsWith("repo/.git/config");
    const isPrivate = !rest.includes("repo") && mode === 0o600;
    const belongs = place.startsWith("workspaces/") && (isPrivate || isOrigin);
    findings.check(belongs, `${needle} is in ${place} (mode ${mode.toString(8)})`);
    const session = history.sessions.find(({ id }) => id === sessionId);
    if (belongs && session !== undefined) checkNewest(stack, session, place, findings);
  }
  findings.check(finds.length > 0, "no file holds a token: they were looked for in the wrong way");
  const texts: [string, readonly string[]][] = [
    ["the Worker's log", stack.worker.log.lines],
    ["the runtime's log", stack.runtime.log.lines],
    ["the replies", history.replies],
  ];
  for (const [place, lines] of texts) {
    const seen = new Set(lines.flatMap((line) => findInText(place, line, needles)));
    const names = [...new Set([...seen].map(({ needle }) => needle))].join(", ");
    findings.check(names === "", `${place} holds ${names}`);
  }
}

function checkNewest(
  stack: Stack,
  session: SessionHistory,
  place: string,
  findings: Findings,
): void {
  const current = possibleOwners(session).map(({ token }) => token);
  const older = [...session.messages.map(({ token }) => token), session.firstToken].filter(
    (token) => token !== undefined && !current.includes(token),
  ) as string[];
  const needles = older.flatMap((token) => needlesOf("an older token", token));
  const found = findInFiles(`${stack.folder}/workspaces/${session.id}`, needles).filter((find) =>
    place.endsWith(find.place),
  );
  findings.check(found.length === 0, `an older token of ${session.id} is in ${place}`);
}
