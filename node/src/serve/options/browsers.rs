//! What browsers would make of the addresses.

use hyper::Uri;

use crate::config::Config;
use crate::listener::browser_ports::is_blocked;

/// Which ports no browser opens: that of `http.url`, and that of `http.listen` where no URL says that clients use another.
pub(in crate::serve) fn never_opened(config: &Config) -> Vec<String> {
    let http = &config.http;
    let url: Option<Uri> = http.url.parse().ok();
    let of_url = url.as_ref().and_then(Uri::port_u16).map(|port| ("http.url", port));
    let of_listener = url.is_none().then_some(("http.listen", http.listen.port()));
    let ports = of_url.into_iter().chain(of_listener).filter(|(_, port)| is_blocked(*port));
    ports.map(|(key, port)| format!("{key}: no browser opens port {port}: choose another one")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_that_no_browser_opens_is_warned_of() {
        let told = |listen: u16, url: &str| {
            let mut config = Config::default();
            config.http.listen.set_port(listen);
            config.http.url = url.to_owned();
            never_opened(&config)
        };
        assert_eq!(told(3000, ""), [""; 0]);
        assert_eq!(told(6000, ""), ["http.listen: no browser opens port 6000: choose another one"]);
        assert_eq!(told(6000, "https://relay.example"), [""; 0], "a proxy's port is the one that is opened");
        let of_url = ["http.url: no browser opens port 6697: choose another one"];
        assert_eq!(told(3000, "https://relay.example:6697/x"), of_url);
    }
}
