// The built Worker, as the bench's counting one wraps it.

declare const worker: { fetch(request: Request, env: unknown): Promise<Response> };
export default worker;

export class CloudAgentSession {
  constructor(state: unknown, env: unknown);
  fetch(request: Request): Promise<Response>;
  alarm(): Promise<unknown>;
}
