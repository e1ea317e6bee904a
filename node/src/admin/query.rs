//! The query of an admin request.

use std::future::{Ready, ready};
use std::ops::Deref;

use actix_web::dev::Payload;
use actix_web::{FromRequest, HttpRequest};
use serde::de::DeserializeOwned;
use utoipa::IntoParams;

use super::error::Error;

/// A query that is read as `T`. One that cannot be is refused in the format of all errors, and told what the call takes.
#[derive(Debug)]
pub(super) struct Query<T>(T);

impl<T> Deref for Query<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T: DeserializeOwned + IntoParams> FromRequest for Query<T> {
    type Error = Error;
    type Future = Ready<Result<Self, Error>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let read = serde_urlencoded::from_str(request.query_string());
        ready(read.map(Self).map_err(|_| Error::Query(takes::<T>())))
    }
}

/// The keys of a query, as they are described to clients.
fn takes<T: IntoParams>() -> String {
    let keys: Vec<String> =
        T::into_params(|| None).iter().map(|parameter| format!("`{}`", parameter.name)).collect();
    match &keys[..] {
        [] => "nothing".to_owned(),
        [one] => one.clone(),
        [all @ .., last] => format!("{} and {last}", all.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;
    use crate::admin::api_types::Change;

    #[test]
    fn a_wrong_query_is_told_what_the_call_takes() {
        let read = |query: &str| {
            let request = TestRequest::get().uri(&format!("/x?{query}")).to_http_request();
            Query::<Change>::from_request(&request, &mut Payload::None).into_inner()
        };
        assert_eq!(read("force=true&withinMs=7").unwrap().within_ms, Some(7));
        assert!(!read("").unwrap().force);
        for wrong in ["force=yes", "within=7", "withinMs=-1"] {
            let told = read(wrong).unwrap_err().to_string();
            assert_eq!(told, "The query is wrong: this call takes `force` and `withinMs`.", "{wrong}");
        }
    }
}
