//! `GET /v1/catalogue/{name}`: a model's newest frame, to anybody, where its settings allow it.
//!
//! What is served here was published by a worker under a name that leads nowhere else
//! (`shared/src/domain/catalogue.rs`); nothing but the blob is asked for, so a session that was told
//! of it and Redis that has gone away do not matter. It may be kept for as long as it is promised to
//! be there and no longer: its owner may delete it.

use actix_web::HttpResponse;
use actix_web::http::header::{
    CACHE_CONTROL, CROSS_ORIGIN_RESOURCE_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use actix_web::web::{Data, Path};
use framewire_shared::domain::CatalogueId;

use super::Context;
use super::problem::{Code, Problem};

/// As long as whoever is told of it may take to fetch it.
const A_QUARTER_OF_AN_HOUR: &str = "public, max-age=900";

/// Serves a frame that stands in for others', as a `fallback` of the kind `catalogue` says.
#[utoipa::path(get, path = "/v1/catalogue/{name}", tag = "frames", operation_id = "getCatalogueFrame",
    security(()),
    params(("name" = String, Path, description = "The last part of a fallback's `url`")),
    responses(
        (status = 200, description = "The picture", content(
            (String = "image/png"), (String = "image/webp"), (String = "image/jpeg"))),
        (status = 404, description = "No such frame, or not any more"),
    ))]
pub async fn serve(context: Data<Context>, path: Path<String>) -> Result<HttpResponse, Problem> {
    let id: CatalogueId = path.parse().map_err(|_| missing())?;
    let body = context.blobs.read_published(&id).await?.ok_or_else(missing)?;
    Ok(HttpResponse::Ok()
        .insert_header((CACHE_CONTROL, A_QUARTER_OF_AN_HOUR))
        // As for the picture that ships: pages of other sites may show it.
        .insert_header((CROSS_ORIGIN_RESOURCE_POLICY, "cross-origin"))
        .insert_header((X_CONTENT_TYPE_OPTIONS, "nosniff"))
        .content_type(id.media_type.as_str())
        .body(body))
}

fn missing() -> Problem {
    Problem::new(
        Code::ArtifactNotFound,
        "There is no such frame in the catalogue; it may have expired or was deleted.",
    )
}
