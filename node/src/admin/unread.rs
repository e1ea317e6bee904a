//! Requests that are refused because of how they came, in the node's one error format.

use actix_web::http::StatusCode;
use actix_web::http::header::{ALLOW, RETRY_AFTER};
use actix_web::{HttpResponse, ResponseError};
use uuid::Uuid;

use super::api_types::Failure;
use crate::listener::Refusal;

/// A request that was not read whole.
#[derive(Debug, thiserror::Error)]
#[error("{}", message(*.0))]
pub(super) struct Unread(pub(super) Refusal);

fn message(why: Refusal) -> &'static str {
    match why {
        Refusal::Malformed => "The request is not written as HTTP/1.1 has it.",
        Refusal::TooLarge => "The head of the request is too large.",
        Refusal::Method => "Nothing here answers to this method.",
        Refusal::Late => "The request took too long to arrive.",
        Refusal::Overloaded => "Too much waits on this node.",
    }
}

impl Unread {
    fn code(&self) -> &'static str {
        match self.0 {
            Refusal::Malformed => "invalid_input",
            Refusal::TooLarge => "headers_too_large",
            Refusal::Method => "method_not_allowed",
            Refusal::Late => "request_timeout",
            Refusal::Overloaded => "overloaded",
        }
    }
}

impl ResponseError for Unread {
    fn status_code(&self) -> StatusCode {
        match self.0 {
            Refusal::Malformed => StatusCode::BAD_REQUEST,
            Refusal::TooLarge => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Refusal::Method => StatusCode::METHOD_NOT_ALLOWED,
            Refusal::Late => StatusCode::REQUEST_TIMEOUT,
            Refusal::Overloaded => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    fn error_response(&self) -> HttpResponse {
        let request_id = Uuid::now_v7().to_string();
        let mut response = HttpResponse::build(self.status_code());
        response.insert_header(("X-Request-ID", request_id.as_str()));
        match self.0 {
            Refusal::Method => drop(response.insert_header((ALLOW, "GET, POST, DELETE"))),
            Refusal::Overloaded => drop(response.insert_header((RETRY_AFTER, "1"))),
            Refusal::Malformed | Refusal::TooLarge | Refusal::Late => {}
        }
        let (error, message) = (self.code().to_owned(), self.to_string());
        response.json(Failure { error, message, request_id, checks: Vec::new() })
    }
}
