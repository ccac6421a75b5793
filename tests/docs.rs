//! The tables of `docs/protocol.md` are the code's own rows. `UPDATE_DOCS=1` writes them; otherwise a stale one fails.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fmt::Write as _;

use cloud_agent_session::session::deadline::DeadlineKind;
use cloud_agent_session::session::event_data::EVENT_TYPES;
use cloud_agent_session::session::message::TRANSITIONS;
use cloud_agent_session::session::retry::{FailurePolicy, failure_policy};
use cloud_agent_session::trpc::AdmissionCode;
use cloud_agent_wire::{FailureCode, FailureSubtype};

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/protocol.md");

fn table(head: [&str; 3], rows: impl IntoIterator<Item = [String; 3]>) -> String {
    let mut text = format!("| {} |\n| --- | --- | --- |\n", head.join(" | "));
    for row in rows {
        writeln!(text, "| {} |", row.join(" | ")).unwrap();
    }
    text
}

fn transitions() -> String {
    table(
        ["from", "to", "when"],
        TRANSITIONS.iter().map(|row| {
            [
                row.from.as_str().to_owned(),
                row.to.as_str().to_owned(),
                row.trigger.to_owned(),
            ]
        }),
    )
}

fn failures() -> String {
    let row = |name: &str, policy: FailurePolicy| {
        let delays: Vec<_> = policy
            .retry_delays_seconds
            .iter()
            .map(u64::to_string)
            .collect();
        let delays = if delays.is_empty() {
            "none".to_owned()
        } else {
            delays.join(", ")
        };
        [format!("`{name}`"), policy.sentence.to_owned(), delays]
    };
    let codes = FailureCode::ALL
        .iter()
        .map(|code| row(code.as_str(), failure_policy(*code, None)));
    let subtypes = FailureSubtype::ALL.iter().map(|subtype| {
        row(
            &format!(
                "{} / {}",
                FailureCode::WorkspaceSetupFailed.as_str(),
                subtype.as_str()
            ),
            failure_policy(FailureCode::WorkspaceSetupFailed, Some(*subtype)),
        )
    });
    table(
        ["failure", "what clients read", "retries after"],
        codes.chain(subtypes),
    )
}

fn deadlines() -> String {
    let mut text = "| deadline | meaning |\n| --- | --- |\n".to_owned();
    for kind in DeadlineKind::ALL {
        writeln!(text, "| `{}` | {} |", kind.as_str(), kind.meaning().trim()).unwrap();
    }
    text
}

fn admission_codes() -> String {
    table(
        ["`error`", "`code` and status", "`retryable`"],
        AdmissionCode::ALL.iter().map(|code| {
            let key = code.key();
            [
                format!("`{}`", code.as_str()),
                format!("`{}` {}", key.as_str(), key.http_status()),
                code.is_retryable().to_string(),
            ]
        }),
    )
}

fn replace(page: &str, name: &str, content: &str) -> String {
    let open = format!("<!-- generated: {name} -->\n");
    let (before, rest) = page
        .split_once(&open)
        .unwrap_or_else(|| panic!("no mark for {name}"));
    let (_, after) = rest
        .split_once("<!-- end -->")
        .expect("the mark has an end");
    format!("{before}{open}{content}<!-- end -->{after}")
}

#[test]
fn the_tables_of_the_protocol_are_the_ones_in_the_code() {
    let stored = std::fs::read_to_string(PAGE).expect("the page is there");
    let tables = [
        ("transitions", transitions()),
        ("failures", failures()),
        ("deadlines", deadlines()),
        ("admission codes", admission_codes()),
    ];
    let current = tables.iter().fold(stored.clone(), |page, (name, content)| {
        replace(&page, name, content)
    });
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(PAGE, &current).expect("the page can be written");
    } else {
        assert!(
            stored == current,
            "docs/protocol.md is stale: run UPDATE_DOCS=1 cargo test --test docs"
        );
    }
}

/// The row of a type in a table whose first two columns are types and whether events of them are stored.
fn is_listed(page: &str, event_type: &str, is_stored: bool) -> bool {
    let stored = if is_stored { "yes" } else { "no" };
    // Types with a common beginning share a row, in which the later ones are cut to their end.
    let (start, end) = event_type.rsplit_once('.').unwrap_or(("", event_type));
    page.lines()
        .filter_map(|line| line.strip_prefix("| ")?.split_once(" | "))
        .any(|(types, rest)| {
            let is_whole = types.contains(&format!("`{event_type}`"));
            let is_cut =
                types.contains(&format!("`{start}.")) && types.contains(&format!("`.{end}`"));
            (is_whole || is_cut) && rest.starts_with(stored)
        })
}

#[test]
fn every_type_of_event_is_in_the_tables_of_events() {
    for name in ["stream", "compatibility"] {
        let root = env!("CARGO_MANIFEST_DIR");
        let page = std::fs::read_to_string(format!("{root}/docs/{name}.md")).unwrap();
        for (event_type, is_stored) in EVENT_TYPES {
            assert!(
                is_listed(&page, event_type, *is_stored),
                "docs/{name}.md does not list {event_type} as it is"
            );
        }
    }
}
