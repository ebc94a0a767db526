//! `POST /v1/files`: a picture to start from, or a mask, brought by a session for itself.
//!
//! A file is what jobs name in `input.image` and `input.mask`. It belongs to its session alone and
//! goes a day after it came; jobs that start from it have it for themselves by then. What is kept is
//! our own writing of its pixels: nothing else of what was sent is given back to anybody.

use actix_web::http::header::LOCATION;
use actix_web::web::{Data, Path, Payload};
use actix_web::{HttpRequest, HttpResponse};
use framewire_shared::domain::picture::FILES_PATH;
use framewire_shared::domain::{FileId, MediaType};
use framewire_shared::store::files::StoredFile;
use serde::Serialize;
use utoipa::ToSchema;

use super::auth::Session;
use super::intake::{self, NotTaken};
use super::job_json::At;
use super::problem::{Code, Problem};
use super::{Context, blob, jobs, upload};

/// A form with one picture
#[derive(Debug, ToSchema)]
#[expect(dead_code, reason = "only its shape is used")]
pub struct FileForm {
    /// PNG, JPEG or WebP; at most 12 MiB, 16777216 pixels, 16 to 8192 on a side
    #[schema(value_type = String, format = Binary)]
    file: Vec<u8>,
    /// Ignored
    purpose: Option<String>,
}

/// An uploaded picture
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = File)]
pub struct FileView<'a> {
    /// Its name, for `input.image` and `input.mask`
    #[schema(value_type = String)]
    id: &'a FileId,
    /// Always `file`
    #[schema(example = "file")]
    object: &'static str,
    /// Where it is, for its session alone
    url: String,
    /// `image/png`, `image/webp` or `image/jpeg`, as it was sent
    #[schema(value_type = String)]
    content_type: MediaType,
    /// In pixels, upright
    width: u32,
    /// In pixels, upright
    height: u32,
    /// Size of what is kept
    bytes: u64,
    /// Digest of what is kept, in hex
    sha256: &'a str,
    /// When it goes; jobs that were submitted before keep it
    #[schema(value_type = String, format = DateTime)]
    expires_at: At,
}

impl<'a> FileView<'a> {
    fn new(id: &'a FileId, file: &'a StoredFile) -> Self {
        Self {
            id,
            object: "file",
            url: format!("{FILES_PATH}{id}"),
            content_type: file.content_type,
            width: file.width,
            height: file.height,
            bytes: file.bytes,
            sha256: &file.sha256,
            expires_at: At(file.expires_at),
        }
    }
}

/// Uploads a picture to start from, or a mask.
///
/// It is decoded, turned upright and written anew without its metadata. Name it by its `id` in
/// `input.image` or `input.mask` of a job.
#[utoipa::path(post, path = "/v1/files", tag = "files", operation_id = "uploadFile",
    request_body(content = FileForm, content_type = "multipart/form-data"),
    responses(
        (status = 201, description = "The file", body = FileView,
            headers(("Location", description = "Where it is"))),
        (status = 400, description = "The form can't be read"),
        (status = 401, description = "No session"),
        (status = 408, description = "It did not arrive in time"),
        (status = 413, description = "Too many bytes or pixels"),
        (status = 415, description = "No form, or no picture of a kind that is accepted"),
        (status = 422, description = "No file, two files, or one that can't be decoded"),
        (status = 429, description = "The session has as many files as it may",
            headers(("Retry-After", description = "When the first of them goes, in seconds"))),
        (status = 503, description = "Too many uploads at the same time",
            headers(("Retry-After", description = "When to send it again, in seconds"))),
    ))]
pub async fn create(
    context: Data<Context>,
    session: Session,
    request: HttpRequest,
    payload: Payload,
) -> Result<HttpResponse, Problem> {
    let (bytes, held) = upload::file(&request, payload, &context.intake).await?;
    let taken = intake::take(&context, &session, bytes).await;
    drop(held);
    let (id, file) = taken.map_err(|why| match why {
        NotTaken::Unreadable(why) => upload::unreadable(&why),
        NotTaken::Problem(problem) => problem,
    })?;
    let view = FileView::new(&id, &file);
    let mut response = HttpResponse::Created();
    response.insert_header((LOCATION, view.url.as_str()));
    Ok(jobs::answer(&mut response, &view))
}

/// Serves an uploaded picture.
#[utoipa::path(get, path = "/v1/files/{id}", tag = "files", operation_id = "getFile",
    params(
        ("id" = String, Path, description = "The file"),
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
        (status = 404, description = "No such file in this session"),
        (status = 416, description = "It has no such range"),
    ))]
pub async fn serve(
    context: Data<Context>,
    session: Session,
    path: Path<String>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let id: FileId = path.parse().map_err(|_| missing())?;
    let file = context.store.file(&id, &session.id).await?.ok_or_else(missing)?;
    blob::serve(&context.blobs, &request, &id, file.content_type, missing).await
}

/// Deletes an uploaded picture. Jobs that were submitted with it keep it.
#[utoipa::path(delete, path = "/v1/files/{id}", tag = "files", operation_id = "deleteFile",
    params(("id" = String, Path, description = "The file")),
    responses(
        (status = 204, description = "It is gone"),
        (status = 401, description = "No session"),
        (status = 404, description = "No such file in this session"),
    ))]
pub async fn delete(
    context: Data<Context>,
    session: Session,
    path: Path<String>,
) -> Result<HttpResponse, Problem> {
    let id: FileId = path.parse().map_err(|_| missing())?;
    if !context.store.forget_file(&id, &session.id).await? {
        return Err(missing());
    }
    intake::remove(&context, &id).await;
    Ok(HttpResponse::NoContent().finish())
}

fn missing() -> Problem {
    let detail = "There is no such file in this session; a file goes a day after it came.";
    Problem::new(Code::FileNotFound, detail)
}
