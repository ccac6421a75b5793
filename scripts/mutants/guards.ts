// The guards of the protocol, each with the edits that take it out of a copy of the sources.
//
// In the new text `GONE` stands for "this guard is taken out of this run", so that one program holds all of them and
// each run goes without one.

/** A change of one file: `find` stands there exactly once. */
export interface Edit {
  file: string;
  find: string;
  put: string;
}

/** A guard. */
export interface Guard {
  /** What it does, as the documentation says it. */
  name: string;
  edits: readonly Edit[];
}

function guard(name: string, file: string, ...pairs: readonly [string, string][]): Guard {
  return {
    name,
    edits: pairs.map(([find, put]) => ({ file: `src/session/${file}.rs`, find, put })),
  };
}

export const GUARDS: readonly Guard[] = [
  // Admission.
  guard("an id that was admitted is a replay", "admission", [
    "if let Some(known) = &view.known {",
    "if let Some(known) = view.known.as_ref().filter(|_| !GONE) {",
  ]),
  guard("a replay has the content of the first time", "admission", [
    "if known.intent.as_ref() != Some(intent) {",
    "if !GONE && known.intent.as_ref() != Some(intent) {",
  ]),
  guard("an id that has ended is refused", "admission", [
    "if known.phase.is_terminal() {",
    "if !GONE && known.phase.is_terminal() {",
  ]),
  guard(
    "capacity is looked at before the rotation",
    "admission",
    ["if view.queued >= QUEUE_MESSAGES_MAX {", "if !GONE && view.queued >= QUEUE_MESSAGES_MAX {"],
    [
      "    Ok(persist(",
      "    if GONE && view.queued >= QUEUE_MESSAGES_MAX {\n        return Ok(draft.finish(Err(CommandError::QueueFull)));\n    }\n    Ok(persist(",
    ],
  ),
  guard("a token is checked before anything is written", "admission", [
    "    check_git_token(&token).map_err(",
    "    if GONE { Ok(()) } else { check_git_token(&token) }.map_err(",
  ]),
  guard("tokens of managed repositories are ignored", "admission", [
    "if !view.record.repository.uses_session_credential() {",
    "if !GONE && !view.record.repository.uses_session_credential() {",
  ]),
  guard("the rotation is durable before the message", "step", [
    "            steps: self.ended,",
    "            steps: if GONE { self.ended.into_iter().rev().collect() } else { self.ended },",
  ]),
  guard("rotation and message are two steps", "admission", [
    "                draft.end_step();",
    "                if !GONE {\n                    draft.end_step();\n                }",
  ]),
  guard("a rotation leaves a marker", "step", [
    "        self.writes.push(write);",
    "        if !(GONE && matches!(write, Write::PutMarker(_))) {\n            self.writes.push(write);\n        }",
  ]),
  guard("the marker's expiry is a deadline", "admission", [
    "draft.set_deadline_no_later(DeadlineKind::MarkerExpiry, expires_at);",
    "if !GONE {\n                    draft.set_deadline_no_later(DeadlineKind::MarkerExpiry, expires_at);\n                }",
  ]),
  guard("the marker goes with the message's step", "admission", [
    "    if marked {",
    "    if !GONE && marked {",
  ]),
  guard("the drain is a deadline of the message's step", "admission", [
    "    draft.set_deadline_no_later(\n        DeadlineKind::Drain,\n        now.plus_millis(ingredients.settings.drain_delay_millis),\n    );",
    "    if !GONE {\n        draft.set_deadline_no_later(\n            DeadlineKind::Drain,\n            now.plus_millis(ingredients.settings.drain_delay_millis),\n        );\n    }",
  ]),
  guard("the same token moves no generation", "admission", ["if same {", "if !GONE && same {"]),
  guard("a rotation ends the wait for it", "admission", [
    "|refused| refused.generation == before",
    "|refused| !GONE && refused.generation == before",
  ]),
  guard("a rotation owes a push while something is delivered", "admission", [
    "if view.delivering {",
    "if !GONE && view.delivering {",
  ]),
  guard("a stamp is never in the object's future", "command", [
    "        self.received_at.min(now)",
    "        if GONE { self.received_at } else { self.received_at.min(now) }",
  ]),
  guard("an older stamp is left aside", "credential", [
    "if pointer.stamp.millis_since(stamp) > tolerance_millis {",
    "if !GONE && pointer.stamp.millis_since(stamp) > tolerance_millis {",
  ]),
  guard("the Worker's own retry is compared exactly", "credential", [
    "    const fn tolerance_millis(self) -> u64 {\n        if self.0 > 1 {",
    "    fn tolerance_millis(self) -> u64 {\n        if !GONE && self.0 > 1 {",
  ]),
  guard("a first try has two seconds for skewed clocks", "credential", [
    "        (None, _) => attempt.tolerance_millis(),",
    "        (None, _) => if GONE { 0 } else { attempt.tolerance_millis() },",
  ]),
  guard(
    "a message that applied is compared with the pointer",
    "credential",
    ["        (Some(_), false) => return", "        (Some(_), false) if !GONE => return"],
    ["        (Some(_), true) => 0,", "        (Some(_), _) => 0,"],
  ),
  guard("its later tries are compared exactly", "credential", [
    "    let tolerance_millis = match (marker,",
    "    let marker = marker.filter(|_| !(GONE && bearer.owns(pointer)));\n    let tolerance_millis = match (marker,",
  ]),
  guard("an abandoned entry decides like a marker", "credential", [
    "    let Some(pointer) = pointer else {",
    "    let marker = marker.filter(|marker| !GONE || marker.expires_at.is_some());\n    let Some(pointer) = pointer else {",
  ]),
  // Claims.
  guard("markers expire", "claim", [
    "            if self.view.has_expired_marker {",
    "            if !GONE && self.view.has_expired_marker {",
  ]),
  guard("a row that cannot be read is set aside", "claim", [
    "                self.set_aside(position, &message_id);",
    "                if GONE {\n                    return Work::Rest;\n                }\n                self.set_aside(position, &message_id);",
  ]),
  guard("a retry waits for its moment", "claim", [
    "            } if *not_before > self.now => {",
    "            } if !GONE && *not_before > self.now => {",
  ]),
  guard("nothing is delivered with a refused credential", "claim", [
    "MessageState::Queued { .. } if self.view.refusal().is_some() => {",
    "MessageState::Queued { .. } if !GONE && self.view.refusal().is_some() => {",
  ]),
  guard("the wait for a credential lasts its time", "claim", [
    "        if self.now < until {",
    "        if !GONE && self.now < until {",
  ]),
  guard("the wait for a credential ends", "claim", [
    "        let until = refusal\n            .since",
    "        let until = (if GONE { self.now } else { refusal.since })",
  ]),
  guard("every claim has a number of its own", "claim", [
    "let submission = history.submission.next();",
    "let submission = if GONE { history.submission } else { history.submission.next() };",
  ]),
  guard("a claim has a lease", "claim", [
    "        self.set_after(DeadlineKind::ClaimLease, CLAIM_LEASE_MILLIS);",
    "        if !GONE {\n            self.set_after(DeadlineKind::ClaimLease, CLAIM_LEASE_MILLIS);\n        }",
  ]),
  guard("a claim that nobody answered is handed over again", "claim", [
    "MessageState::Claimed { store_id: None, .. } => self.deliver_again(message),",
    "MessageState::Claimed { store_id: None, .. } if !GONE => self.deliver_again(message),",
  ]),
  guard("the alarm reads events when nobody does", "claim", [
    "        let overdue = at.is_none_or(|at| at <= self.now);",
    "        let overdue = !GONE && at.is_none_or(|at| at <= self.now);",
  ]),
  guard("a silent agent is stopped", "claim", [
    "} else if silent_until <= self.now {",
    "} else if !GONE && silent_until <= self.now {",
  ]),
  guard("an agent has a longest time", "claim", [
    "        let code = if ends_at <= self.now {",
    "        let code = if !GONE && ends_at <= self.now {",
  ]),
  guard("an agent that waits for a credential may be silent", "claim", [
    "        let waited_until = self.waited_for_credential_until();",
    "        let waited_until = self.waited_for_credential_until().filter(|_| !GONE);",
  ]),
  guard("the time of an agent that waits for a credential ends", "claim", [
    "self.now.min(since.plus_millis(wait_millis));",
    "if GONE { self.now } else { self.now.min(since.plus_millis(wait_millis)) };",
  ]),
  guard("a push that is owed keeps nobody from watching the turn", "claim", [
    "    let work = progress.choose_work();",
    "    let work = if GONE && progress.owes_push() { Work::Rest } else { progress.choose_work() };",
  ]),
  guard("after an absence events are read before an agent is given up", "claim", [
    "watch.is_some_and(|at| at < grace)",
    "watch.is_some_and(|at| !GONE && at < grace)",
  ]),
  guard("a push is owed until it is answered", "claim", [
    "            && self.view.generation() > self.view.link.acknowledged;",
    "            && !GONE\n            && self.view.generation() > self.view.link.acknowledged;",
  ]),
  guard("what is owed comes before new deliveries", "claim", [
    "        owed.is_some_and(|owed| self.now.millis_since(owed.since) < RUNTIME_LOST_MILLIS)",
    "        owed.is_some_and(|owed| !GONE && self.now.millis_since(owed.since) < RUNTIME_LOST_MILLIS)",
  ]),
  guard("an interrupt that is never answered holds the queue for a minute only", "claim", [
    "        let owed = self.view.link.interrupts.first();\n",
    "        let owed = self.view.link.interrupts.first();\n        if GONE {\n            return owed.is_some();\n        }\n",
  ]),
  guard("a runtime that stays away is told less and less often", "claim", [
    "    (age_millis < INTERRUPT_MILLIS_MAX).then_some(millis)",
    "    (GONE || age_millis < INTERRUPT_MILLIS_MAX).then_some(if GONE { OWED_RETRY_MILLIS } else { millis })",
  ]),
  guard("a runtime that comes back is told", "delivery", [
    "    if !is_told && !progress.view.link.interrupts.is_empty() {",
    "    if !GONE && !is_told && !progress.view.link.interrupts.is_empty() {",
  ]),
  guard("what is still due rings a second later", "claim", [
    "                self.draft.deadlines.set(kind, Some(floor));",
    "                if !GONE {\n                    self.draft.deadlines.set(kind, Some(floor));\n                }",
  ]),
  guard("a deletion comes before all other work", "claim", [
    "        if let Some(since) = self.view.record.deleting_since {",
    "        if let Some(since) = self.view.record.deleting_since.filter(|_| !GONE) {",
  ]),
  guard("a deletion goes on without a runtime after ten minutes", "claim", [
    "            let overdue = self.now.millis_since(since) >= DELETION_MILLIS_MAX;",
    "            let overdue = !GONE && self.now.millis_since(since) >= DELETION_MILLIS_MAX;",
  ]),
  // Results.
  guard("a result belongs to the submission in force", "delivery", [
    "MessageState::Claimed { history, .. } if history.submission == claim.submission => {",
    "MessageState::Claimed { history, .. } if GONE || history.submission == claim.submission => {",
  ]),
  guard("a result belongs to the message in force", "delivery", [
    ".filter(|message| message.position == claim.position)?;",
    ".filter(|message| GONE || message.position == claim.position)?;",
  ]),
  guard("another store voids what was on the old one", "delivery", [
    "            lose_what_ran_elsewhere(&mut progress);",
    "            if !GONE {\n                lose_what_ran_elsewhere(&mut progress);\n            }",
  ]),
  guard("the same store voids nothing", "delivery", [
    "    if view.link.store_id.as_ref() == Some(store_id) {\n        is_in_reach(&mut progress);\n    } else {",
    "    if !GONE && view.link.store_id.as_ref() == Some(store_id) {\n        is_in_reach(&mut progress);\n    } else {",
  ]),
  guard("what was owed to a lost store holds nothing up", "delivery", [
    "    if owed {\n        let now = progress.now;",
    "    if !GONE && owed {\n        let now = progress.now;",
  ]),
  guard("a credential that came during the hand-over is pushed", "delivery", [
    "        if view.generation() > generation {\n",
    "        if !GONE && view.generation() > generation {\n",
  ]),
  guard("a turn that has ended and never says so is given up", "delivery", [
    "        if !matches!(reply.state, TurnState::Waiting | TurnState::Running) {",
    "        if !GONE && !matches!(reply.state, TurnState::Waiting | TurnState::Running) {",
  ]),
  guard("a turn that may have arrived is noted", "delivery", [
    "            HandOverFault::Unanswered => message.that_may_be_out(),",
    "            HandOverFault::Unanswered if !GONE => message.that_may_be_out(),",
  ]),
  guard("a runtime is lost after a minute", "delivery", [
    "    if now.millis_since(since) < RUNTIME_LOST_MILLIS {",
    "    if GONE || now.millis_since(since) < RUNTIME_LOST_MILLIS {",
  ]),
  guard("reads that succeed begin the minute anew", "delivery", [
    "    if progress.view.link.unreachable_since.is_some() {",
    "    if !GONE && progress.view.link.unreachable_since.is_some() {",
  ]),
  guard("a journal that was never there says nothing", "delivery", [
    "view.head_message().filter(|message| message.is_taken()) else {",
    "view.head_message().filter(|message| GONE || message.is_taken()) else {",
  ]),
  // Events.
  guard("events come from the store in force", "journal", [
    "    if view.link.store_id.as_ref() != Some(store_id) {\n        return progress.finish(());",
    "    if !GONE && view.link.store_id.as_ref() != Some(store_id) {\n        return progress.finish(());",
  ]),
  guard("an event counts once", "journal", [
    "event.seq > progress.view.link.cursor",
    "(GONE || event.seq > progress.view.link.cursor)",
  ]),
  guard("events wait while nothing is delivered", "journal", [
    "        if is_delivering &&",
    "        if (GONE || is_delivering) &&",
  ]),
  guard("a start of a newer delivery than any is not believed", "journal", [
    "        if submission > history.submission {",
    "        if !GONE && submission > history.submission {",
  ]),
  guard("a failure belongs to the newest delivery", "journal", [
    "            .is_some_and(|history| history.submission == submission)",
    "            .is_some_and(|history| GONE || history.submission == submission)",
  ]),
  guard("a failure after an untold start is no failure to start", "journal", [
    "        if was_started || message",
    "        if (!GONE && was_started) || message",
  ]),
  guard("a start tells whether a push is owed", "journal", [
    "        if self.view.generation() > self.view.link.acknowledged {",
    "        if !GONE && self.view.generation() > self.view.link.acknowledged {",
  ]),
  guard("a start tells which credential the runtime has", "journal", [
    "        link.acknowledged = link.acknowledged.max(generation);",
    "        if !GONE {\n            link.acknowledged = link.acknowledged.max(generation);\n        }",
  ]),
  // Failures.
  guard("a retry costs an entry of the table", "progress", [
    "                history.retries_used = spent + 1;",
    "                history.retries_used = spent + u32::from(!GONE);",
  ]),
  guard("a failure with a table of its own begins it anew", "retry", [
    "    if has_own_table(failure) && !goes_on {",
    "    if !GONE && has_own_table(failure) && !goes_on {",
  ]),
  guard("a batch is due although the last message has no target", "progress", [
    "            if self.view.batch.is_some() {",
    "            if !GONE && self.view.batch.is_some() {",
  ]),
  guard("the budget counts failures, not deliveries", "progress", [
    "next_delay_millis(&failure, spent)",
    "next_delay_millis(&failure, if GONE { u32::try_from(history.submission.get()).unwrap_or(1) - 1 } else { spent })",
  ]),
  guard("free returns are bounded", "progress", [
    "        if history.free_returns >= FREE_RETURNS_MAX {",
    "        if !GONE && history.free_returns >= FREE_RETURNS_MAX {",
  ]),
  guard("a refusal of an older credential starts no wait", "progress", [
    "        if generation < self.view.generation() ||",
    "        if (!GONE && generation < self.view.generation()) ||",
  ]),
  guard("the wait counts from the first refusal", "progress", [
    "|| self.view.refusal().is_some() {",
    "|| (!GONE && self.view.refusal().is_some()) {",
  ]),
  guard("a runtime that may have a turn is told to stop it", "progress", [
    "        if may_be_out || message.is_delivered() {",
    "        if !GONE && (may_be_out || message.is_delivered()) {",
  ]),
  guard("a runtime that never had a turn is told nothing", "progress", [
    "            .is_some_and(|history| history.may_be_out);",
    "            .is_some_and(|history| GONE || history.may_be_out);",
  ]),
  // Ends.
  guard("a deletion forgets the secrets", "ending", [
    "    draft.write(Write::ForgetSecrets);",
    "    if !GONE {\n        draft.write(Write::ForgetSecrets);\n    }",
  ]),
  guard("what comes from outside changes no session that is being deleted", "engine", [
    "    let view = store.delivery_view(now)?;\n    match view.filter(|view| view.record.deleting_since.is_none()) {",
    "    let view = store.delivery_view(now)?;\n    match view.filter(|view| GONE || view.record.deleting_since.is_none()) {",
  ]),
  guard("a session that is being deleted cannot be interrupted", "engine", [
    "        .filter(|view| view.record.deleting_since.is_none())\n        .ok_or",
    "        .filter(|view| GONE || view.record.deleting_since.is_none())\n        .ok_or",
  ]),
  // Alarm.
  guard("the alarm follows every step", "engine", [
    "    if has_steps {",
    "    if !GONE && has_steps {",
  ]),
  guard("the alarm follows what was committed before a step failed", "engine", [
    "            store.arm(&store.deadlines()?);",
    "            if !GONE {\n                store.arm(&store.deadlines()?);\n            }",
  ]),
  guard("an alarm that finds nothing to write is armed again", "engine", [
    "        if decision.steps.is_empty() {",
    "        if !GONE && decision.steps.is_empty() {",
  ]),
  guard("construction arms the alarm", "engine", [
    "    if view.deadlines.next().is_some() {",
    "    if !GONE && view.deadlines.next().is_some() {",
  ]),
  guard("construction brings the reading of events forward", "claim", [
    "    if view.is_delivering && !is_deleted {",
    "    if !GONE && view.is_delivering && !is_deleted {",
  ]),
  guard("construction leaves a session alone that is being deleted", "claim", [
    "    if view.is_delivering && !is_deleted {",
    "    if view.is_delivering && (GONE || !is_deleted) {",
  ]),
];
