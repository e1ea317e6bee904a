//! What is wrong with the value of one key, where type and bounds do not say it all.

use std::collections::BTreeSet;
use std::path::Path;
use std::str::FromStr;

use tracing_subscriber::filter::LevelFilter;

use crate::access::Network;
use crate::access::auth::{Issuer, KeySetSource, SigningSource, Source};
use crate::access::outbound::HttpUrl;
use crate::access::tenant;
use crate::service::webhooks::Kind;
use crate::transport::request::deprecation::Deprecation;

pub(super) fn url(text: &str) -> Option<String> {
    let fits = text.is_empty() || text.starts_with("http://") || text.starts_with("https://");
    (!fits).then(|| "a URL starts with http:// or https://".to_owned())
}

/// The filter's own reader takes a bare word for a module, all of which is shown, and leaves out everything else: a
/// misspelt level would silence the node.
pub fn log_level(text: &str) -> Option<String> {
    if let Err(error) = tracing_subscriber::EnvFilter::try_new(text) {
        return Some(error.to_string());
    }
    let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
    let bare = |part: &&str| !part.contains(['=', '[']) && part.parse::<LevelFilter>().is_err();
    parts.into_iter().find(bare).map(|word| {
        format!(
            "`{word}` is no level: off, error, warn, info, debug or trace, and for one module `module=level`"
        )
    })
}

/// A path to serve.
pub(super) fn path(text: &str) -> Option<String> {
    let fits = text.is_empty() || (text.starts_with('/') && !text.contains(['{', '}', '?', '#', ' ']));
    (!fits).then(|| "a path such as \"/echo\"".to_owned())
}

/// A file that is there.
pub(super) fn file(path: &Path) -> Option<String> {
    let fits = path.as_os_str().is_empty() || path.is_file();
    (!fits).then(|| format!("there is no file {}", path.display()))
}

/// `host:port`, or nothing; the host may be a name, since containers have no fixed addresses.
pub(super) fn peer(text: &str) -> Option<String> {
    let host_fits = |host: &str| !host.is_empty() && !host.contains([' ', '/', '=']);
    let fits = |(host, port): (&str, &str)| host_fits(host) && port.parse::<u16>().is_ok();
    let fits = text.is_empty() || text.rsplit_once(':').is_some_and(fits);
    (!fits).then(|| format!("`{text}` is not host:port"))
}

pub(super) fn origins(list: &[String]) -> Vec<String> {
    let wrong = list.iter().filter(|text| *text != "*" && !is_origin(text.trim_end_matches('/')));
    let mut wrong: Vec<_> =
        wrong.map(|text| format!("`{text}` is not an origin such as https://app.example")).collect();
    if list.len() > 1 && list.iter().any(|text| text == "*") {
        wrong.push("`*` stands alone: with it, no other origin means anything".to_owned());
    }
    wrong
}

/// `scheme://host` or `scheme://host:port`, as browsers send it (RFC 6454, section 6.2): no path, no blanks.
fn is_origin(text: &str) -> bool {
    let Some((scheme, host)) = text.split_once("://") else { return false };
    let scheme_fits =
        !scheme.is_empty() && scheme.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b));
    scheme_fits && !host.is_empty() && !host.contains(['/', '?', '#', '@', '*', ' '])
}

pub(super) fn networks(list: &[String]) -> Vec<String> {
    unreadable::<Network>(list, |text, _| format!("`{text}` is not a network such as 10.0.0.0/8"))
}

pub(super) fn deprecations(list: &[String]) -> Vec<String> {
    let wrong = unreadable::<Deprecation>(list, |text, error| format!("`{text}`: {error}"));
    wrong.into_iter().chain(at_most(list, 32)).collect()
}

/// Without the text: somebody may have written a secret there.
pub(super) fn sources(list: &[String]) -> Vec<String> {
    unreadable::<Source>(list, |_, error| error.to_string())
}

/// A key set's place, or nothing. Without the text, of which a query may be secret.
pub(super) fn jwks(text: &str) -> Option<String> {
    text.parse::<KeySetSource>().err().map(|error| error.to_string())
}

/// An issuer, or nothing.
pub(super) fn oidc_issuer(text: &str) -> Option<String> {
    if text.is_empty() { None } else { text.parse::<Issuer>().err().map(|error| error.to_string()) }
}

/// An address that is asked, or nothing. Without the text, of which a path or a query may be secret; as below.
pub(super) fn http_url(text: &str) -> Option<String> {
    if text.is_empty() { None } else { text.parse::<HttpUrl>().err().map(|error| error.to_string()) }
}

pub(super) fn webhook_urls(list: &[String]) -> Vec<String> {
    unreadable::<HttpUrl>(list, |_, error| error.to_string()).into_iter().chain(at_most(list, 4)).collect()
}

pub(super) fn webhook_events(list: &[String]) -> Vec<String> {
    unreadable::<Kind>(list, |text, error| format!("`{text}`: {error}"))
}

/// As [`sources`].
pub(super) fn signing_sources(list: &[String]) -> Vec<String> {
    unreadable::<SigningSource>(list, |_, error| error.to_string())
}

pub(super) fn tenant_hosts(list: &[String]) -> Vec<String> {
    let wrong = unreadable::<tenant::Host>(list, |text, error| format!("`{text}`: {error}"));
    wrong.into_iter().chain(said_twice(list, '=')).collect()
}

pub(super) fn tenant_policies(list: &[String]) -> Vec<String> {
    let wrong = unreadable::<tenant::Named>(list, |text, error| format!("`{text}`: {error}"));
    wrong.into_iter().chain(said_twice(list, ':')).collect()
}

/// Whatever stands before the sign in more than one of them: only one would count.
fn said_twice(list: &[String], sign: char) -> Vec<String> {
    let mut seen = BTreeSet::new();
    let names =
        list.iter().filter_map(|text| text.split_once(sign)).map(|(name, _)| name.trim().to_lowercase());
    names.filter(|name| !seen.insert(name.clone())).map(|name| format!("`{name}` is there twice")).collect()
}

fn unreadable<T: FromStr>(list: &[String], why: impl Fn(&str, T::Err) -> String) -> Vec<String> {
    list.iter().filter_map(|text| text.parse::<T>().err().map(|error| why(text, error))).collect()
}

pub(super) fn stun(list: &[String]) -> Vec<String> {
    ice_urls(list, ["stun:", "stuns:"])
}

pub(super) fn turn(list: &[String]) -> Vec<String> {
    ice_urls(list, ["turn:", "turns:"])
}

fn ice_urls(list: &[String], schemes: [&str; 2]) -> Vec<String> {
    let fits = |url: &&String| {
        let host = schemes.iter().find_map(|scheme| url.strip_prefix(scheme));
        host.is_some_and(|host| !host.is_empty() && host.bytes().all(|byte| byte.is_ascii_graphic()))
    };
    let wrong = list.iter().filter(|url| !fits(url));
    let wrong = wrong.map(|url| format!("`{url}` is not a URL such as {}turn.example:3478", schemes[0]));
    wrong.chain(at_most(list, 16)).collect()
}

fn at_most(list: &[String], most: usize) -> Option<String> {
    (list.len() > most).then(|| format!("at most {most}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_and_policies_are_there_once_each() {
        let list = |texts: [&str; 2]| texts.map(str::to_owned).to_vec();
        assert_eq!(tenant_policies(&list(["a: storage_percent=3", "b: storage_percent=3"])), [""; 0]);
        assert_eq!(
            tenant_policies(&list(["a: storage_percent=3", "a : storage_percent=4"])),
            ["`a` is there twice"]
        );
        assert_eq!(tenant_hosts(&list(["a.test=a", "A.test=b"])), ["`a.test` is there twice"]);
    }
}
