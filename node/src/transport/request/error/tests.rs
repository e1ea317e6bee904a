use serde_json::{Value, json};

use super::*;

fn body(error: &Error, problem: bool) -> Value {
    serde_json::from_str(&error.body("id-1", problem, false)).unwrap()
}

#[test]
fn every_code_has_a_body_that_parses() {
    for code in Code::ALL {
        let error = Error::from(*code);
        let parsed = body(&error, false);
        assert_eq!(parsed["error"], code.name());
        assert_eq!(parsed["requestId"], "id-1");
        assert!(parsed["message"].as_str().unwrap().ends_with('.'));
        assert_eq!(body(&error, true)["status"], code.status().as_u16());
    }
}

#[test]
fn extra_fields_stand_beside_the_code() {
    let types = Error::from(Code::InvalidSignalType).with(Extra::ValidTypes(&["offer", "answer"]));
    assert_eq!(body(&types, false)["validTypes"], json!(["offer", "answer"]));
    let limit = Error::from(Code::PayloadTooLarge).with(Extra::Limit(10));
    assert_eq!(body(&limit, false)["limit"], 10);
    let failed = Error::from(Code::NoLeader).with(Extra::Failed(vec!["no_leader", "applying"]));
    assert_eq!(body(&failed, false)["failed"], json!(["no_leader", "applying"]));
}

#[test]
fn whose_bound_was_met_is_said_with_429_and_507_alone() {
    for code in Code::ALL {
        let scope = body(&Error::from(*code), false)["scope"].clone();
        let expected = match code {
            Code::RateLimitExceeded => json!("client"),
            Code::StorageFull | Code::MailboxFull => json!("cluster"),
            Code::TenantStorageFull => json!("tenant"),
            _ => Value::Null,
        };
        assert_eq!(scope, expected, "{code:?}");
        assert_eq!(scope.is_string(), matches!(code.status().as_u16(), 429 | 507), "{code:?}");
    }
    let share_full = Error::from(service::Error::ShareFull);
    assert_eq!(
        (&body(&share_full, true)["scope"], share_full.code.status().as_u16()),
        (&json!("client"), 507)
    );
    let all = Error::from(Code::RateLimitExceeded).of(Scope::Cluster).with(Extra::RetryAfter(1));
    assert_eq!(
        (&body(&all, false)["scope"], &body(&all, false)["retryAfter"]),
        (&json!("cluster"), &json!(1))
    );
}

#[test]
fn chunk_actions_keep_their_status() {
    let error = Error::from(Code::MissingPinOrPasswordHash);
    let body = |problem| -> Value { serde_json::from_str(&error.body("id-1", problem, true)).unwrap() };
    assert_eq!(body(false)["status"], "waiting");
    assert_eq!(body(true)["status"], 400);
}

#[test]
fn unavailable_always_says_when_to_come_back() {
    for code in [Code::Overloaded, Code::NoLeader, Code::ShuttingDown] {
        let response = Error::from(code).render("id-1", false, false);
        assert_eq!(response.status(), 503);
        assert_eq!(response.headers().get(RETRY_AFTER).unwrap(), "1");
    }
}

#[test]
fn a_problem_document_is_only_for_errors() {
    let error = Error::from(Code::NotFound).render("id-1", true, false);
    assert_eq!(error.headers().get(CONTENT_TYPE).unwrap(), "application/problem+json");
    let refusal = Error::from(Code::InvalidChunk).render("id-1", true, false);
    assert_eq!(refusal.status(), 200);
    assert_eq!(refusal.headers().get(CONTENT_TYPE).unwrap(), "application/json; charset=utf-8");
}
