// Loaded into every test process: ends it when its file takes too long. Node's own limit is for
// single tests; a file that hangs outside of them, or leaves a handle open, would run for ever.

/** Milliseconds that one test file may take. */
const FILE_LIMIT_MS = Number(process.env.TEST_FILE_LIMIT_MS ?? 300_000);

// The runner itself loads this module too, and may take as long as all files together.
if (process.env.NODE_TEST_CONTEXT !== undefined) {
  setTimeout(() => {
    const open = [...new Set(process.getActiveResourcesInfo())].join(", ");
    console.error(`The file did not end within ${FILE_LIMIT_MS / 1000} s; still open: ${open}`);
    process.exit(1);
  }, FILE_LIMIT_MS).unref();
}
