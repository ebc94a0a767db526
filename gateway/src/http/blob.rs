//! The bytes of a picture as an answer, whichever kind it is.
//!
//! What a name stands for never changes, so the name is the ETag and a browser may keep the bytes for
//! good, privately. Only the bytes asked for are read. One range is honoured; several at once, which
//! nobody needs of a picture, are answered with the whole. Whether the asker may see it at all was
//! decided before. Source: RFC 9110 sections 13 and 14.

use actix_web::http::StatusCode;
use actix_web::http::header::{
    ACCEPT_RANGES, ByteRangeSpec, CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_RANGE, ETAG,
    IF_RANGE, RANGE, Range, X_CONTENT_TYPE_OPTIONS,
};
use actix_web::{HttpRequest, HttpResponse};
use framewire_shared::domain::MediaType;
use framewire_shared::store::blobs::{BlobName, Blobs};

use super::jobs::matches_etag;
use super::problem::{Code, Problem};

/// A year, which is what caches take for ever to be.
const FOR_EVER: &str = "private, max-age=31536000, immutable";

/// Answers with a blob, or with what of it is asked for; `missing` is said where its bytes are gone.
pub async fn serve(
    blobs: &Blobs,
    request: &HttpRequest,
    name: &(impl BlobName + std::fmt::Display),
    media_type: MediaType,
    missing: fn() -> Problem,
) -> Result<HttpResponse, Problem> {
    let etag = format!("\"{name}\"");
    let mut response = HttpResponse::Ok();
    response
        .insert_header((ETAG, etag.as_str()))
        .insert_header((CACHE_CONTROL, FOR_EVER))
        .insert_header((X_CONTENT_TYPE_OPTIONS, "nosniff"));
    if matches_etag(request, &etag) {
        return Ok(response.status(StatusCode::NOT_MODIFIED).finish());
    }
    let bytes = blobs.size(name).await?.ok_or_else(missing)?;
    let mut range = 0..bytes;
    if let Some(asked) = range_asked(request, &etag) {
        let unsatisfiable = || {
            let detail = format!("The picture has {bytes} bytes, and none in the range asked for.");
            Problem::new(Code::RangeNotSatisfiable, detail).length(bytes)
        };
        let (first, last) = asked.to_satisfiable_range(bytes).ok_or_else(unsatisfiable)?;
        range = first..last + 1;
        response
            .status(StatusCode::PARTIAL_CONTENT)
            .insert_header((CONTENT_RANGE, format!("bytes {first}-{last}/{bytes}")));
    }
    let body = blobs.read(name, range).await?.ok_or_else(missing)?;
    Ok(response
        .content_type(media_type.as_str())
        .insert_header((ACCEPT_RANGES, "bytes"))
        .insert_header((CONTENT_DISPOSITION, format!("inline; filename=\"{name}\"")))
        .body(body))
}

/// Gives the one range asked for; `None` means the whole.
fn range_asked(request: &HttpRequest, etag: &str) -> Option<ByteRangeSpec> {
    let header = |name| request.headers().get(name).and_then(|value| value.to_str().ok());
    if header(IF_RANGE).is_some_and(|version| version != etag) {
        return None;
    }
    match header(RANGE)?.parse().ok()? {
        Range::Bytes(specs) => <[_; 1]>::try_from(specs).ok().map(|[only]| only),
        Range::Unregistered(..) => None,
    }
}
