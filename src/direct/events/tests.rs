use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use cloud_agent_wire::redact::Redactor;
use cloud_agent_wire::{Credential, JournalEvent, RuntimeEvent, Secret, Timestamp};

use super::{EVENTS_MAX, OUTPUT_BITS, credentials, read};
use crate::direct::answer::Refusal;
use crate::direct::command::OUTPUT_BYTES_MAX;

const TURN: &str = "msg_0123456789abABCDEFGHIJKLMN/2";
const TOKEN: &str = "canary-token";
/// Where the turn of these tests begins to count.
const POSITION: u64 = 7 << OUTPUT_BITS;

fn lines(records: &[&str]) -> String {
    let lines = records.iter().flat_map(|record| [*record, "\n"]);
    lines.collect()
}

/// A sandbox's files.
#[derive(Default)]
struct Files {
    records: String,
    output: Vec<u8>,
    phase: &'static str,
    interrupted: bool,
    started: bool,
}

impl Files {
    fn new(records: &[&str], output: &str) -> Self {
        Self {
            records: lines(records),
            output: output.into(),
            phase: "running",
            ..Self::default()
        }
    }

    /// What the script answers.
    fn answer(&self, after: u64) -> String {
        let from = after.saturating_sub(POSITION);
        let (line, byte) = (
            usize::try_from(from >> OUTPUT_BITS).unwrap(),
            from % (1 << OUTPUT_BITS),
        );
        let byte = usize::try_from(byte).unwrap();
        let records: String = self.records.split_inclusive('\n').skip(line).collect();
        let first = byte.saturating_sub(1);
        let output = &self.output[first..];
        let output = &output[..output.len().min(OUTPUT_BYTES_MAX)];
        let (phase, interrupted, started) = (
            self.phase,
            u8::from(self.interrupted),
            u8::from(self.started),
        );
        format!(
            "events {TURN} {POSITION} {line} {byte} {phase} {interrupted} {started} 5\n{}\n{}\n{}\n",
            STANDARD.encode(records),
            STANDARD.encode(output),
            "5 https://x-access-token:some%2Ftoken@h/r.git",
        )
    }

    fn read(&self, after: u64) -> Vec<JournalEvent> {
        let credential = Credential {
            username: "x-access-token".to_owned(),
            token: Secret::new(TOKEN.to_owned()),
        };
        let redactor = Redactor::new([&credential], []);
        let answer = self.answer(after);
        read(&answer, &redactor, Timestamp::from_millis(1)).expect("the answer makes sense")
    }

    /// Everything, read from where the last answer ended until there is nothing new.
    fn read_all(&self, mut after: u64) -> Vec<JournalEvent> {
        let mut all = Vec::new();
        loop {
            let events = self.read(after);
            let Some(last) = events.last() else {
                return all;
            };
            assert!(last.seq.get() > after, "positions rise");
            after = last.seq.get();
            all.extend(events);
        }
    }
}

fn told(events: &[JournalEvent]) -> Vec<String> {
    let name = |event: &RuntimeEvent| match event {
        RuntimeEvent::Output { text, .. } => format!("output {text}"),
        RuntimeEvent::Kilocode { json, .. } => format!("json {json}"),
        RuntimeEvent::Error { failure, .. } => format!(
            "{} {} {} {}",
            failure.stage.as_str(),
            failure.code.as_str(),
            failure.subtype.map_or("-", |subtype| subtype.as_str()),
            failure.detail.as_deref().unwrap_or("-"),
        ),
        other => {
            let value = serde_json::to_value(other).unwrap();
            value["type"].as_str().unwrap().to_owned()
        }
    };
    events.iter().map(|event| name(&event.event)).collect()
}

const STORY: [&str; 7] = [
    "0 preparing prove_credential",
    "0 preparing rewrite_origin",
    "0 ready 5 0 main",
    "20 refused 6",
    "32 autocommit_started",
    "32 autocommit_completed 0123456789012345678901234567890123456789 1",
    "32 complete main eyJnYXRlUmVzdWx0IjoicGFzcyJ9",
];
/// The refusal came in the middle of its second line, and the last line did not end.
const PRINTED: &str = "{\"type\":\"a\"}\nplain text\nlast one";

#[test]
fn records_and_output_are_one_story() {
    let events = Files::new(&STORY, PRINTED).read(0);
    assert_eq!(
        told(&events),
        [
            "preparing",
            "preparing",
            "ready",
            "json {\"type\":\"a\"}",
            "credential_refused",
            "output plain text",
            "output last one",
            "autocommit_started",
            "autocommit_completed",
            "complete",
        ]
    );
    let last = serde_json::to_value(&events.last().unwrap().event).unwrap();
    assert_eq!(last["gateResult"], "pass");
    assert_eq!(last["branch"], "main");
    assert_eq!(last["submission"], 2);
}

#[test]
fn it_is_the_same_story_from_wherever_it_is_read() {
    let files = Files::new(&STORY, PRINTED);
    let all = files.read(0);
    for (count, event) in all.iter().enumerate() {
        let rest = files.read_all(event.seq.get());
        let (rest, expected) = (told(&rest), told(&all[count + 1..]));
        assert_eq!(rest, expected, "after {count}");
    }
}

#[test]
fn it_is_the_same_story_however_far_the_files_were_when_they_were_read() {
    let whole = Files::new(&STORY, PRINTED);
    let expected = told(&whole.read(0));
    for length in 0..=PRINTED.len() {
        // Records that were written by then.
        let is_there = |record: &&&str| {
            let at: usize = record.split(' ').next().unwrap().parse().unwrap();
            at <= length
        };
        let records: Vec<&str> = STORY.iter().filter(is_there).copied().collect();
        let begun = Files::new(&records, PRINTED.get(..length).unwrap()).read(0);
        let after = begun.last().map_or(0, |event| event.seq.get());
        let mut all = told(&begun);
        all.extend(told(&whole.read_all(after)));
        // The moment at which a refusal is told depends on when the line around it was complete.
        let without = |events: &[String]| {
            let mut events = events.to_vec();
            events.retain(|event| event != "credential_refused");
            events
        };
        assert_eq!(without(&all), without(&expected), "{length}");
        assert_eq!(all.len(), expected.len(), "{length}");
    }
}

#[test]
fn a_driver_that_is_gone_without_a_word_is_told_once() {
    for (interrupted, started, expected) in [
        (true, false, "interrupted"),
        (false, true, "interruption container_shutdown - -"),
        (false, false, "pre_dispatch container_shutdown - -"),
    ] {
        let mut files = Files::new(&["0 preparing clone"], "half");
        files.phase = "lost";
        (files.interrupted, files.started) = (interrupted, started);
        let events = files.read(0);
        assert_eq!(told(&events), ["preparing", "output half", expected]);
        // Whoever has taken it over is told the same again, at the same place.
        let again = files.read(events[1].seq.get());
        assert_eq!(again.last().unwrap().seq, events[2].seq);
    }
}

#[test]
fn failures_become_words_of_the_table() {
    for (record, expected) in [
        (
            "0 failed prepare transfer 0 5 128 1 QXV0aGVudGljYXRpb24gZmFpbGVk",
            "pre_dispatch workspace_setup_failed git_authentication_failed exit code 128 after 1 s",
        ),
        (
            "0 failed prepare transfer 0 5 128 31 QXV0aGVudGljYXRpb24gZmFpbGVk",
            "pre_dispatch workspace_setup_failed git_clone_timeout exit code 128 after 31 s",
        ),
        (
            // "Could not resolve host", after a transfer that went well for long.
            "0 failed prepare transfer 0 5 128 90 Q291bGQgbm90IHJlc29sdmUgaG9zdA==",
            "pre_dispatch workspace_setup_failed git_network_failed exit code 128 after 90 s",
        ),
        (
            "0 failed prepare setup 2 5 124 300 -",
            "pre_dispatch workspace_setup_failed setup_command_timeout \
            setup command 2: stopped at its deadline after 300 s",
        ),
        (
            "0 failed publish local 0 5 1 0 -",
            "agent_activity workspace_setup_failed workspace_setup_unknown exit code 1 after 0 s",
        ),
        (
            "0 agent_failed 5 127 0",
            "post_dispatch_no_activity wrapper_start_failed - \
            the agent ended with exit code 127 after 0 s",
        ),
        (
            "0 agent_failed 5 3 9",
            "post_dispatch_no_activity wrapper_error_before_activity - \
            the agent ended with exit code 3 after 9 s",
        ),
    ] {
        assert_eq!(told(&Files::new(&[record], "").read(0)), [expected]);
    }
}

#[test]
fn a_line_longer_than_an_answer_is_cut_and_read_past() {
    let long = format!("{TOKEN}{}{TOKEN}\nnext\n", "x".repeat(3 * OUTPUT_BYTES_MAX));
    let told = told(&Files::new(&["0 ready 5 1 -"], &long).read_all(0));
    assert_eq!(told.first().map(String::as_str), Some("ready"));
    assert_eq!(told.last().map(String::as_str), Some("output next"));
    assert!(told[1].starts_with("output [redacted]xxx"));
    assert!(told.iter().all(|event| !event.contains(TOKEN)));
    assert!(told.iter().all(|event| event.len() < 10_000));
}

#[test]
fn many_lines_are_told_in_several_looks_and_an_end_behind_them() {
    let mut files = Files::new(&[], &"\n".repeat(EVENTS_MAX + 1));
    files.phase = "lost";
    let first = files.read(0);
    assert_eq!(first.len(), EVENTS_MAX);
    let rest = files.read(first.last().unwrap().seq.get());
    let end = "pre_dispatch container_shutdown - -";
    assert_eq!(told(&rest), ["output ", end]);
}

#[test]
fn an_answer_names_the_credential_in_force() {
    let answer = Files::new(&[], "").answer(0);
    let tokens: Vec<_> = credentials(&answer)
        .map(|credential| credential.token.expose().to_owned())
        .collect();
    assert_eq!(tokens, ["some/token"]);
}

#[test]
fn what_is_no_answer_is_refused_and_what_is_no_record_means_nothing() {
    let redactor = Redactor::new([], []);
    let header = format!("events {TURN} 0 0 0 running 0 0 5");
    for answer in [
        "events",
        "events a b c d e f g h\n\n\n",
        &header,
        &format!("{header}\n!\n\n"),
        &format!("{header}\n\n!\n"),
        &format!("{header}\n{}\n\n", STANDARD.encode("no number\n")),
    ] {
        let refused = read(answer, &redactor, Timestamp::from_millis(1)).err();
        assert_eq!(refused, Some(Refusal::Senseless), "{answer}");
    }
    let records = [
        "0 preparing nothing",
        "0 ready x 0 main",
        "0",
        "0 complete --x -",
        "0 failed prepare other 0 5 1 1 -",
    ];
    let events = Files::new(&records, "").read(0);
    // A branch that cannot be one is none.
    assert_eq!(told(&events), ["complete"]);
    assert_eq!(events[0].seq.get(), POSITION + (4 << OUTPUT_BITS));
}
