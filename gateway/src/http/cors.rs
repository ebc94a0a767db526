//! Which pages of other origins may read answers: those of `gateway.cors_origins`, and no others.
//!
//! Without that list there is no CORS at all, and `Cross-Origin-Resource-Policy: same-origin` (set by
//! `access`) keeps browsers from even embedding what is not meant for it. An origin that is listed is
//! trusted as our own pages are: it may send the cookie, where the browser still does, and
//! `auth::refuse_cross_site` lets it. Origins are compared whole; a wildcard can't be said.
//! Source: Fetch Standard, section 3.3.

use actix_cors::Cors;
use actix_web::HttpRequest;
use actix_web::http::header::ORIGIN;
use framewire_shared::service::edge::Origin;

/// Seconds for which a browser need not ask again what is allowed.
const REMEMBERED_S: usize = 600;
const METHODS: [&str; 4] = ["GET", "HEAD", "POST", "DELETE"];
/// What a page may send beside what browsers let every page send.
const SENT: [&str; 9] = [
    "Authorization",
    "Cache-Control",
    "Content-Type",
    "Idempotency-Key",
    "If-None-Match",
    "Last-Event-ID",
    "Prefer",
    "Range",
    "X-Request-Id",
];
/// What a page may read beside what browsers let every page read.
const READ: [&str; 8] = [
    "Accept-Ranges",
    "Content-Range",
    "ETag",
    "Idempotent-Replayed",
    "Location",
    "Preference-Applied",
    "Retry-After",
    "X-Request-Id",
];

/// Makes what answers for the listed origins.
pub fn cors(origins: &[Origin]) -> Cors {
    let cors = Cors::default()
        .allowed_methods(METHODS)
        .allowed_headers(SENT)
        .expose_headers(READ)
        .supports_credentials()
        .max_age(REMEMBERED_S);
    origins.iter().fold(cors, |cors, origin| cors.allowed_origin(origin.as_str()))
}

/// Tells whether a page of a listed origin caused a request, by the browser's own word.
pub fn is_listed(request: &HttpRequest, origins: &[Origin]) -> bool {
    let origin = request.headers().get(ORIGIN);
    origin.is_some_and(|origin| origins.iter().any(|listed| origin == listed.as_str()))
}
