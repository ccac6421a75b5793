// What a run found to be wrong.

/** One violation. */
export interface Finding {
  text: string;
  /** The message that it is about, when it is about one. */
  messageId?: string;
}

/** The violations of a run, and how many checks were made. */
export class Findings {
  readonly all: Finding[] = [];
  checks = 0;

  /** Adds a violation unless `holds`. */
  check(holds: boolean, text: string, messageId?: string): void {
    this.checks += 1;
    if (!holds) this.all.push(messageId === undefined ? { text } : { text, messageId });
  }
}
