//! What a socket wants to see.

use cloud_agent_wire::Timestamp;
use serde::{Deserialize, Serialize};

/// The filters of a socket: an event must pass all of them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Filter {
    /// Only these types; every type when empty.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub event_types: Vec<String>,
    /// Only events of these messages; every event when empty.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub execution_ids: Vec<String>,
    /// Only events at or after this moment.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub start_time: Option<Timestamp>,
    /// Only events at or before this moment.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub end_time: Option<Timestamp>,
}

impl Filter {
    /// Whether an event passes.
    #[must_use]
    pub fn allows(&self, kind: &str, message_id: Option<&str>, at: Timestamp) -> bool {
        let is_listed = |list: &[String], value: &str| list.iter().any(|entry| entry == value);
        (self.event_types.is_empty() || is_listed(&self.event_types, kind))
            && (self.execution_ids.is_empty()
                || message_id.is_some_and(|id| is_listed(&self.execution_ids, id)))
            && self.start_time.is_none_or(|start| at >= start)
            && self.end_time.is_none_or(|end| at <= end)
    }
}

#[cfg(test)]
mod tests {
    use cloud_agent_wire::Timestamp;

    use super::Filter;

    #[test]
    fn an_event_must_pass_every_filter_and_time_bounds_are_inclusive() {
        let at = Timestamp::from_millis;
        let filter = |kinds: &[&str], ids: &[&str], start: Option<u64>, end: Option<u64>| Filter {
            event_types: kinds.iter().map(|&kind| kind.to_owned()).collect(),
            execution_ids: ids.iter().map(|&id| id.to_owned()).collect(),
            start_time: start.map(at),
            end_time: end.map(at),
        };
        for (filter, expected) in [
            (filter(&[], &[], None, None), true),
            (filter(&["a", "kind"], &[], None, None), true),
            (filter(&["kin"], &[], None, None), false),
            (filter(&[], &["m"], None, None), true),
            (filter(&[], &["n"], None, None), false),
            (filter(&["kind"], &["n"], None, None), false),
            (filter(&[], &[], Some(10), Some(10)), true),
            (filter(&[], &[], Some(11), None), false),
            (filter(&[], &[], None, Some(9)), false),
        ] {
            assert_eq!(
                filter.allows("kind", Some("m"), at(10)),
                expected,
                "{filter:?}"
            );
        }
        assert!(!filter(&[], &["m"], None, None).allows("kind", None, at(10)));
    }
}
