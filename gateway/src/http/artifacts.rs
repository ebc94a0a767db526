//! `GET /v1/artifacts/{id}`: a frame's bytes, to the session whose job made it.
//!
//! What a name stands for never changes (its fence is part of it), so the name is the ETag and a
//! browser may keep the bytes for good, privately. Only the bytes asked for are read. One range is
//! honoured; several at once, which nobody needs of a picture, are answered with the whole.
//! Source: RFC 9110 sections 13 and 14.

use actix_web::http::StatusCode;
use actix_web::http::header::{
    ACCEPT_RANGES, CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_RANGE, ETAG, IF_RANGE, RANGE, Range,
    X_CONTENT_TYPE_OPTIONS,
};
use actix_web::web::{Data, Path};
use actix_web::{HttpRequest, HttpResponse};
use framewire_shared::domain::ArtifactId;

use super::Context;
use super::auth::Session;
use super::jobs::matches_etag;
use super::problem::{Code, Problem};

/// A year, which is what caches take for ever to be.
const FOR_EVER: &str = "private, max-age=31536000, immutable";

/// Serves a frame or a preview.
#[utoipa::path(get, path = "/v1/artifacts/{id}", tag = "frames", operation_id = "getFrame",
    params(
        ("id" = String, Path, description = "The last part of a frame's `url`"),
        ("Range" = Option<String>, Header, description = "One range of bytes"),
        ("If-None-Match" = Option<String>, Header, description = "The ETag that you have"),
    ),
    responses(
        (status = 200, description = "The picture", content(
            (String = "image/png"), (String = "image/webp"), (String = "image/jpeg"))),
        (status = 206, description = "The range of it", content(
            (String = "image/png"), (String = "image/webp"), (String = "image/jpeg"))),
        (status = 304, description = "You have it"),
        (status = 401, description = "No session"),
        (status = 404, description = "No such frame in this session"),
        (status = 416, description = "It has no such range"),
    ))]
pub async fn serve(
    context: Data<Context>,
    session: Session,
    path: Path<String>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let id: ArtifactId = path.parse().map_err(|_| missing())?;
    let owner = context.store.owner(&id.job).await?;
    if owner.is_none_or(|owner| owner != session.id) {
        return Err(missing());
    }
    let etag = format!("\"{id}\"");
    let mut response = HttpResponse::Ok();
    response
        .insert_header((ETAG, etag.as_str()))
        .insert_header((CACHE_CONTROL, FOR_EVER))
        .insert_header((X_CONTENT_TYPE_OPTIONS, "nosniff"));
    if matches_etag(&request, &etag) {
        return Ok(response.status(StatusCode::NOT_MODIFIED).finish());
    }
    let bytes = context.blobs.size(&id).await?.ok_or_else(missing)?;
    let mut range = 0..bytes;
    if let Some(asked) = range_asked(&request, &etag) {
        let unsatisfiable = || {
            let detail = format!("The frame has {bytes} bytes, and none in the range asked for.");
            Problem::new(Code::RangeNotSatisfiable, detail).length(bytes)
        };
        let (first, last) = asked.to_satisfiable_range(bytes).ok_or_else(unsatisfiable)?;
        range = first..last + 1;
        response
            .status(StatusCode::PARTIAL_CONTENT)
            .insert_header((CONTENT_RANGE, format!("bytes {first}-{last}/{bytes}")));
    }
    let body = context.blobs.read(&id, range).await?.ok_or_else(missing)?;
    Ok(response
        .content_type(id.media_type.as_str())
        .insert_header((ACCEPT_RANGES, "bytes"))
        .insert_header((CONTENT_DISPOSITION, format!("inline; filename=\"{id}\"")))
        .body(body))
}

/// Gives the one range asked for; `None` means the whole.
fn range_asked(
    request: &HttpRequest,
    etag: &str,
) -> Option<actix_web::http::header::ByteRangeSpec> {
    let header = |name| request.headers().get(name).and_then(|value| value.to_str().ok());
    if header(IF_RANGE).is_some_and(|version| version != etag) {
        return None;
    }
    match header(RANGE)?.parse().ok()? {
        Range::Bytes(specs) => <[_; 1]>::try_from(specs).ok().map(|[only]| only),
        Range::Unregistered(..) => None,
    }
}

fn missing() -> Problem {
    Problem::new(
        Code::ArtifactNotFound,
        "There is no such frame in this session; it may have expired with its job.",
    )
}
