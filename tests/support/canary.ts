// Looks for a token where it must not be, in every form in which it could have got there.

import { readdirSync, readFileSync, statSync } from "node:fs";
import { join, relative } from "node:path";

/** One form of one token. */
export interface Needle {
  /** Names token and form, such as `token 1 (base64)`; safe to print. */
  name: string;
  /** What to look for. */
  text: string;
}

/** A needle that was found. */
export interface Find {
  needle: string;
  /** Where: a path, or the kind of text. */
  place: string;
}

/** A file with a token in it. */
export interface FileFind extends Find {
  /** Permission bits, such as 0o600. */
  mode: number;
}

const USERS = ["x-access-token", "oauth2"];

/** All forms of a token: raw, percent-encoded, in JSON, and in base64 at any offset or after a user name. */
export function needlesOf(label: string, token: string): Needle[] {
  const forms: [string, string][] = [
    ["raw", token],
    ["percent-encoded", encodeURIComponent(token)],
    ["percent-encoded, strict", percentEncode(token)],
    ["percent-encoded, lower case", percentEncode(token).replace(/%../g, (x) => x.toLowerCase())],
    ["percent-encoded by a URL parser", passwordOf(token)],
    ["JSON", JSON.stringify(token).slice(1, -1)],
    ["hexadecimal", Buffer.from(token).toString("hex")],
  ];
  for (const user of USERS) {
    const pair = Buffer.from(`${user}:${token}`);
    forms.push([`base64 of ${user}`, pair.toString("base64").replace(/=+$/, "")]);
    forms.push([`base64url of ${user}`, pair.toString("base64url")]);
  }
  for (const offset of [0, 1, 2]) {
    forms.push([`base64 at offset ${offset}`, base64Inside(token, offset)]);
  }
  const seen = new Set<string>();
  return forms
    .filter(([, text]) => !seen.has(text) && seen.add(text))
    .map(([form, text]) => ({ name: `${label} (${form})`, text }));
}

function percentEncode(text: string): string {
  return Array.from(Buffer.from(text), (byte) => {
    const character = String.fromCharCode(byte);
    if (/[A-Za-z0-9\-._~]/.test(character)) return character;
    return `%${byte.toString(16).toUpperCase().padStart(2, "0")}`;
  }).join("");
}

function passwordOf(token: string): string {
  const url = new URL("http://host/");
  url.password = token;
  return url.password;
}

/** The characters of a token's base64 that do not depend on what stands around it. */
function base64Inside(token: string, offset: number): string {
  const padded = Buffer.concat([Buffer.alloc(offset), Buffer.from(token)]);
  const whole = padded.toString("base64").replace(/=+$/, "");
  const firstWhole = offset === 0 ? 0 : 4;
  const lastWhole = Math.floor(padded.length / 3) * 4;
  return whole.slice(firstWhole, lastWhole);
}

/** Needles that occur in a text. */
export function findInText(place: string, text: string, needles: readonly Needle[]): Find[] {
  return needles
    .filter((needle) => text.includes(needle.text))
    .map((needle) => ({ needle: needle.name, place }));
}

/** Needles that occur in the files below a folder. Links are not followed. */
export function findInFiles(folder: string, needles: readonly Needle[]): FileFind[] {
  const patterns = needles.map(({ name, text }) => ({ name, bytes: Buffer.from(text) }));
  const finds: FileFind[] = [];
  for (const entry of readdirSync(folder, { recursive: true, withFileTypes: true })) {
    if (!entry.isFile()) continue;
    const path = join(entry.parentPath, entry.name);
    const content = readIfThere(path);
    for (const { name, bytes } of patterns) {
      if (!content?.includes(bytes)) continue;
      const place = relative(folder, path);
      finds.push({ needle: name, place, mode: statSync(path).mode & 0o777 });
    }
  }
  return finds;
}

/** Content of a file; undefined when a program removed it meanwhile. */
function readIfThere(path: string): Buffer | undefined {
  try {
    return readFileSync(path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw error;
  }
}
