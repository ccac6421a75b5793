// Sealed tokens with WebCrypto: AES-256-GCM, bound to user, session and repository.

import type { CryptoKey } from "../platform.ts";

/** A token as it is stored. */
export interface Sealed {
  keyId: string;
  nonce: Uint8Array;
  ciphertext: Uint8Array;
}

/** Seals tokens and tells whether two are the same. */
export class Sealing {
  readonly #keyId: string;
  readonly #cipherKey: Promise<CryptoKey>;
  readonly #hmacKey: Promise<CryptoKey>;

  /** `keys` is `id:base64`, and more after commas; the first key seals. */
  constructor(keys: string) {
    const [id = "", encoded = ""] = keys.split(",", 1)[0]?.split(":") ?? [];
    const bytes = Uint8Array.from(atob(encoded), (character) => character.charCodeAt(0));
    this.#keyId = id;
    this.#cipherKey = crypto.subtle.importKey("raw", bytes, "AES-GCM", false, ["encrypt"]);
    const hmac = { name: "HMAC", hash: "SHA-256" };
    this.#hmacKey = crypto.subtle.importKey("raw", bytes, hmac, false, ["sign"]);
  }

  /** Seals a token. */
  async seal(token: string, context: readonly string[]): Promise<Sealed> {
    const nonce = crypto.getRandomValues(new Uint8Array(12));
    const additionalData = new TextEncoder().encode(JSON.stringify(context));
    const ciphertext = await crypto.subtle.encrypt(
      { name: "AES-GCM", iv: nonce, additionalData },
      await this.#cipherKey,
      new TextEncoder().encode(token),
    );
    return { keyId: this.#keyId, nonce, ciphertext: new Uint8Array(ciphertext) };
  }

  /** What is the same for the same token only, 64 hexadecimal digits. */
  async fingerprint(token: string): Promise<string> {
    const bytes = new TextEncoder().encode(token);
    const digest = await crypto.subtle.sign("HMAC", await this.#hmacKey, bytes);
    return Array.from(new Uint8Array(digest), (byte) => byte.toString(16).padStart(2, "0")).join(
      "",
    );
  }
}
