// An agent that prints as many lines as its prompt says.

/** Prints `json` lines with a text of `bytes`, and `text` lines, a little at a time. */
const SCRIPT = `
const { createInterface } = require("node:readline");
createInterface({ input: process.stdin }).once("line", async (intent) => {
  const wanted = (name) => Number(new RegExp(name + "=(\\\\d+)").exec(intent)?.[1] ?? 0);
  const text = "x".repeat(wanted("bytes"));
  const put = (line) => new Promise((done) => process.stdout.write(line + "\\n", done));
  for (let n = 1; n <= wanted("json"); n += 1) {
    await put(JSON.stringify({ n, text }));
    if (wanted("pause") > 0 && n % 20 === 0) {
      await new Promise((done) => setTimeout(done, wanted("pause")));
    }
  }
  for (let n = 1; n <= wanted("text"); n += 1) await put("line " + n);
  process.exit(0);
});
`;

/** Value of `AGENT_COMMAND`. */
export const printingAgentCommand = JSON.stringify([process.execPath, "-e", SCRIPT]);
