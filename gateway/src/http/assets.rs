//! The studio's files, the client's modules and the examples, compiled in (a debug build reads them
//! from the source tree, so that a page can be edited and reloaded), and the picture that ships.
//!
//! A name is letters, digits, dots and dashes (an example's has no dots) and stands in a table, so
//! nothing beside the three folders can be reached. Browsers ask before they use a file again, so
//! that the modules of a page are of one version.
//! The policy lets the page load from this gateway alone: a prompt that finds its way into the page
//! as markup can neither run nor send anything anywhere.
//! The picture is the end of every fallback: it needs neither Redis nor a session nor the disk, and
//! any site may show it.

use actix_web::http::StatusCode;
use actix_web::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CROSS_ORIGIN_RESOURCE_POLICY, ETAG, LOCATION,
    REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use actix_web::web::Path;
use actix_web::{HttpRequest, HttpResponse};
use rust_embed::RustEmbed;

use super::access::no_route;
use super::jobs::matches_etag;
use super::problem::Problem;

const INDEX: &str = "index.html";

const POLICY: &str = "default-src 'self'; img-src 'self' data: blob:; style-src 'self'; \
                      script-src 'self'; object-src 'none'; base-uri 'none'; frame-ancestors 'none'";

#[derive(RustEmbed)]
#[folder = "web/studio"]
struct Studio;

#[derive(RustEmbed)]
#[folder = "web/client"]
struct Client;

#[derive(RustEmbed)]
#[folder = "web/examples"]
struct Examples;

/// The picture that ships, drawn by the built-in provider from "calm misty mountains at dawn" with
/// seed 2 at 512 × 512. Whoever changes it changes its path too: browsers keep it for good.
const FALLBACK: &[u8] = include_bytes!("../../web/fallback.webp");
/// Stands for these bytes for ever, as their path does.
const FALLBACK_ETAG: &str = "\"fallback-1\"";

/// Serves the studio's page.
#[utoipa::path(get, path = "/studio", tag = "studio", operation_id = "studio", security(()),
    responses((status = 200, description = "The studio", content_type = "text/html",
        body = String)))]
pub async fn index(request: HttpRequest) -> Result<HttpResponse, Problem> {
    file::<Studio>(&request, INDEX)
}

/// Serves the studio's page at the root.
#[utoipa::path(get, path = "/", tag = "studio", operation_id = "root", security(()),
    responses((status = 200, description = "The studio", content_type = "text/html",
        body = String)))]
pub async fn root(request: HttpRequest) -> Result<HttpResponse, Problem> {
    file::<Studio>(&request, INDEX)
}

/// Serves a file of the studio.
#[utoipa::path(get, path = "/studio/{file}", tag = "studio", operation_id = "studioFile",
    security(()), params(("file" = String, Path, description = "Its name")),
    responses(
        (status = 200, description = "The file", content_type = "text/javascript", body = String),
        (status = 404, description = "No such file"),
    ))]
pub async fn studio(path: Path<String>, request: HttpRequest) -> Result<HttpResponse, Problem> {
    file::<Studio>(&request, &path)
}

/// Serves a module of the JavaScript client; `framewire.js` is its face.
#[utoipa::path(get, path = "/client/{file}", tag = "studio", operation_id = "clientFile",
    security(()), params(("file" = String, Path, description = "Its name")),
    responses(
        (status = 200, description = "The module", content_type = "text/javascript", body = String),
        (status = 404, description = "No such module"),
    ))]
pub async fn client(path: Path<String>, request: HttpRequest) -> Result<HttpResponse, Problem> {
    file::<Client>(&request, &path)
}

/// Sends to an example's page, whose address ends with a slash.
#[utoipa::path(get, path = "/examples/{name}", tag = "studio", operation_id = "example",
    security(()), params(("name" = String, Path, description = "Its name, as `morph`")),
    responses(
        (status = 308, description = "Its page is at the same path with a slash"),
        (status = 404, description = "No such example"),
    ))]
pub async fn example(path: Path<String>, request: HttpRequest) -> Result<HttpResponse, Problem> {
    file_of_example(&request, &path, INDEX)?;
    let location = match request.query_string() {
        "" => format!("/examples/{path}/"),
        query => format!("/examples/{path}/?{query}"),
    };
    Ok(HttpResponse::PermanentRedirect().insert_header((LOCATION, location)).finish())
}

/// Serves an example's page; `morph` is a slideshow that never ends.
#[utoipa::path(get, path = "/examples/{name}/", tag = "studio", operation_id = "examplePage",
    security(()), params(("name" = String, Path, description = "Its name, as `morph`")),
    responses(
        (status = 200, description = "The page", content_type = "text/html", body = String),
        (status = 404, description = "No such example"),
    ))]
pub async fn example_page(
    path: Path<String>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    file_of_example(&request, &path, INDEX)
}

/// Serves a file of an example.
#[utoipa::path(get, path = "/examples/{name}/{file}", tag = "studio",
    operation_id = "exampleFile", security(()),
    params(
        ("name" = String, Path, description = "The example's name"),
        ("file" = String, Path, description = "The file's name"),
    ),
    responses(
        (status = 200, description = "The file", content_type = "text/javascript", body = String),
        (status = 404, description = "No such file"),
    ))]
pub async fn example_file(
    path: Path<(String, String)>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    file_of_example(&request, &path.0, &path.1)
}

/// Serves the picture that ships, the end of every `fallback`.
#[utoipa::path(get, path = "/v1/fallback.webp", tag = "frames", operation_id = "getFallback",
    security(()), params(
        ("If-None-Match" = Option<String>, Header, description = "The ETag that you have"),
    ),
    responses(
        (status = 200, description = "The picture, 512 × 512", content_type = "image/webp",
            body = String),
        (status = 304, description = "You have it"),
    ))]
pub async fn fallback(request: HttpRequest) -> HttpResponse {
    let mut response = HttpResponse::Ok();
    response
        .insert_header((ETAG, FALLBACK_ETAG))
        .insert_header((CACHE_CONTROL, "public, max-age=31536000, immutable"))
        // Pages of other sites may embed it, also those that isolate themselves.
        .insert_header((CROSS_ORIGIN_RESOURCE_POLICY, "cross-origin"))
        .insert_header((X_CONTENT_TYPE_OPTIONS, "nosniff"));
    if matches_etag(&request, FALLBACK_ETAG) {
        return response.status(StatusCode::NOT_MODIFIED).finish();
    }
    response.content_type("image/webp").body(FALLBACK)
}

fn file<Folder: RustEmbed>(request: &HttpRequest, name: &str) -> Result<HttpResponse, Problem> {
    if is_plain(name) { embedded::<Folder>(request, name) } else { Err(no_route()) }
}

fn file_of_example(
    request: &HttpRequest,
    example: &str,
    name: &str,
) -> Result<HttpResponse, Problem> {
    // A folder's name has no dots, so that it can't be the one above.
    if example.contains('.') || !is_plain(example) || !is_plain(name) {
        return Err(no_route());
    }
    embedded::<Examples>(request, &format!("{example}/{name}"))
}

fn is_plain(name: &str) -> bool {
    name.bytes().all(|c| c.is_ascii_alphanumeric() || matches!(c, b'.' | b'-' | b'_'))
}

fn embedded<Folder: RustEmbed>(request: &HttpRequest, path: &str) -> Result<HttpResponse, Problem> {
    let content_type = content_type(path).ok_or_else(no_route)?;
    let file = Folder::get(path).ok_or_else(no_route)?;
    let digest = file.metadata.sha256_hash();
    let short = digest.iter().take(8).fold(0_u64, |sum, byte| sum << 8 | u64::from(*byte));
    let etag = format!("\"{short:016x}\"");
    let mut response = HttpResponse::Ok();
    response
        .insert_header((ETAG, etag.as_str()))
        .insert_header(super::NO_CACHE)
        .insert_header((CONTENT_SECURITY_POLICY, POLICY))
        .insert_header((REFERRER_POLICY, "same-origin"))
        .insert_header((X_CONTENT_TYPE_OPTIONS, "nosniff"));
    if matches_etag(request, &etag) {
        return Ok(response.status(StatusCode::NOT_MODIFIED).finish());
    }
    Ok(response.content_type(content_type).body(file.data.into_owned()))
}

/// Gives the type of what a page is made of; other files in the folder are not served.
fn content_type(name: &str) -> Option<&'static str> {
    Some(match name.rsplit_once('.')?.1 {
        "html" => "text/html; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "js" | "mjs" => "text/javascript; charset=utf-8",
        "json" | "map" => "application/json",
        "svg" => "image/svg+xml",
        "png" => "image/png",
        "webp" => "image/webp",
        "jpg" => "image/jpeg",
        "ico" => "image/x-icon",
        "woff2" => "font/woff2",
        _ => return None,
    })
}
