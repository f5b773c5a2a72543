//! Errors as RFC 9457 problem documents, and work that blocks moved off the runtime. Touches nothing.

use crate::Error;
use axum::{
    Json,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde_json::json;

/// What went wrong, as it is told over HTTP.
#[derive(Debug)]
pub(crate) struct Problem {
    status: StatusCode,
    code: String,
    detail: String,
    hint: String,
    log_id: Option<String>,
}

/// The result of a handler.
pub(crate) type Answer<T> = Result<T, Problem>;

impl Problem {
    pub(crate) fn new(status: StatusCode, code: &str, detail: &str, hint: &str) -> Self {
        Self { status, code: code.to_owned(), detail: detail.to_owned(), hint: hint.to_owned(), log_id: None }
    }
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        let detail = error.to_string();
        match error {
            Error::Refused(refusal) => {
                let status = match refusal.code {
                    code if code.starts_with("unknown-") => StatusCode::NOT_FOUND,
                    "bad-token" | "bad-signature" | "four-eyes" => StatusCode::FORBIDDEN,
                    _ => StatusCode::CONFLICT,
                };
                Self::new(status, refusal.code, &refusal.what, &refusal.hint)
            }
            Error::Input(_) | Error::Canonical(_) => Self::new(StatusCode::BAD_REQUEST, "input", &detail, ""),
            Error::Clock(_) => Self::new(StatusCode::SERVICE_UNAVAILABLE, "clock", &detail, ""),
            _ => {
                let log_id = crate::identity::random::<6>()
                    .map(|bytes| u64::from_be_bytes([0, 0, bytes[0], bytes[1], bytes[2], bytes[3], bytes[4], bytes[5]]));
                let log_id = log_id.map_or_else(|_| "0".to_owned(), |id| format!("{id:012x}"));
                tracing::error!(log_id, error = detail, "a request failed");
                let told = "the server could not do it; its log says why";
                let hint = format!("look for {log_id} in the server's log");
                Self { log_id: Some(log_id), ..Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", told, &hint) }
            }
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let title = self.status.canonical_reason().unwrap_or("error");
        let (status, log_id) = (self.status.as_u16(), self.log_id);
        let body =
            json!({ "title": title, "status": status, "detail": self.detail, "code": self.code, "hint": self.hint, "log_id": log_id });
        let mut response = (self.status, Json(body)).into_response();
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        response
    }
}

/// Runs work that blocks on disk, off the runtime's threads.
pub(crate) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T, Error> + Send + 'static) -> Answer<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result.map_err(Problem::from),
        Err(error) => Err(Error::Damaged(format!("a request ended early: {error}")).into()),
    }
}
