//! What is wrong with the value of one key, where type and bounds do not say it all.

use std::collections::BTreeSet;
use std::net::Ipv6Addr;
use std::path::Path;
use std::str::FromStr;

use hyper::Uri;
use tracing_subscriber::filter::LevelFilter;

use crate::access::auth::{Issuer, KeySetSource, SigningSource, Source};
use crate::access::outbound::HttpUrl;
use crate::access::tenant;
use crate::access::{Network, Origin};
use crate::service::webhooks::Kind;
use crate::transport::request::deprecation::Deprecation;

/// The URL of a node, or nothing; it may have a path. Without the text, which somebody may have written a password in.
pub(super) fn url(text: &str) -> Option<String> {
    let why = "not a URL such as https://relay.example or https://example.org/relay: http or https, a host in ASCII, no \
               user, no query, no fragment";
    (!text.is_empty() && !is_url(text)).then(|| why.to_owned())
}

fn is_url(text: &str) -> bool {
    // The parser would drop a fragment.
    let Some(uri) = text.parse::<Uri>().ok().filter(|_| !text.contains('#')) else { return false };
    let (Some("http" | "https"), Some(authority), None) = (uri.scheme_str(), uri.authority(), uri.query())
    else {
        return false;
    };
    let host = authority.host();
    // A port beyond those that there are, or an empty one, is none to the parser.
    let port_fits = authority.as_str() == host || authority.port_u16().is_some_and(|port| port > 0);
    let host_fits = match host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        Some(address) => address.parse::<Ipv6Addr>().is_ok(),
        None => !host.is_empty() && host.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b)),
    };
    host_fits && port_fits && !authority.as_str().contains('@')
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
    let named: Vec<_> = list.iter().filter(|text| *text != "*").cloned().collect();
    let mut wrong = unreadable::<Origin>(&named, |text, error| format!("`{text}`: {error}"));
    if list.len() > 1 && list.iter().any(|text| text == "*") {
        wrong.push("`*` stands alone: with it, no other origin means anything".to_owned());
    }
    wrong
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
    fn a_node_s_url_is_one_that_others_can_open() {
        for right in [
            "",
            "https://a.example",
            "HTTPS://a.example/",
            "http://10.0.0.1:3000",
            "http://[::1]:3000/x",
            "https://a.example:8443/conclave/",
        ] {
            assert_eq!(url(right), None, "{right}");
        }
        for wrong in [
            "a.example",
            "ftp://a.example",
            "https://",
            "https:///x",
            "https://:80",
            "https://a b",
            "https://a.example:99999",
            "https://a.example:",
            "https://a.example:0",
            "https://[::1",
            "https://[x]",
            "https://a.example?x=1",
            "https://a.example/#f",
            "https://user:s3cret@a.example",
            "https://münchen.example",
        ] {
            assert!(url(wrong).is_some_and(|why| !why.contains("s3cret")), "{wrong}");
        }
    }

    #[test]
    fn an_origin_that_no_browser_sends_is_told_with_its_reason() {
        let told = origins(&["*", "https://a.example/", "https://münchen.example"].map(str::to_owned));
        assert_eq!(told.len(), 2, "{told:?}");
        assert!(told[0].starts_with("`https://münchen.example`: ") && told[0].contains("xn--"), "{told:?}");
    }

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
