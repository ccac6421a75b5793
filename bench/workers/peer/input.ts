// The inputs, as zod schemas.

import { z } from "zod";

const PROMPT_CHARS_MAX = 100_000;

const sessionId = z.string().regex(/^agent_[0-9a-f-]{36}$/);
const messageId = z.string().regex(/^msg_[0-9a-f]{12}[0-9A-Za-z]{14}$/);
const prompt = z.string().min(1).max(PROMPT_CHARS_MAX);
const mode = z.string().min(1).max(100);
const model = z.string().min(1).max(200);
const variant = z.string().max(50).optional();

const attachments = z.object({
  path: z.uuid(),
  files: z.array(z.string().min(1).max(255)).min(1).max(5),
});

const common = {
  cloudAgentSessionId: sessionId,
  messageId: messageId.nullish(),
  attachments: attachments.optional(),
  autoCommit: z.boolean().optional(),
  condenseOnComplete: z.boolean().optional(),
  gitToken: z.string().optional(),
  githubToken: z.unknown().optional(),
};

const flat = z
  .object({ ...common, prompt, mode, model, variant })
  .transform(({ prompt, mode, model, variant, attachments, ...rest }) => ({
    ...rest,
    turn: { type: "prompt" as const, prompt, attachments },
    agent: { mode, model, variant },
  }));

const payload = z.discriminatedUnion("type", [
  z.object({ type: z.literal("prompt"), prompt, mode, model, variant }),
  z.object({
    type: z.literal("command"),
    command: z.string().min(1).max(100),
    arguments: z.string().max(PROMPT_CHARS_MAX).default(""),
  }),
]);

const withPayload = z
  .object({ ...common, payload })
  .transform(({ payload, attachments, ...rest }) =>
    payload.type === "prompt"
      ? {
          ...rest,
          turn: { type: "prompt" as const, prompt: payload.prompt, attachments },
          agent: { mode: payload.mode, model: payload.model, variant: payload.variant },
        }
      : {
          ...rest,
          turn: {
            type: "command" as const,
            command: payload.command,
            arguments: payload.arguments,
          },
          agent: undefined,
        },
  );

/** The input of `sendMessageV2`. */
export const sendMessage = z.union([flat, withPayload]);
export type SendMessage = z.output<typeof sendMessage>;

/** The input of `prepareSession`, as far as the bench uses it. */
export const prepareSession = z.object({
  prompt,
  mode,
  model,
  gitUrl: z.url({ protocol: /^https$/ }),
  gitToken: z.string().optional(),
});
export type PrepareSession = z.output<typeof prepareSession>;
