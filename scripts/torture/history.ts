// What the clients did and were told.

/** A message, as its client knows it. */
export interface SentMessage {
  messageId: string;
  /** Absent when the message brought none. */
  token: string | undefined;
  autoCommit: boolean;
  /** When its first try began, milliseconds since the Unix epoch; undefined until then. */
  firstTryAt: number | undefined;
  /** When the service was first known to have it; undefined while nobody knows. */
  acknowledgedAt: number | undefined;
}

/** A session of the run and everything that was sent to it. */
export interface SessionHistory {
  id: string;
  /** Name of its repository on the git server. */
  repository: string;
  /** The token that it was prepared with. */
  firstToken: string;
  messages: SentMessage[];
}

/** An interrupt of a session's user. */
export interface Interrupt {
  sessionId: string;
  /** When it was first asked for, milliseconds since the Unix epoch. */
  from: number;
  /** When it was known to be done; infinity while nobody knows. */
  until: number;
}

/** A session that its user deleted. */
export interface DeletedSession {
  id: string;
  /** Every token that it was given. */
  tokens: string[];
}

/** How often something happened, by its name; shown in the table of figures. */
export class Tally {
  readonly #counts = new Map<string, number>();

  add(name: string, count = 1): void {
    this.#counts.set(name, this.of(name) + count);
  }

  of(name: string): number {
    return this.#counts.get(name) ?? 0;
  }

  /** All names and counts, in the order of their first occurrence. */
  get rows(): [string, number][] {
    return [...this.#counts];
  }
}

/** Everything that a run has done so far. */
export class History {
  readonly sessions: SessionHistory[] = [];
  /** Sessions beside those, which were deleted while they worked. */
  readonly deleted: DeletedSession[] = [];
  readonly interrupts: Interrupt[] = [];
  readonly tally = new Tally();
  /** When the runtime was killed, milliseconds since the Unix epoch. */
  readonly runtimeKills: number[] = [];
  /** When workerd was killed. */
  readonly workerKills: number[] = [];
  /** Heads and bodies of all replies to clients. */
  readonly replies: string[] = [];

  /** Messages that the service is known to have. */
  get acknowledged(): number {
    return this.sessions
      .flatMap(({ messages }) => messages)
      .filter(({ acknowledgedAt }) => acknowledgedAt !== undefined).length;
  }
}

/**
 * The messages whose token may be the session's credential, going by the clients' own order: those after whose
 * acknowledgement no other message with a token was begun.
 */
export function possibleOwners(session: SessionHistory): SentMessage[] {
  const rotating = session.messages.filter(
    ({ token, firstTryAt }) => token !== undefined && firstTryAt !== undefined,
  );
  return rotating.filter(
    ({ acknowledgedAt = Number.POSITIVE_INFINITY }) =>
      !rotating.some(({ firstTryAt = 0 }) => firstTryAt > acknowledgedAt),
  );
}
