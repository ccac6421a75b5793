// The built Worker, as the bench's counting one wraps it.

export default class {
  readonly env: unknown;
  fetch(request: Request): Promise<Response>;
}

export class CloudAgentSession {
  constructor(state: unknown, env: unknown);
  fetch(request: Request): Promise<Response>;
  alarm(): Promise<unknown>;
}
