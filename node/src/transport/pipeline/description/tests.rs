use std::collections::BTreeSet;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use utoipa::ToSchema as _;
use utoipa::openapi::RefOr;

use super::*;
use crate::transport::request::error::Code;

/// All errors that are described: status and code.
fn described() -> BTreeSet<(u16, String)> {
    let mut document = document_of_api();
    let mut found = BTreeSet::new();
    for item in document.paths.paths.values_mut() {
        for (_, operation) in description::operations(item) {
            for (status, response) in &operation.responses.responses {
                if let RefOr::Ref(error) = response {
                    let codes = error.description.split('`').skip(1).step_by(2);
                    found.extend(codes.map(|code| (status.parse().unwrap(), code.to_owned())));
                }
            }
        }
    }
    found
}

#[test]
fn every_route_and_method_is_described_and_no_other() {
    let mut document = document_of_api();
    let mut described = Vec::new();
    for (path, item) in &mut document.paths.paths {
        let methods: Vec<_> = description::operations(item).map(|(method, _)| method).collect();
        described.extend(methods.iter().map(|method| format!("{} {path}", description::name(method))));
    }
    let mut routed = Vec::new();
    // The page and the echo are no part of the API.
    for row in ROWS.iter().filter(|row| matches!(row.paths, Paths::At(_))) {
        routed.extend(row.endpoints.iter().map(|one| format!("{} {}", one.method, row.name.template())));
    }
    described.sort();
    routed.sort();
    assert_eq!(routed, described);
}

#[test]
fn every_code_that_is_described_has_that_status_and_every_code_is_described() {
    let described = described();
    let known: BTreeSet<(u16, String)> = Code::ALL
        .iter()
        .map(|code| (code.status().as_u16(), code.name().to_owned()))
        .filter(|(status, _)| *status >= 400)
        .collect();
    let fields = ["failed", "pin"].map(str::to_owned);
    let unknown: Vec<_> = described.difference(&known).filter(|(_, word)| !fields.contains(word)).collect();
    assert!(unknown.is_empty(), "{unknown:?}");
    // The document says of these that any request may be refused so.
    let of_all = ["method_not_allowed", "gone", "tls_required", "headers_too_large", "internal_error"];
    let missing: Vec<_> =
        known.difference(&described).filter(|(_, code)| !of_all.contains(&code.as_str())).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

/// Whether a text has each field of a type, and no other.
fn reads_as<T: DeserializeOwned + Serialize>(text: &str) {
    let (read, all): (T, Value) = (serde_json::from_str(text).unwrap(), serde_json::from_str(text).unwrap());
    assert_eq!(serde_json::to_value(read).unwrap(), all);
}

#[test]
fn errors_are_what_the_document_says() {
    for code in Code::ALL {
        let error = Error::from(*code);
        reads_as::<Failure>(&error.text("id-1", false, false));
        reads_as::<Problem>(&error.text("id-1", true, false));
    }
}

#[test]
fn no_schema_stands_for_two_things() {
    let mut schemas = Vec::new();
    relay::RelayRequest::schemas(&mut schemas);
    relay::RelayAnswer::schemas(&mut schemas);
    for (name, schema) in &schemas {
        let same = schemas.iter().filter(|(other, _)| other == name).all(|(_, other)| other == schema);
        assert!(same, "{name}");
    }
}

#[test]
fn the_document_is_sound() {
    description::assert_sound(&document_of_api());
}

#[test]
fn the_copy_in_the_guides_is_the_document() {
    let copy = include_str!("../../../../../docs/openapi.json");
    let made = document_of_api().to_pretty_json().unwrap();
    assert!(copy.trim_end() == made, "conclave openapi > docs/openapi.json");
}
