//! `GET /v1/artifacts/{id}`: a frame's bytes, to the session whose job made it.
//!
//! What a name stands for never changes, because its fence is part of it; so it is served as `blob`
//! serves what may be kept for good.

use actix_web::web::{Data, Path};
use actix_web::{HttpRequest, HttpResponse};
use framewire_shared::domain::ArtifactId;

use super::auth::Session;
use super::problem::{Code, Problem};
use super::{Context, blob};

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
    blob::serve(&context.blobs, &request, &id, id.media_type, missing).await
}

fn missing() -> Problem {
    Problem::new(
        Code::ArtifactNotFound,
        "There is no such frame in this session; it may have expired with its job.",
    )
}
