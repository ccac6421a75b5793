// The tokens of a git server: who may log in, from when to when.

import { randomBytes } from "node:crypto";

/** Label of a request that carried no credential. */
export const NO_TOKEN = "none";
/** Label of a request whose token was never issued. */
export const UNKNOWN_TOKEN = "unknown";

interface IssuedToken {
  label: string;
  /** Milliseconds since the Unix epoch; the token is dead from then on. */
  expiresAt: number;
}

/** Whom a request's credential belongs to. */
export interface Login {
  /** The token's label, {@link NO_TOKEN} or {@link UNKNOWN_TOKEN}. */
  label: string;
  /** Whether the token is alive. */
  valid: boolean;
}

/** Tokens by label. A dead token keeps its label, so that its use can be seen. */
export class GitTokens {
  readonly #tokens = new Map<string, IssuedToken>();

  /**
   * Makes a token that is named `label` in the request log.
   * `value` chooses the token itself, `expiresAt` the moment (milliseconds since the Unix epoch) of its death.
   */
  issue(label: string, options: { value?: string; expiresAt?: number } = {}): string {
    const value = options.value ?? `git_${randomBytes(20).toString("hex")}`;
    this.#tokens.set(value, { label, expiresAt: options.expiresAt ?? Number.POSITIVE_INFINITY });
    return value;
  }

  /** Lets a token die at `at`, milliseconds since the Unix epoch. */
  expire(label: string, at: number): void {
    for (const token of this.#tokens.values()) {
      if (token.label === label) token.expiresAt = at;
    }
  }

  /** Kills a token now. */
  revoke(label: string): void {
    this.expire(label, 0);
  }

  /** Reads an `Authorization` header: any user name, the password is the token. */
  login(authorization: string | undefined): Login {
    if (authorization === undefined) return { label: NO_TOKEN, valid: false };
    const encoded = /^basic +(\S+)$/i.exec(authorization)?.[1];
    if (encoded === undefined) return { label: UNKNOWN_TOKEN, valid: false };
    const pair = Buffer.from(encoded, "base64").toString("utf8");
    const colon = pair.indexOf(":");
    const token = colon < 0 ? undefined : this.#tokens.get(pair.slice(colon + 1));
    if (token === undefined) return { label: UNKNOWN_TOKEN, valid: false };
    return { label: token.label, valid: Date.now() < token.expiresAt };
  }
}
