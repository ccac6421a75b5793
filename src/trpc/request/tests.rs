use std::borrow::Cow;

use super::{Parsed, RawRequest, parse};
use crate::limits;
use crate::trpc::codes::ErrorKey;
use crate::trpc::procedure::Procedure;

fn get<'a>(path: &'a str, query: &'a str) -> RawRequest<'a> {
    RawRequest {
        method: "GET",
        path,
        query,
        content_type: None,
        accept: None,
        body: b"",
    }
}

fn post<'a>(path: &'a str, query: &'a str, body: &'a str) -> RawRequest<'a> {
    RawRequest {
        method: "POST",
        path,
        query,
        content_type: Some("application/json"),
        accept: None,
        body: body.as_bytes(),
    }
}

type Called = Result<(Procedure, Option<String>), (ErrorKey, String)>;

/// The calls of a request and whether it is a batch, or the error of the whole.
fn calls(raw: RawRequest<'_>) -> Result<(Vec<Called>, bool), (ErrorKey, String)> {
    match parse(raw) {
        Ok(Parsed::NoContent) => panic!("not a HEAD request"),
        Ok(Parsed::Calls(request)) => {
            let calls = request.calls.into_iter().map(|call| {
                call.invocation
                    .map(|invocation| (invocation.procedure, invocation.input.map(Cow::into_owned)))
                    .map_err(|error| (error.key, error.message.into_owned()))
            });
            Ok((calls.collect(), request.batch))
        }
        Err(error) => Err((error.key, error.message.into_owned())),
    }
}

fn single(raw: RawRequest<'_>) -> Called {
    let (mut calls, batch) = calls(raw).expect("the request has calls");
    assert!(!batch && calls.len() == 1);
    calls.remove(0)
}

fn refused(raw: RawRequest<'_>) -> ErrorKey {
    calls(raw).expect_err("the request must be refused").0
}

#[test]
fn a_query_has_its_input_in_the_query_string() {
    for (query, input) in [
        ("input=%7B%22a%22%3A%22b%20c%22%7D", Some(r#"{"a":"b c"}"#)),
        ("x=1&input=%7B%7D", Some("{}")),
        ("input=1&input=2", Some("1")),
        ("input=", None),
        ("", None),
        ("batch=0&input=1", Some("1")),
    ] {
        let called = single(get("getSession", query));
        let expected = (Procedure::GetSession, input.map(str::to_owned));
        assert_eq!(called, Ok(expected), "{query}");
    }
}

#[test]
fn a_mutation_has_its_input_in_the_body_untouched() {
    for (body, input) in [
        (r#" {"a": 1}"#, Some(r#" {"a": 1}"#)),
        ("{ malformed", Some("{ malformed")),
        ("", None),
    ] {
        let called = single(post("sendMessageV2", "", body));
        let expected = (Procedure::SendMessageV2, input.map(str::to_owned));
        assert_eq!(called, Ok(expected), "{body}");
    }
}

#[test]
fn the_path_is_trimmed_and_decoded() {
    for path in ["health", "/health", "health/", "%68ealth", "h%65alth"] {
        assert_eq!(single(get(path, "")), Ok((Procedure::Health, None)));
    }
    for path in ["%", "%6", "%zz", "%ff"] {
        assert_eq!(refused(get(path, "")), ErrorKey::BadRequest, "{path}");
    }
}

#[test]
fn an_unknown_procedure_is_named_and_cut_to_a_bound() {
    let message = |path: &str| single(get(path, "")).unwrap_err();
    assert_eq!(
        message("nope"),
        (
            ErrorKey::NotFound,
            "No procedure found on path \"nope\"".to_owned()
        )
    );
    assert_eq!(message("a,b").1, "No procedure found on path \"a,b\"");
    assert_eq!(message("").1, "No procedure found on path \"\"");
    let longest = "é".repeat(limits::ECHOED_PATH_CHARS_MAX);
    let expected = format!("No procedure found on path \"{longest}\"");
    assert_eq!(message(&longest).1, expected);
    assert_eq!(message(&format!("{longest}x")).1, expected);
}

#[test]
fn each_kind_has_its_method() {
    for (raw, expected) in [
        (
            get("sendMessageV2", ""),
            "The mutation \"sendMessageV2\" must be called with POST",
        ),
        (
            post("getSession", "", "{}"),
            "The query \"getSession\" must be called with GET",
        ),
        (
            RawRequest {
                method: "DELETE",
                ..get("deleteSession", "")
            },
            "The mutation \"deleteSession\" must be called with POST",
        ),
    ] {
        assert_eq!(
            single(raw),
            Err((ErrorKey::MethodNotSupported, expected.to_owned()))
        );
    }
    let head = RawRequest {
        method: "HEAD",
        ..get("getSession", "")
    };
    assert!(matches!(parse(head), Ok(Parsed::NoContent)));
}

#[test]
fn a_mutation_must_be_json_by_its_content_type() {
    let with = |content_type| RawRequest {
        content_type,
        ..post("sendMessageV2", "", "{}")
    };
    for content_type in [
        "application/json",
        "application/json; charset=utf-8",
        "Application/JSON",
    ] {
        assert!(single(with(Some(content_type))).is_ok(), "{content_type}");
    }
    for content_type in [
        None,
        Some(""),
        Some("text/plain"),
        Some("multipart/form-data; boundary=x"),
        Some("application/octet-stream"),
        Some("application/jsonp"),
        Some("é"),
    ] {
        assert_eq!(
            refused(with(content_type)),
            ErrorKey::UnsupportedMediaType,
            "{content_type:?}"
        );
    }
}

#[test]
fn a_body_has_at_most_one_mebibyte() {
    let longest = "a".repeat(limits::BODY_BYTES_MAX);
    assert!(single(post("sendMessageV2", "", &longest)).is_ok());
    let longer = format!("{longest}a");
    let refusal = refused(post("sendMessageV2", "", &longer));
    assert_eq!(refusal, ErrorKey::PayloadTooLarge);
}

#[test]
fn a_body_that_is_not_utf8_fails_the_call() {
    let raw = RawRequest {
        body: b"{\"a\":\"\xff\"}",
        ..post("sendMessageV2", "", "")
    };
    assert_eq!(single(raw).unwrap_err().0, ErrorKey::BadRequest);
}

#[test]
fn a_batch_is_keyed_by_index_and_each_call_fails_by_itself() {
    let (called, batch) = calls(post(
        "sendMessageV2,nope,getSession2,sendMessageV2",
        "batch=1",
        r#"{"3": {"b":2} ,"0":{"a":1},"1":true,"03":0,"9":1,"x":{}}"#,
    ))
    .unwrap();
    assert!(batch);
    assert_eq!(
        called[0],
        Ok((Procedure::SendMessageV2, Some(r#"{"a":1}"#.to_owned())))
    );
    assert_eq!(called[1].as_ref().unwrap_err().0, ErrorKey::NotFound);
    assert_eq!(called[2].as_ref().unwrap_err().0, ErrorKey::NotFound);
    assert_eq!(
        called[3],
        Ok((Procedure::SendMessageV2, Some(r#"{"b":2}"#.to_owned())))
    );
}

#[test]
fn a_batch_of_queries_has_its_inputs_in_the_query_string() {
    let (called, batch) = calls(get(
        "getSession%2Chealth",
        "batch=1&input=%7B%220%22%3A%7B%22a%22%3A1%7D%7D",
    ))
    .unwrap();
    assert!(batch);
    assert_eq!(
        called,
        [
            Ok((Procedure::GetSession, Some(r#"{"a":1}"#.to_owned()))),
            Ok((Procedure::Health, None)),
        ]
    );
}

#[test]
fn a_batch_of_one_without_input_is_a_batch() {
    let (called, batch) = calls(get("health", "batch=1")).unwrap();
    assert!(batch);
    assert_eq!(called, [Ok((Procedure::Health, None))]);
}

#[test]
fn a_malformed_batch_fails_every_call() {
    for (body, message) in [
        ("{\"0\":{}", "The input is not valid JSON"),
        ("{\"0\":{}}x", "The input is not valid JSON"),
        (
            "[1,2]",
            "The input of a batch must be an object keyed by the index of the call",
        ),
        (
            "\"canary\"",
            "The input of a batch must be an object keyed by the index of the call",
        ),
    ] {
        let (called, _) = calls(post("sendMessageV2,deleteSession", "batch=1", body)).unwrap();
        let error = Err((ErrorKey::BadRequest, message.to_owned()));
        assert_eq!(called, [error.clone(), error], "{body}");
    }
}

#[test]
fn a_batch_has_a_bounded_number_of_calls() {
    let of = |calls| vec!["health"; calls].join(",");
    let longest = of(limits::BATCH_CALLS_MAX);
    let called = calls(get(&longest, "batch=1")).unwrap().0;
    assert_eq!(called.len(), limits::BATCH_CALLS_MAX);
    let longer = of(limits::BATCH_CALLS_MAX + 1);
    assert_eq!(refused(get(&longer, "batch=1")), ErrorKey::BadRequest);
}

#[test]
fn queries_and_mutations_do_not_share_a_batch() {
    let path = "health,nope,sendMessageV2";
    assert_eq!(refused(get(path, "batch=1")), ErrorKey::BadRequest);
    assert_eq!(refused(post(path, "batch=1", "{}")), ErrorKey::BadRequest);
}

#[test]
fn a_batch_may_be_answered_in_lines() {
    let with = |accept, query| RawRequest {
        accept,
        ..get("health", query)
    };
    for (accept, lines) in [
        (None, false),
        (Some("*/*"), false),
        (Some("application/jsonl"), true),
        (Some("text/html, application/jsonl"), true),
    ] {
        let Ok(Parsed::Calls(request)) = parse(with(accept, "batch=1")) else {
            panic!("{accept:?}");
        };
        assert_eq!(request.lines, lines, "{accept:?}");
    }
    let alone = with(Some("application/jsonl"), "");
    assert_eq!(refused(alone), ErrorKey::BadRequest);
}
