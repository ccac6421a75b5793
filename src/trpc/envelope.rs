//! Replies in the shape that stock tRPC clients read.
//!
//! Clients never look at the HTTP status and always parse JSON, so every reply is one of these envelopes.

use std::fmt::Write as _;

use serde::Serialize;

use super::codes::AdmissionCode;
use super::error::CallError;

/// Status of a batch whose calls ended with different ones.
const MULTI_STATUS: u16 = 207;

/// The output of a successful call, as JSON text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Data(String);

impl Data {
    /// Takes output that is JSON text already, such as the session object's. It is put into the reply as it is.
    #[must_use]
    pub fn from_json_text(text: String) -> Self {
        Self(text)
    }

    /// The JSON text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Serializes a typed output.
    ///
    /// # Errors
    /// An internal error when the output cannot be JSON.
    pub fn from_output<T: Serialize>(output: &T) -> Result<Self, CallError> {
        serde_json::to_string(output)
            .map(Self)
            .map_err(|_| CallError::internal())
    }
}

/// How one call ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer<'a> {
    /// The path that was called, for the error's `data.path`.
    pub path: &'a str,
    /// Its output or its error.
    pub result: Result<Data, CallError>,
}

/// An HTTP reply; its headers are the same for all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// The HTTP status.
    pub status: u16,
    /// JSON text.
    pub body: String,
}

impl Reply {
    /// The reply to a request that is a single call.
    #[must_use]
    pub fn single(answer: &Answer<'_>) -> Self {
        let mut body = String::new();
        push_answer(&mut body, answer);
        Self {
            status: status_of(answer),
            body,
        }
    }

    /// The reply to a batch: an array in the order of the calls.
    #[must_use]
    pub fn batch(answers: &[Answer<'_>]) -> Self {
        let mut body = String::from("[");
        for (index, answer) in answers.iter().enumerate() {
            if index > 0 {
                body.push(',');
            }
            push_answer(&mut body, answer);
        }
        body.push(']');
        let mut statuses = answers.iter().map(status_of);
        let first = statuses.next().unwrap_or(200);
        let status = if statuses.all(|status| status == first) {
            first
        } else {
            MULTI_STATUS
        };
        Self { status, body }
    }

    /// The same for clients that read a batch as lines: the one line there is has every answer. Their status is always
    /// 200.
    #[must_use]
    pub fn lines(answers: &[Answer<'_>]) -> Self {
        let mut body = String::new();
        for (index, answer) in answers.iter().enumerate() {
            body.push(if index == 0 { '{' } else { ',' });
            let _ = write!(body, "\"{index}\":[[");
            push_answer(&mut body, answer);
            body.push_str("]]");
        }
        body.push_str("}\n");
        Self { status: 200, body }
    }

    /// The reply to a request that failed as a whole: one error, which clients apply to every call of a batch.
    #[must_use]
    pub fn refusal(error: &CallError) -> Self {
        let mut body = String::new();
        push_error(&mut body, error, None);
        Self {
            status: error.key.http_status(),
            body,
        }
    }
}

fn status_of(answer: &Answer<'_>) -> u16 {
    match &answer.result {
        Ok(_) => 200,
        Err(error) => error.key.http_status(),
    }
}

fn push_answer(body: &mut String, answer: &Answer<'_>) {
    match &answer.result {
        Ok(Data(text)) => {
            body.reserve(text.len() + 24);
            body.push_str(r#"{"result":{"data":"#);
            body.push_str(text);
            body.push_str("}}");
        }
        Err(error) => push_error(body, error, Some(answer.path)),
    }
}

#[derive(Serialize)]
struct ErrorBody<'a> {
    message: &'a str,
    code: i32,
    data: ErrorData<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ErrorData<'a> {
    code: &'static str,
    http_status: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    path: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    retryable: Option<bool>,
}

fn push_error(body: &mut String, error: &CallError, path: Option<&str>) {
    let shape = ErrorBody {
        message: &error.message,
        code: error.key.json_rpc_code(),
        data: ErrorData {
            code: error.key.as_str(),
            http_status: error.key.http_status(),
            path,
            error: error.admission.map(AdmissionCode::as_str),
            retryable: error.admission.map(AdmissionCode::is_retryable),
        },
    };
    // A structure of texts, numbers and booleans always serializes, and writing into a String cannot fail.
    if let Ok(text) = serde_json::to_string(&shape) {
        let _ = write!(body, r#"{{"error":{text}}}"#);
    }
}

#[cfg(test)]
mod tests {
    use super::{Answer, Data, Reply};
    use crate::trpc::codes::{AdmissionCode, ErrorKey};
    use crate::trpc::error::CallError;

    fn success(text: &str) -> Answer<'static> {
        Answer {
            path: "getSession",
            result: Ok(Data::from_json_text(text.to_owned())),
        }
    }

    fn failure(error: CallError) -> Answer<'static> {
        Answer {
            path: "sendMessageV2",
            result: Err(error),
        }
    }

    #[test]
    fn output_is_put_in_as_it_is() {
        let reply = Reply::single(&success(r#"{"a": 1}"#));
        assert_eq!(reply.status, 200);
        assert_eq!(reply.body, r#"{"result":{"data":{"a": 1}}}"#);
        let typed = Data::from_output(&[1, 2]).unwrap();
        assert_eq!(typed, Data::from_json_text("[1,2]".to_owned()));
    }

    #[test]
    fn an_error_names_its_path_and_is_escaped() {
        let error = CallError::new(ErrorKey::NotFound, "No \"such\"");
        let reply = Reply::single(&failure(error));
        assert_eq!(reply.status, 404);
        assert_eq!(
            reply.body,
            r#"{"error":{"message":"No \"such\"","code":-32004,"data":{"code":"NOT_FOUND","httpStatus":404,"path":"sendMessageV2"}}}"#
        );
    }

    #[test]
    fn an_admission_error_says_whether_to_retry() {
        let error = CallError::admission(
            AdmissionCode::PendingQueueFull,
            "Pending message queue is full (10)",
        );
        let reply = Reply::single(&failure(error));
        assert_eq!(reply.status, 429);
        assert_eq!(
            reply.body,
            r#"{"error":{"message":"Pending message queue is full (10)","code":-32029,"data":{"code":"TOO_MANY_REQUESTS","httpStatus":429,"path":"sendMessageV2","error":"PENDING_QUEUE_FULL","retryable":true}}}"#
        );
    }

    #[test]
    fn a_batch_has_one_status_or_207() {
        let not_found = || failure(CallError::new(ErrorKey::NotFound, "no"));
        let internal = || failure(CallError::internal());
        for (answers, status) in [
            (vec![success("1"), success("2")], 200),
            (vec![not_found(), not_found()], 404),
            (vec![success("1"), not_found()], 207),
            (vec![internal(), not_found()], 207),
            (vec![internal()], 500),
        ] {
            assert_eq!(Reply::batch(&answers).status, status, "{answers:?}");
        }
        assert_eq!(
            Reply::batch(&[success("1"), success("null")]).body,
            r#"[{"result":{"data":1}},{"result":{"data":null}}]"#
        );
    }

    #[test]
    fn a_batch_in_lines_has_every_answer_under_its_index() {
        let answers = [success("1"), failure(CallError::internal())];
        let Reply { status, body } = Reply::lines(&answers);
        assert_eq!(status, 200);
        let second = Reply::single(&answers[1]).body;
        assert_eq!(
            body,
            format!("{{\"0\":[[{{\"result\":{{\"data\":1}}}}]],\"1\":[[{second}]]}}\n")
        );
    }

    #[test]
    fn a_request_that_fails_as_a_whole_is_one_object_without_a_path() {
        let reply = Reply::refusal(&CallError::new(ErrorKey::UnsupportedMediaType, "no"));
        assert_eq!(reply.status, 415);
        assert_eq!(
            reply.body,
            r#"{"error":{"message":"no","code":-32015,"data":{"code":"UNSUPPORTED_MEDIA_TYPE","httpStatus":415}}}"#
        );
    }

    #[test]
    fn an_error_survives_the_way_from_the_object_to_the_worker() {
        let error = CallError::admission(AdmissionCode::NotFound, "Session not found");
        let text = serde_json::to_string(&error).unwrap();
        assert_eq!(serde_json::from_str::<CallError>(&text).unwrap(), error);
    }
}
