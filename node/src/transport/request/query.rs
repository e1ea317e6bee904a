//! Query strings.

use std::time::Duration;

use actix_web::HttpRequest;
use actix_web::web::Query;

use super::error::{Code, Error};
use super::fields::WaitMs;
use crate::json_field::{Integer, Raw};

/// No request has that many parameters.
const PAIRS_MAX: usize = 64;

/// The first parameter of that name, decoded.
pub(crate) fn param(request: &HttpRequest, name: &str) -> Result<Option<String>, Error> {
    let query = request.query_string();
    if query.is_empty() {
        return Ok(None);
    }
    if query.split('&').count() > PAIRS_MAX {
        return Err(Code::InvalidInput.into());
    }
    let pairs = Query::<Vec<(String, String)>>::from_query(query).map_err(|_| Code::InvalidInput)?;
    Ok(pairs.into_inner().into_iter().find(|(key, _)| key == name).map(|(_, value)| value))
}

/// `waitMs` of a query string.
pub(crate) fn wait(request: &HttpRequest) -> Result<Duration, Error> {
    match param(request, "waitMs")? {
        Some(text) => match text.parse() {
            Ok(ms) => wait_of(Integer::Is(ms)),
            Err(_) => Err(Code::InvalidInput.into()),
        },
        None => Ok(Duration::ZERO),
    }
}

/// `waitMs` of a body.
pub(crate) fn wait_field(field: Raw<'_>) -> Result<Duration, Error> {
    wait_of(field.integer())
}

fn wait_of(ms: Integer) -> Result<Duration, Error> {
    match ms {
        Integer::Absent => Ok(Duration::ZERO),
        Integer::Is(ms) => {
            let ms = WaitMs::of(ms).ok_or(Code::InvalidInput)?;
            Ok(Duration::from_millis(ms.into()))
        }
        Integer::Unfit | Integer::Other => Err(Code::InvalidInput.into()),
    }
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;

    fn waited(query: &str) -> Result<Duration, Code> {
        let request = TestRequest::with_uri(&format!("/?{query}")).to_http_request();
        wait(&request).map_err(|error| error.code)
    }

    #[test]
    fn a_wait_is_bounded() {
        assert_eq!(waited("other=1"), Ok(Duration::ZERO));
        assert_eq!(waited("waitMs=0"), Ok(Duration::ZERO));
        assert_eq!(waited("a=b&waitMs=25000"), Ok(Duration::from_secs(25)));
        for bad in ["waitMs=25001", "waitMs=-1", "waitMs=", "waitMs=x", "waitMs=1.5"] {
            assert_eq!(waited(bad), Err(Code::InvalidInput), "{bad}");
        }
    }

    #[test]
    fn parameters_are_decoded() {
        let request = TestRequest::with_uri("/?pin=a%20b%26c&pin=d").to_http_request();
        assert_eq!(param(&request, "pin").unwrap().as_deref(), Some("a b&c"));
        assert_eq!(param(&request, "pi").unwrap(), None);
    }

    #[test]
    fn parameters_are_few() {
        let with =
            |count: usize| TestRequest::with_uri(&format!("/?{}pin=a", "b&".repeat(count))).to_http_request();
        assert_eq!(param(&with(63), "pin").unwrap().as_deref(), Some("a"));
        assert_eq!(param(&with(64), "pin").unwrap_err().code, Code::InvalidInput);
    }
}
