use serde_json::json;

use super::*;

const ID: Uuid = Uuid::from_u128(7);

fn keep(text: &str) -> Result<String, Code> {
    let kept = kept(Bytes::copy_from_slice(text.as_bytes()), ID).map_err(|error| error.code)?;
    Ok(String::from_utf8(kept.to_vec()).unwrap())
}

fn judged(value: &serde_json::Value) -> Result<(), Code> {
    keep(&value.to_string()).map(drop)
}

fn envelope(nonce: usize, ct: usize) -> serde_json::Value {
    json!({
        "version": 1,
        "sessionId": ID.to_string(),
        "nonce": "n".repeat(nonce),
        "ct": "c".repeat(ct),
    })
}

#[test]
fn a_valid_envelope_is_kept_letter_by_letter() {
    let ct = "c".repeat(16);
    let text = format!(
        r#"{{ "more": {{"x":[1.50,"\u00e4"]}},"version":1.0,"sessionId":"{ID}","nonce":"nnnnnnnnnnnn","ct":"{ct}"}}"#
    );
    assert_eq!(keep(&text), Ok(text.clone()));
    assert_eq!(judged(&envelope(32, 65_536)), Ok(()));
    for bad in [r#""\ud800""#, "1e400", &"[".repeat(65)] {
        let closing = "]".repeat(bad.matches('[').count());
        let text = text.replace("1.50", &format!("{bad}{closing}"));
        assert_eq!(keep(&text), Err(Code::InvalidEnvelope), "{text}");
    }
}

#[test]
fn envelopes_are_checked() {
    for (nonce, ct) in [(11, 16), (33, 16), (12, 15), (12, 65_537)] {
        assert_eq!(judged(&envelope(nonce, ct)), Err(Code::InvalidEnvelope), "{nonce} {ct}");
    }
    for (field, value) in [
        ("version", json!(2)),
        ("version", json!("1")),
        ("sessionId", json!(Uuid::from_u128(8).to_string())),
        ("sessionId", json!(7)),
        ("nonce", json!(null)),
        ("ct", json!(["c"])),
    ] {
        let mut bad = envelope(12, 16);
        bad[field] = value;
        assert_eq!(judged(&bad), Err(Code::InvalidEnvelope), "{field}");
    }
}

#[test]
fn a_pin_is_wished_or_not() {
    let pin = |body: &str| {
        let parsed: Create<'_> = serde_json::from_str(body).unwrap();
        parsed.pin().map(|pin| pin.map(str::to_owned))
    };
    assert_eq!(pin("{}"), Ok(None));
    assert_eq!(pin(r#"{"pin":null}"#), Ok(None));
    assert_eq!(pin(r#"{"pin":"1234"}"#), Ok(Some("1234".to_owned())));
    assert_eq!(pin(r#"{"pin":1234}"#), Err(Code::InvalidInput));
    assert_eq!(pin(&format!(r#"{{"pin":"{}"}}"#, "1".repeat(65))), Err(Code::InvalidInput));
}

#[test]
fn an_envelope_stands_in_its_answer_as_it_was_kept() {
    assert_eq!(envelope_body(br#"{"ct":"x"}"#), br#"{"envelope":{"ct":"x"}}"#);
}
