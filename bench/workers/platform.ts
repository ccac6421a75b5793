// The parts of the Workers platform that the bench's own Workers use.

import type { webcrypto } from "node:crypto";

/** A key of WebCrypto. */
export type CryptoKey = webcrypto.CryptoKey;

/** Storage of an object. */
export interface ObjectStorage {
  get<T>(key: string): Promise<T | undefined>;
  get<T>(keys: string[]): Promise<Map<string, T>>;
  put(entries: Record<string, unknown>): Promise<void>;
  delete(key: string): Promise<boolean>;
  setAlarm(at: number): Promise<void>;
}

/** What the platform hands to an object. */
export interface ObjectState {
  readonly storage: ObjectStorage;
}

/** Something that answers requests: an object, or another Worker. */
export interface Fetcher {
  fetch(request: Request): Promise<Response>;
  fetch(url: string, init: RequestInit): Promise<Response>;
}

/** Objects of one class. */
export interface ObjectNamespace {
  getByName(name: string): Fetcher;
}

/** Bindings of the floor and of the peer. */
export interface SessionEnvironment {
  readonly SESSIONS: ObjectNamespace;
  readonly AUTH_JWT_SECRET: string;
  readonly INTERNAL_API_SECRET: string;
  readonly CREDENTIAL_SEALING_KEYS: string;
  readonly DRAIN_DELAY_MS: string;
  readonly MARKER_TTL_MS: string;
}

/** What a Worker sends to a session's object. */
export interface Envelope<Input> {
  v: 1;
  input: Input;
  userId: string;
  /** When the request reached the Worker, milliseconds since the Unix epoch; the same on every try. */
  receivedAt: number;
  /** Which try of the Worker this is, from 1. */
  try: number;
}
