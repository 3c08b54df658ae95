//! The files of the page, built into the program, and the headers that go with them.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use axum::Router;
use axum::http::{HeaderMap, HeaderName, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;

/// Everything comes from here; no script and no style stands in the page itself.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
                      connect-src 'self'; base-uri 'none'; form-action 'none'; \
                      frame-ancestors 'none'";
/// With every answer.
const HEADERS: [(HeaderName, &str); 5] = [
    (header::CONTENT_SECURITY_POLICY, POLICY),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::REFERRER_POLICY, "no-referrer"),
    // Kept, but asked for each time: another version of the program has other files.
    (header::CACHE_CONTROL, "no-cache"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
];

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const SVG: &str = "image/svg+xml";

/// A file.
#[derive(Clone, Copy)]
struct Asset {
    path: &'static str,
    kind: &'static str,
    bytes: &'static [u8],
}

/// Files below `web/`, by the paths they have there.
macro_rules! files {
    ($($kind:ident $path:literal,)*) => {
        [$(Asset {
            path: concat!("/web/", $path),
            kind: $kind,
            bytes: include_bytes!(concat!("../../web/", $path)),
        },)*]
    };
}

const INDEX: Asset = Asset { path: "/", kind: HTML, bytes: include_bytes!("../../web/index.html") };
const FILES: [Asset; 17] = files![
    CSS "style.css",
    SVG "icon.svg",
    SCRIPT "js/app.js",
    SCRIPT "js/dom.js",
    SCRIPT "js/format.js",
    SCRIPT "js/graph.js",
    SCRIPT "js/keys.js",
    SCRIPT "js/layout.js",
    SCRIPT "js/model.js",
    SCRIPT "js/nodes.js",
    SCRIPT "js/plot.js",
    SCRIPT "js/service.js",
    SCRIPT "js/services.js",
    SCRIPT "js/store.js",
    SCRIPT "js/theme.js",
    CSS "vendor/uplot/uPlot.min.css",
    SCRIPT "vendor/uplot/uPlot.iife.min.js",
];

pub(super) fn router() -> Router {
    let mut router = Router::new();
    for asset in [INDEX].into_iter().chain(FILES) {
        let tag = tag(asset.bytes);
        router = router.route(
            asset.path,
            get(move |headers: HeaderMap| {
                let response = answer(asset, &tag, &headers);
                async move { response }
            }),
        );
    }
    router
}

/// Where the files are.
#[cfg(test)]
pub(super) fn paths() -> impl Iterator<Item = &'static str> {
    [INDEX].into_iter().chain(FILES).map(|asset| asset.path)
}

/// Changes with the file.
fn tag(bytes: &[u8]) -> String {
    let mut hasher = DefaultHasher::new();
    bytes.hash(&mut hasher);
    format!("\"{:016x}\"", hasher.finish())
}

fn answer(asset: Asset, tag: &str, headers: &HeaderMap) -> Response {
    let has = headers.get_all(header::IF_NONE_MATCH).iter().filter_map(|it| it.to_str().ok());
    let has = has.flat_map(|list| list.split(',')).map(str::trim);
    let same = |it: &str| it == "*" || it.trim_start_matches("W/") == tag;
    let known = has.into_iter().any(same);
    let tag = [(header::ETAG, tag.to_owned())];
    if known {
        return (StatusCode::NOT_MODIFIED, HEADERS, tag).into_response();
    }
    (HEADERS, tag, [(header::CONTENT_TYPE, asset.kind)], asset.bytes).into_response()
}
