//! What commands answer, read as data.

use cloud_agent_wire::{RuntimeErrorCode, StoreId, TurnReply, TurnState};

/// Why a command did nothing, or nothing yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// As a runtime would refuse it.
    Refused(RuntimeErrorCode),
    /// The answer is none that a command gives.
    Senseless,
}

/// The words of an answer's first line behind `expected`, and what follows the line.
///
/// # Errors
/// [`Refusal`].
pub fn words<'a>(answer: &'a str, expected: &str) -> Result<(Vec<&'a str>, &'a str), Refusal> {
    use RuntimeErrorCode::{Gone, NotFound, NotReady, StaleGeneration, StoreChanged, Unavailable};
    let (line, rest) = answer.split_once('\n').unwrap_or((answer, ""));
    let mut words = line.split(' ');
    let refused = |code| Err(Refusal::Refused(code));
    match words.next() {
        Some(word) if word == expected => Ok((words.collect(), rest)),
        Some("store_changed") => refused(StoreChanged),
        Some("stale_generation") => refused(StaleGeneration),
        Some("not_found") => refused(NotFound),
        Some("gone") => refused(Gone),
        Some("unavailable") => refused(Unavailable),
        // Something else must end before.
        Some("busy") => refused(NotReady),
        _ => Err(Refusal::Senseless),
    }
}

/// Reads the answer of a command that has nothing to tell.
///
/// # Errors
/// [`Refusal`].
pub fn done(answer: &str) -> Result<(), Refusal> {
    words(answer, "ok").map(|_| ())
}

/// Reads which disk the sandbox has.
///
/// # Errors
/// [`Refusal`].
pub fn store(answer: &str) -> Result<StoreId, Refusal> {
    match words(answer, "store")?.0.as_slice() {
        [id] => id.parse().map_err(|_| Refusal::Senseless),
        _ => Err(Refusal::Senseless),
    }
}

/// Reads how far a turn is, and under which submission.
///
/// # Errors
/// [`Refusal`].
pub fn turn(answer: &str) -> Result<TurnReply, Refusal> {
    let (words, _) = words(answer, "turn")?;
    let [submission, state] = words.as_slice() else {
        return Err(Refusal::Senseless);
    };
    let state = match *state {
        "waiting" => TurnState::Waiting,
        "running" => TurnState::Running,
        "completed" => TurnState::Completed,
        "failed" => TurnState::Failed,
        "interrupted" => TurnState::Interrupted,
        _ => return Err(Refusal::Senseless),
    };
    let submission = number(submission)?;
    Ok(TurnReply {
        submission: cloud_agent_wire::Submission::new(submission),
        state,
    })
}

/// Reads a number.
///
/// # Errors
/// [`Refusal::Senseless`].
pub fn number<N: std::str::FromStr>(word: &str) -> Result<N, Refusal> {
    word.parse().map_err(|_| Refusal::Senseless)
}

#[cfg(test)]
mod tests {
    use cloud_agent_wire::{RuntimeErrorCode, Submission, TurnReply, TurnState};

    use super::{Refusal, done, store, turn};

    #[test]
    fn answers_are_words_of_a_table() {
        assert_eq!(done("ok\n"), Ok(()));
        let refused = |code| Err(Refusal::Refused(code));
        assert_eq!(done("busy\n"), refused(RuntimeErrorCode::NotReady));
        assert_eq!(done("gone\n"), refused(RuntimeErrorCode::Gone));
        let reply = TurnReply {
            submission: Submission::new(3),
            state: TurnState::Running,
        };
        assert_eq!(turn("turn 3 running\n"), Ok(reply));
        assert_eq!(
            store("store a-1\n").map(|id| id.to_string()),
            Ok("a-1".to_owned())
        );
        for senseless in [
            "",
            "\n",
            "sh: 1: nothing found",
            "turn",
            "turn 3",
            "turn -3 running\n",
            "turn 3 happy\n",
        ] {
            assert_eq!(turn(senseless), Err(Refusal::Senseless), "{senseless:?}");
        }
        assert_eq!(store("store ../..\n"), Err(Refusal::Senseless));
    }
}
