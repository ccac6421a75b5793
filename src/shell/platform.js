// The steps that are taken in JavaScript: what a step has to do with the platform's objects costs less than the way from
// WebAssembly to each of them and back.

/** Runs a query. Takes its values as JSON text, and returns its rows as JSON text: an array of arrays. */
export function query(sql, statement, values) {
  return JSON.stringify(
    sql
      .exec(statement, ...JSON.parse(values))
      .raw()
      .toArray(),
  );
}

/** Runs statements, all or none of them. Takes JSON text: an array of pairs, the statement and its values. */
export function commit(storage, statements) {
  const { sql } = storage;
  const pairs = JSON.parse(statements);
  const run = () => {
    for (const [statement, values] of pairs) sql.exec(statement, ...values);
  };
  // A statement alone is whole or nothing by itself.
  if (pairs.length === 1) run();
  else storage.transactionSync(run);
}

/** Asks a session's object. Resolves to the status and the text of its answer. */
export async function ask(env, objectName, command, body) {
  const session = env.SESSIONS.getByName(objectName);
  const answer = await session.fetch(`https://session/${command}`, { method: "POST", body });
  return [answer.status, await answer.text()];
}

/** The answer of a session's object, once the platform has taken the alarm's write. */
export async function answerWhenArmed(text, status, armed) {
  await armed;
  return new Response(text, { status });
}

/** The headers of every reply to a client. */
const REPLY_HEADERS = { "content-type": "application/json", vary: "trpc-accept, accept" };

/** A reply to a client. */
export function respond(text, status) {
  return new Response(text, { status, headers: REPLY_HEADERS });
}
