//! Tests of the inputs, by table: a good input, changed in one place, and what is said about it.

mod canary;
mod prepare_session;
mod send_message;
mod session;

use serde_json::{Value, json};

use super::{Input, decode};
use crate::trpc::issue::{Issue, PathSegment};

const SESSION: &str = "agent_0f8fad5b-d9cb-469f-a165-70867728950e";
const MESSAGE: &str = "msg_0123456789abABCDEFGHIJKLMN";
const UUID: &str = "0f8fad5b-d9cb-469f-a165-70867728950e";

/// `base` with the members of `changes`; a member `"-"` is taken away.
fn with(base: &Value, changes: &Value) -> Value {
    let mut input = base.clone();
    let object = input.as_object_mut().expect("an object");
    for (key, value) in changes.as_object().expect("an object") {
        if *value == json!("-") {
            object.remove(key);
        } else {
            object.insert(key.clone(), value.clone());
        }
    }
    input
}

/// What is said about an input: `path.of.field: message` for each issue.
fn said(issues: &[Issue]) -> Vec<String> {
    let line = |issue: &Issue| {
        let path: Vec<String> = issue
            .path
            .iter()
            .map(|segment| match segment {
                PathSegment::Field(name) => name.to_string(),
                PathSegment::Position(position) => position.to_string(),
            })
            .collect();
        format!("{}: {}", path.join("."), issue.message)
    };
    issues.iter().map(line).collect()
}

fn accepted<T: Input>(input: &Value, rules: &T::Rules) -> T {
    decode(Some(&input.to_string()), rules)
        .unwrap_or_else(|issues| panic!("{input}: {:?}", said(&issues)))
}

fn refused<T: Input>(input: &Value, rules: &T::Rules) -> Vec<String> {
    match decode::<T>(Some(&input.to_string()), rules) {
        Ok(_) => panic!("{input}: must be refused"),
        Err(issues) => said(&issues),
    }
}

/// Asserts that `base` with these changes is refused with exactly that.
fn assert_refused<T: Input>(base: &Value, rules: &T::Rules, table: &[(Value, &str)]) {
    for (changes, expected) in table {
        let issues = refused::<T>(&with(base, changes), rules);
        assert_eq!(issues, [*expected], "{}", shortened(changes));
    }
}

/// Asserts that `base` with these changes is accepted.
fn assert_accepted<T: Input>(base: &Value, rules: &T::Rules, table: &[Value]) {
    for changes in table {
        accepted::<T>(&with(base, changes), rules);
    }
}

fn shortened(value: &Value) -> String {
    value.to_string().chars().take(200).collect()
}
