// The size of the WebAssembly module: what is uploaded, and compiled at every cold start.

import { readFileSync } from "node:fs";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { workerBuildFolder } from "../support/configuration.ts";

/** Most bytes of the compressed module. */
export const WASM_GZIP_BYTES_MAX = 380_000;

/** Bytes of the built module, as it is and compressed. */
export function wasmSize(): { raw: number; gzip: number } {
  const module = readFileSync(join(workerBuildFolder(), "index_bg.wasm"));
  return { raw: module.length, gzip: gzipSync(module, { level: 9 }).length };
}
