//! What a node's page of metrics says.

use crate::http::Api;

/// The value of a series, named as the page names it. `admin` is the admin listener.
///
/// # Panics
/// If it is not there.
pub async fn metric(admin: &Api, series: &str) -> f64 {
    let page = admin.get("/metrics").send().await.text();
    let value = page.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    let value = value.unwrap_or_else(|| panic!("there is no {series}"));
    value.parse().expect("a number")
}
