// The bench's own Workers, bundled into one module each.

import { join } from "node:path";
import { build } from "esbuild";
import { projectRoot } from "../scripts/setup/paths.mjs";

const WORKERS = join(projectRoot, "bench", "workers");

/** Bundles a module of `bench/workers`. */
export async function bundle(path: string): Promise<string> {
  const { outputFiles } = await build({
    entryPoints: [join(WORKERS, path)],
    bundle: true,
    write: false,
    format: "esm",
    target: "es2024",
    minify: true,
    external: ["./worker-under-test.js"],
    logLevel: "warning",
  });
  const [file] = outputFiles;
  if (file === undefined) throw new Error(`${path} gave no bundle`);
  return file.text;
}
