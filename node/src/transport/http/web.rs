//! The page at `/` and the JavaScript client: files of `node/web/`, built into the binary.
//!
//! None of them holds a secret or repeats what a client wrote, so they may be compressed. That is done once, by a thread of its
//! own, since it takes seconds; until then they are served as they are.

use std::fmt::Write as _;
use std::io::Write as _;
use std::sync::{LazyLock, OnceLock};
use std::thread;

use actix_web::body::BoxBody;
use actix_web::http::StatusCode;
use actix_web::http::header::{
    CACHE_CONTROL, CONTENT_ENCODING, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, EntityTag, Header as _,
    HeaderName, HeaderValue, IfNoneMatch, VARY,
};
use actix_web::{HttpRequest, HttpResponse};
use bytes::Bytes;
use sha2::{Digest as _, Sha256};

use super::nodes;
use crate::service::nodes::Origins;
use crate::transport::request::accept::{self, Coding};
use crate::transport::request::context::Context;
use crate::transport::request::error::{Code, Error};

/// What the page may use of the device: the screen stays on while a code is shown or bytes move.
const PERMISSIONS: &str = "accelerometer=(), autoplay=(), camera=(), display-capture=(), encrypted-media=(), \
     fullscreen=(), geolocation=(), gyroscope=(), magnetometer=(), microphone=(), midi=(), payment=(), \
     picture-in-picture=(), publickey-credentials-get=(), screen-wake-lock=(self), usb=(), web-share=(), \
     xr-spatial-tracking=()";
const JAVASCRIPT: &str = "text/javascript; charset=utf-8";
/// TypeScript reads it from disk; whoever opens it in a browser reads it there.
const TYPES: &str = "text/plain; charset=utf-8";

/// Every file: its path, its media type, its bytes.
const FILES: [(&str, &str, &[u8]); 33] = [
    ("/", "text/html; charset=utf-8", include_bytes!("../../../web/index.html")),
    ("/style.css", "text/css; charset=utf-8", include_bytes!("../../../web/style.css")),
    ("/icon.svg", "image/svg+xml", include_bytes!("../../../web/icon.svg")),
    ("/conclave.d.ts", TYPES, include_bytes!("../../../web/conclave.d.ts")),
    ("/negotiate.d.ts", TYPES, include_bytes!("../../../web/negotiate.d.ts")),
    ("/transfers.d.ts", TYPES, include_bytes!("../../../web/transfers.d.ts")),
    ("/app.js", JAVASCRIPT, include_bytes!("../../../web/app.js")),
    ("/awake.js", JAVASCRIPT, include_bytes!("../../../web/awake.js")),
    ("/code.js", JAVASCRIPT, include_bytes!("../../../web/code.js")),
    ("/conclave.js", JAVASCRIPT, include_bytes!("../../../web/conclave.js")),
    ("/errors.js", JAVASCRIPT, include_bytes!("../../../web/errors.js")),
    ("/fallback.js", JAVASCRIPT, include_bytes!("../../../web/fallback.js")),
    ("/link.js", JAVASCRIPT, include_bytes!("../../../web/link.js")),
    ("/meter.js", JAVASCRIPT, include_bytes!("../../../web/meter.js")),
    ("/negotiate.js", JAVASCRIPT, include_bytes!("../../../web/negotiate.js")),
    ("/nodes.js", JAVASCRIPT, include_bytes!("../../../web/nodes.js")),
    ("/pace.js", JAVASCRIPT, include_bytes!("../../../web/pace.js")),
    ("/qr.js", JAVASCRIPT, include_bytes!("../../../web/qr.js")),
    ("/receiver.js", JAVASCRIPT, include_bytes!("../../../web/receiver.js")),
    ("/records.js", JAVASCRIPT, include_bytes!("../../../web/records.js")),
    ("/room.js", JAVASCRIPT, include_bytes!("../../../web/room.js")),
    ("/saving.js", JAVASCRIPT, include_bytes!("../../../web/saving.js")),
    ("/seal.js", JAVASCRIPT, include_bytes!("../../../web/seal.js")),
    ("/sender.js", JAVASCRIPT, include_bytes!("../../../web/sender.js")),
    ("/sha256.js", JAVASCRIPT, include_bytes!("../../../web/sha256.js")),
    ("/side.js", JAVASCRIPT, include_bytes!("../../../web/side.js")),
    ("/sink.js", JAVASCRIPT, include_bytes!("../../../web/sink.js")),
    ("/socket.js", JAVASCRIPT, include_bytes!("../../../web/socket.js")),
    ("/transfers.js", JAVASCRIPT, include_bytes!("../../../web/transfers.js")),
    ("/view.js", JAVASCRIPT, include_bytes!("../../../web/view.js")),
    ("/transports.js", JAVASCRIPT, include_bytes!("../../../web/transports.js")),
    ("/messages.js", JAVASCRIPT, include_bytes!("../../../web/messages.js")),
    ("/zip.js", JAVASCRIPT, include_bytes!("../../../web/zip.js")),
];

static ASSETS: LazyLock<Vec<Asset>> = LazyLock::new(|| FILES.map(Asset::of).into());
/// The same files compressed, in the same order, once they are.
static PACKED: OnceLock<Vec<Packed>> = OnceLock::new();

/// Compresses the files, beside everything else.
pub(crate) fn pack() {
    let packing = || {
        PACKED.get_or_init(|| FILES.map(|(_, _, bytes)| Packed::of(bytes)).into());
    };
    if let Err(error) = thread::Builder::new().name("page".to_owned()).spawn(packing) {
        tracing::warn!(%error, "the page is served uncompressed");
    }
}

/// The paths that are answered here.
pub(crate) fn paths() -> impl Iterator<Item = &'static str> {
    FILES.iter().map(|(path, _, _)| *path)
}

/// A file.
struct Asset {
    media: HeaderValue,
    is_page: bool,
    digest: [u8; 32],
    plain: Bytes,
}

/// A file, compressed.
struct Packed {
    gzip: Bytes,
    brotli: Bytes,
}

impl Asset {
    fn of((path, media, bytes): (&'static str, &'static str, &'static [u8])) -> Self {
        Self {
            media: HeaderValue::from_static(media),
            is_page: path == "/",
            digest: Sha256::digest(bytes).into(),
            plain: Bytes::from_static(bytes),
        }
    }
}

impl Packed {
    fn of(bytes: &[u8]) -> Self {
        Self { gzip: gzip(bytes).into(), brotli: brotli(bytes).into() }
    }
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(bytes).and_then(|()| encoder.finish()).expect("a vector takes all writes")
}

/// The best, once in a node's life; a debug build, in which tests wait for it, is two minutes over that.
const BROTLI_QUALITY: u32 = if cfg!(debug_assertions) { 4 } else { 11 };

fn brotli(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = brotli::CompressorWriter::new(Vec::new(), 4096, BROTLI_QUALITY, 22);
    encoder.write_all(bytes).expect("a vector takes all writes");
    encoder.into_inner()
}

/// `GET /`, and every file beside it.
pub(crate) async fn file(ctx: Context) -> Result<HttpResponse, Error> {
    let number = ctx.arrival.path_number().ok_or(Code::NotFound)?;
    let asset = ASSETS.get(number).ok_or(Code::NotFound)?;
    let packed =
        PACKED.get().and_then(|packed| packed.get(number)).filter(|_| ctx.shared.options.compression);
    let policy = if asset.is_page { Some(page_policy(&nodes::origins(&ctx).await)) } else { None };
    Ok(serve(asset, packed, &ctx.request, policy))
}

fn serve(
    asset: &Asset,
    packed: Option<&Packed>,
    request: &HttpRequest,
    policy: Option<String>,
) -> HttpResponse {
    let (coding, bytes) = match (accept::coding(request.headers()), packed) {
        (Coding::Gzip, Some(packed)) => (Coding::Gzip, &packed.gzip),
        (Coding::Brotli, Some(packed)) => (Coding::Brotli, &packed.brotli),
        (Coding::Plain | Coding::Gzip | Coding::Brotli, _) => (Coding::Plain, &asset.plain),
    };
    let tag = tag(asset, coding, policy.as_deref());
    let mut response = if unchanged(request, &tag) {
        HttpResponse::with_body(StatusCode::NOT_MODIFIED, BoxBody::new(()))
    } else {
        let mut response = HttpResponse::with_body(StatusCode::OK, BoxBody::new(bytes.clone()));
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, asset.media.clone());
        if let Some(name) = coding.name() {
            headers.insert(CONTENT_ENCODING, HeaderValue::from_static(name));
        }
        response
    };
    let headers = response.headers_mut();
    // Names carry no version, so a copy is kept but asked about each time: an upgraded node is noticed at once.
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    headers.insert(VARY, HeaderValue::from_static("Accept-Encoding"));
    headers
        .insert(ETAG, HeaderValue::try_from(tag.to_string()).expect("hexadecimal digits are a header value"));
    if let Some(policy) = policy {
        let policy = HeaderValue::try_from(policy).expect("origins were checked letter by letter");
        headers.insert(CONTENT_SECURITY_POLICY, policy);
        headers.insert(HeaderName::from_static("permissions-policy"), HeaderValue::from_static(PERMISSIONS));
        // Relative to the page, which a proxy may serve under a path of its own.
        let reports = HeaderValue::from_static("csp=\"api/v1/csp-reports\"");
        headers.insert(HeaderName::from_static("reporting-endpoints"), reports);
    }
    response
}

/// Names the bytes that are sent. The page's tag names its policy, too: a browser that revalidates keeps the policy it
/// has, so a changed one needs the page anew.
fn tag(asset: &Asset, coding: Coding, policy: Option<&str>) -> EntityTag {
    let mut hash = Sha256::new();
    hash.update(asset.digest);
    hash.update([coding as u8]);
    hash.update(policy.unwrap_or_default());
    let mut text = String::with_capacity(32);
    for byte in &hash.finalize()[..16] {
        let _ = write!(text, "{byte:02x}");
    }
    EntityTag::new_strong(text)
}

fn unchanged(request: &HttpRequest, tag: &EntityTag) -> bool {
    match IfNoneMatch::parse(request) {
        Ok(IfNoneMatch::Any) => true,
        Ok(IfNoneMatch::Items(tags)) => tags.iter().any(|other| other.weak_eq(tag)),
        Err(_) => false,
    }
}

/// An address as a source of a policy: without its path. The grammar (CSP Level 3, section 2.3.1) has no place for IPv6
/// addresses; any host at that port stands for one.
fn source(address: &str) -> String {
    let (scheme, rest) = address.split_once("://").unwrap_or(("https", address));
    let authority = rest.split('/').next().unwrap_or_default();
    match authority.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((_, port)) => format!("{scheme}://*{port}"),
        None => format!("{scheme}://{authority}"),
    }
}

/// What the page may do: run and show what came with it, and talk to the nodes of this cluster.
fn page_policy(origins: &Origins) -> String {
    let mut policy =
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'"
            .to_owned();
    for address in origins.values() {
        let origin = source(address);
        // Both schemes differ from their socket's by the same letters: http and ws, https and wss.
        let socket = origin.replacen("http", "ws", 1);
        let _ = write!(policy, " {origin} {socket}");
    }
    policy.push_str(
        "; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; \
         trusted-types 'none'; report-uri api/v1/csp-reports; report-to csp",
    );
    policy
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use actix_web::http::header::{ACCEPT_ENCODING, IF_NONE_MATCH};
    use actix_web::test::TestRequest;

    use super::*;

    #[test]
    fn every_encoding_holds_the_same_bytes() {
        for (path, _, bytes) in FILES {
            let packed = Packed::of(bytes);
            let mut unzipped = Vec::new();
            flate2::read::GzDecoder::new(&packed.gzip[..]).read_to_end(&mut unzipped).unwrap();
            assert_eq!(unzipped, bytes, "{path}");
            let mut unpacked = Vec::new();
            brotli::Decompressor::new(&packed.brotli[..], 4096).read_to_end(&mut unpacked).unwrap();
            assert_eq!(unpacked, bytes, "{path}");
        }
    }

    #[test]
    fn a_file_is_served_as_it_is_until_it_is_compressed() {
        let asset = Asset::of(FILES[1]);
        let request = TestRequest::default().insert_header((ACCEPT_ENCODING, "br")).to_http_request();
        let coding = |packed| {
            let response = serve(&asset, packed, &request, None);
            response.headers().get(CONTENT_ENCODING).map(|coding| coding.to_str().unwrap().to_owned())
        };
        assert_eq!(coding(None), None);
        assert_eq!(coding(Some(&Packed::of(FILES[1].2))).as_deref(), Some("br"));
    }

    #[test]
    fn a_copy_is_good_until_the_bytes_or_the_policy_change() {
        let page = &ASSETS[0];
        let (one, other) = (tag(page, Coding::Gzip, Some("a")), tag(page, Coding::Gzip, Some("b")));
        assert_ne!(one, other);
        assert_ne!(one, tag(page, Coding::Brotli, Some("a")));
        let request =
            TestRequest::default().insert_header((IF_NONE_MATCH, one.to_string())).to_http_request();
        assert!(unchanged(&request, &one));
        assert!(!unchanged(&request, &other));
        assert!(!unchanged(&TestRequest::default().to_http_request(), &one));
    }

    #[test]
    fn the_page_may_talk_to_the_nodes_and_to_nobody_else() {
        let policy = page_policy(&Origins::from([(1, "http://a:1".to_owned()), (2, "https://b".to_owned())]));
        assert!(policy.contains("connect-src 'self' http://a:1 ws://a:1 https://b wss://b;"), "{policy}");
        let policy = page_policy(&Origins::from([
            (1, "https://b/conclave".to_owned()),
            (2, "http://[::1]:3000".to_owned()),
        ]));
        assert!(policy.contains("'self' https://b wss://b http://*:3000 ws://*:3000;"), "{policy}");
        assert!(!policy.contains("unsafe"), "{policy}");
    }

    #[test]
    fn the_page_names_only_files_that_are_served_and_runs_nothing_inline() {
        let page = std::str::from_utf8(FILES[0].2).unwrap();
        let named = ["src=\"", "href=\""].into_iter().flat_map(|attribute| page.split(attribute).skip(1));
        let named: Vec<&str> = named.filter_map(|rest| rest.split('"').next()).collect();
        assert!(named.len() > 3, "{named:?}");
        for file in named {
            // Relative, so that the page works under a path that a proxy gives it.
            let path = file.strip_prefix("./").unwrap_or(file);
            assert!(!file.starts_with('/') && paths().any(|known| known[1..] == *path), "{file}");
        }
        for inline in ["<style", "style=", "onclick=", "javascript:", "<script>"] {
            assert!(!page.contains(inline), "{inline}");
        }
    }
}
