// Bearer tokens: HS256 JWTs, checked with WebCrypto.

import type { CryptoKey } from "./platform.ts";

const keys = new Map<string, Promise<CryptoKey>>();

/** The key of a secret, imported once. */
function keyOf(secret: string): Promise<CryptoKey> {
  let key = keys.get(secret);
  if (key === undefined) {
    const algorithm = { name: "HMAC", hash: "SHA-256" };
    const bytes = new TextEncoder().encode(secret);
    key = crypto.subtle.importKey("raw", bytes, algorithm, false, ["verify"]);
    keys.set(secret, key);
  }
  return key;
}

/** The user whose valid token the request carries; undefined when it carries none. */
export async function authenticate(request: Request, secret: string): Promise<string | undefined> {
  const token = /^Bearer (\S+)$/i.exec(request.headers.get("authorization") ?? "")?.[1];
  const [header, claims, signature, ...rest] = token?.split(".") ?? [];
  if (header === undefined || claims === undefined || signature === undefined || rest.length > 0) {
    return undefined;
  }
  if (parse(header).alg !== "HS256") return undefined;
  const signed = new TextEncoder().encode(`${header}.${claims}`);
  const isValid = await crypto.subtle.verify(
    "HMAC",
    await keyOf(secret),
    decode(signature),
    signed,
  );
  if (!isValid) return undefined;
  const { kiloUserId, sub, exp } = parse(claims);
  if (typeof exp !== "number" || exp <= Date.now() / 1000) return undefined;
  const user = kiloUserId ?? sub;
  return typeof user === "string" && user !== "" ? user : undefined;
}

function parse(part: string): Record<string, unknown> {
  return JSON.parse(new TextDecoder().decode(decode(part)));
}

function decode(part: string): Uint8Array<ArrayBuffer> {
  const text = atob(part.replaceAll("-", "+").replaceAll("_", "/"));
  return Uint8Array.from(text, (character) => character.charCodeAt(0));
}
