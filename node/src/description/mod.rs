//! OpenAPI documents, made of the types that requests and answers are read and written as: what all of them have in common, and
//! the page that shows one.

mod reference;

use serde::Serialize;
use utoipa::ToSchema;
use utoipa::openapi::header::{Header, HeaderBuilder};
use utoipa::openapi::path::{Operation, PathItem};
use utoipa::openapi::response::Response;
use utoipa::openapi::schema::{ObjectBuilder, Schema, SchemaType, Type};
use utoipa::openapi::{Content, HttpMethod, OpenApi, Ref, RefOr};

pub(crate) use reference::Reference;

/// An error, as every listener words it.
#[allow(dead_code, reason = "errors are written by hand, and tests read them as this type")]
#[derive(Debug, Serialize, ToSchema)]
#[cfg_attr(test, derive(serde::Deserialize))]
#[serde(rename_all = "camelCase")]
#[schema(as = Error)]
pub(crate) struct Failure {
    /// For programs.
    #[schema(example = "pin_in_use")]
    error: String,
    /// For people; may change.
    message: String,
    /// Under which the request is found in the logs.
    request_id: String,
    /// `waiting`, with relay's chunk actions only.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    status: Option<String>,
    /// Of `invalid_signal_type`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    valid_types: Option<Vec<String>>,
    /// Of `payload_too_large`, in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    limit: Option<u64>,
    /// Of a transfer or a chunk that is gone: that the receiver acknowledged everything before.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    acknowledged: Option<bool>,
    /// When to come back, in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    retry_after: Option<u64>,
    /// Of 429 and 507: whose bound was met.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    scope: Option<Scope>,
    /// Of `/readyz`: the checks that failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    failed: Option<Vec<String>>,
    /// The same, at the admin listener.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    checks: Option<Vec<String>>,
}

/// Whose bound was met.
#[allow(dead_code, reason = "errors are written by hand, and tests read them as this type")]
#[derive(Debug, Serialize, ToSchema)]
#[cfg_attr(test, derive(serde::Deserialize))]
#[serde(rename_all = "lowercase")]
enum Scope {
    Client,
    Cluster,
    Tenant,
}

/// An error as a problem document (RFC 9457), for whoever accepts `application/problem+json`.
#[allow(dead_code, reason = "errors are written by hand, and tests read them as this type")]
#[derive(Debug, Serialize, ToSchema)]
#[cfg_attr(test, derive(serde::Deserialize))]
#[serde(rename_all = "camelCase")]
pub(crate) struct Problem {
    /// A URN that ends with the code.
    #[serde(rename = "type")]
    #[schema(example = "urn:conclave:error:pin_in_use")]
    kind: String,
    title: String,
    status: u16,
    error: String,
    message: String,
    request_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    valid_types: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    limit: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    retry_after: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    scope: Option<Scope>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    failed: Option<Vec<String>>,
}

/// The operations of a path, each with its method.
pub(crate) fn operations(item: &mut PathItem) -> impl Iterator<Item = (HttpMethod, &mut Operation)> {
    let PathItem { get, put, post, delete, .. } = item;
    [(HttpMethod::Get, get), (HttpMethod::Put, put), (HttpMethod::Post, post), (HttpMethod::Delete, delete)]
        .into_iter()
        .filter_map(|(method, operation)| operation.as_mut().map(|operation| (method, operation)))
}

/// How a method is spelled.
#[cfg(test)]
pub(crate) fn name(method: &HttpMethod) -> &'static str {
    match method {
        HttpMethod::Get => "GET",
        HttpMethod::Put => "PUT",
        HttpMethod::Post => "POST",
        HttpMethod::Delete => "DELETE",
        _ => "another",
    }
}

/// Adds the codes of errors that an operation may answer with for what all like it have in common.
pub(crate) fn may_fail(operation: &mut Operation, status: u16, codes: &str) {
    let responses = &mut operation.responses.responses;
    let response = responses.entry(status.to_string()).or_insert_with(|| Response::new("").into());
    let RefOr::T(response) = response else { return };
    let said = &mut response.description;
    for code in codes.split(", ") {
        if !said.contains(code) {
            said.push_str(if said.is_empty() { "" } else { ", " });
            said.push_str(code);
        }
    }
}

/// Headers that many answers have.
const HEADERS: [(&str, Type, &str); 8] = [
    ("X-Request-ID", Type::String, "Under which the request is found in the logs"),
    ("RateLimit", Type::String, "What is left and for how many seconds (IETF draft)"),
    ("RateLimit-Policy", Type::String, "The tier's rule (IETF draft)"),
    ("X-RateLimit-Limit", Type::Integer, "Requests"),
    ("X-RateLimit-Remaining", Type::Integer, "Requests"),
    ("X-RateLimit-Reset", Type::Integer, "Seconds"),
    ("Retry-After", Type::Integer, "Seconds"),
    ("WWW-Authenticate", Type::String, "`Bearer` (RFC 6750)"),
];

/// Those of a request that is charged to an allowance.
pub(crate) const CHARGED: [&str; 5] =
    ["RateLimit", "RateLimit-Policy", "X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset"];

/// Adds headers that many answers have to those of an operation that are successes.
pub(crate) fn success_headers(operation: &mut Operation, names: &[&str]) {
    for (status, response) in &mut operation.responses.responses {
        if let RefOr::T(response) = response
            && status.starts_with('2')
        {
            response.headers.extend(names.iter().map(|name| header(name)));
        }
    }
}

fn header(name: &str) -> (String, RefOr<Header>) {
    (name.to_owned(), RefOr::Ref(Ref::new(format!("#/components/headers/{name}"))))
}

/// Looks at what no document may have: a schema that is named and not there, and one that no value fits (of a field that is
/// described and inlined utoipa makes an object as well).
#[cfg(test)]
pub(crate) fn assert_sound(document: &OpenApi) {
    let text = document.to_json().unwrap();
    let components = document.components.as_ref().unwrap();
    for name in text.split("#/components/schemas/").skip(1) {
        let name = name.split('"').next().unwrap();
        assert!(components.schemas.contains_key(name), "{name}");
    }
    assert!(!text.contains("allOf"));
}

/// Gives all errors of a document their body and headers: each is one of a few answers, with a description of its own.
/// `problems`: also as problem documents.
pub(crate) fn share(document: &mut OpenApi, problems: bool) {
    for item in document.paths.paths.values_mut() {
        for (_, operation) in operations(item) {
            for parameter in operation.parameters.iter_mut().flatten() {
                if let RefOr::T(parameter) = parameter {
                    parameter.schema = parameter.schema.take().map(without_null);
                }
            }
            if let Some(RefOr::T(body)) = &mut operation.request_body {
                for content in body.content.values_mut() {
                    if let RefOr::T(content) = content {
                        content.schema = content.schema.take().map(without_null);
                    }
                }
            }
            for (status, response) in &mut operation.responses.responses {
                if let RefOr::T(error) = response
                    && status.as_str() >= "400"
                {
                    let mut shared = Ref::from_response_name(shared_error(status).0);
                    shared.description = std::mem::take(&mut error.description);
                    *response = shared.into();
                }
            }
        }
    }
    let components = document.components.get_or_insert_default();
    for (name, kind, description) in HEADERS {
        let schema = ObjectBuilder::new().schema_type(kind);
        let header = HeaderBuilder::new().schema(Some(schema)).description(Some(description)).build();
        components.headers.insert(name.to_owned(), header.into());
    }
    for status in ["400", "401", "405", "429"] {
        let (name, more) = shared_error(status);
        let object = |name: &str| RefOr::T(Content::new(Some(Ref::from_schema_name(name))));
        let mut error = Response::new("An error");
        error.content.insert("application/json".to_owned(), object("Error"));
        if problems {
            error.content.insert("application/problem+json".to_owned(), object("Problem"));
        }
        error.headers.extend(["X-Request-ID"].iter().chain(more).map(|name| header(name)));
        components.responses.insert(name.to_owned(), error.into());
    }
    let methods = ObjectBuilder::new().schema_type(Type::String);
    let allow = HeaderBuilder::new().schema(Some(methods)).description(Some("The methods that there are"));
    components.headers.insert("Allow".to_owned(), allow.build().into());
}

/// A schema of what may be left out, and cannot be null where it is not: a parameter, or a whole body.
fn without_null(schema: RefOr<Schema>) -> RefOr<Schema> {
    let is_null = |schema: &RefOr<Schema>| matches!(schema, RefOr::T(Schema::Object(object)) if object.schema_type == Type::Null.into());
    match schema {
        RefOr::T(Schema::OneOf(choice)) => {
            let mut others: Vec<_> = choice.items.into_iter().filter(|one| !is_null(one)).collect();
            others.pop().unwrap_or_default()
        }
        RefOr::T(Schema::Object(mut object)) => {
            if let SchemaType::Array(types) = &object.schema_type
                && let Some(own) = types.iter().find(|one| **one != Type::Null)
            {
                object.schema_type = own.clone().into();
            }
            object.into()
        }
        other => other,
    }
}

/// What the shared answer of a status is called, and its headers.
fn shared_error(status: &str) -> (&'static str, &'static [&'static str]) {
    match status {
        "401" => ("Unauthorized", &["WWW-Authenticate"]),
        "405" => ("NotAllowed", &["Allow"]),
        "429" | "503" => ("Later", &["Retry-After"]),
        _ => ("Failed", &[]),
    }
}
