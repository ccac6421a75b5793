// Fresh secrets for a run, and the bearer tokens of its users.

import { createHmac, randomBytes } from "node:crypto";

/** The secrets of one deployment. */
export interface Secrets {
  AUTH_JWT_SECRET: string;
  INTERNAL_API_SECRET: string;
  CREDENTIAL_SEALING_KEYS: string;
  RUNTIME_TOKEN: string;
}

/** Makes secrets that nobody has seen. */
export function freshSecrets(): Secrets {
  return {
    AUTH_JWT_SECRET: randomBytes(32).toString("hex"),
    INTERNAL_API_SECRET: randomBytes(32).toString("hex"),
    CREDENTIAL_SEALING_KEYS: `k1:${randomBytes(32).toString("base64")}`,
    RUNTIME_TOKEN: randomBytes(32).toString("hex"),
  };
}

/** Signs a JWT with HS256. */
export function signJwt(claims: Record<string, unknown>, secret: string): string {
  const part = (value: unknown) => Buffer.from(JSON.stringify(value)).toString("base64url");
  const signed = `${part({ alg: "HS256", typ: "JWT" })}.${part(claims)}`;
  return `${signed}.${createHmac("sha256", secret).update(signed).digest("base64url")}`;
}

/** A bearer token of `userId` that lives `seconds`. */
export function bearer(secret: string, userId: string, seconds = 3600): string {
  const now = Math.floor(Date.now() / 1000);
  return signJwt({ kiloUserId: userId, version: 3, iat: now, exp: now + seconds }, secret);
}
