//! The console: a page on the admin listener that shows the cluster as this node sees it. It shows what the listener serves
//! anyway, decides about devices, and loads nothing from elsewhere.

use actix_web::http::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE};
use actix_web::{HttpResponse, web};

/// Allows the page its own files, and requests to the listener that served it.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
     base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
const JAVASCRIPT: &str = "text/javascript; charset=utf-8";

/// Every file: its path, its media type, its text.
const FILES: [(&str, &str, &str); 6] = [
    ("/", "text/html; charset=utf-8", include_str!("../../console/index.html")),
    ("/console.css", "text/css; charset=utf-8", include_str!("../../console/console.css")),
    ("/console.js", JAVASCRIPT, include_str!("../../console/console.js")),
    ("/metrics.js", JAVASCRIPT, include_str!("../../console/metrics.js")),
    ("/troubles.js", JAVASCRIPT, include_str!("../../console/troubles.js")),
    ("/icon.svg", "image/svg+xml", include_str!("../../web/icon.svg")),
];

/// Whether a path is that of a file.
pub(super) fn has(path: &str) -> bool {
    FILES.iter().any(|(known, ..)| *known == path)
}

/// Serves the files.
pub(super) fn serve(app: &mut web::ServiceConfig) {
    for (path, media, text) in FILES {
        let file = move || async move {
            HttpResponse::Ok()
                .insert_header((CONTENT_TYPE, media))
                .insert_header((CONTENT_SECURITY_POLICY, POLICY))
                .body(text)
        };
        app.service(web::resource(path).get(file).default_service(super::server::only("GET")));
    }
}
