//! The one file of a multipart form, read within bounds.
//!
//! Comes in: a body as browsers and `curl -F` send it. Goes out: the bytes of its field `file`.
//! What the form says of the file (name, type) is not believed and not kept. Refused as soon as it is
//! known: a second file, a field that means nothing here, a byte too many.
//! Source: RFC 7578.

use std::time::Duration;

use actix_multipart::{Field, Multipart, MultipartError};
use actix_web::HttpRequest;
use actix_web::error::PayloadError;
use actix_web::http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use actix_web::web::{Bytes, BytesMut, Payload};
use framewire_shared::service::picture::{BYTES_MAX, Unreadable};
use futures::{StreamExt, TryStreamExt};

use super::intake::{Held, Intake};
use super::problem::{Code, Problem};

/// What a form may have besides its file: boundaries, heads, a `purpose`.
const FORM_BYTES_MAX: usize = 64 * 1024;
/// Longest wait for the whole of an upload: the most bytes at two megabits a second.
const UPLOAD_WAIT: Duration = Duration::from_secs(60);
/// The field with the picture.
const FILE: &str = "file";
/// A field that other services' clients send; it says nothing to us.
const PURPOSE: &str = "purpose";

/// Reads the file of a form; what it holds of this process's memory comes with it.
///
/// Errors: 408 too slow, 413 too large, 415 no form, 422 not exactly one file, 503 too much at once.
pub async fn file(
    request: &HttpRequest,
    payload: Payload,
    intake: &Intake,
) -> Result<(Bytes, Held), Problem> {
    let header = |name| request.headers().get(name).and_then(|value| value.to_str().ok());
    let declared = header(CONTENT_TYPE).unwrap_or_default();
    let essence = declared.split(';').next().unwrap_or_default().trim();
    if !essence.eq_ignore_ascii_case("multipart/form-data") {
        return Err(no_form());
    }
    let length = header(CONTENT_LENGTH).and_then(|length| length.parse::<usize>().ok());
    if length.is_some_and(|length| length > BYTES_MAX + FORM_BYTES_MAX) {
        return Err(too_large());
    }
    let mut left = BYTES_MAX + FORM_BYTES_MAX;
    let bounded = payload.map(move |chunk| {
        let chunk = chunk?;
        left = left.checked_sub(chunk.len()).ok_or(PayloadError::Overflow)?;
        Ok::<_, PayloadError>(chunk)
    });
    let form = Multipart::new(request.headers(), bounded);
    match tokio::time::timeout(UPLOAD_WAIT, only_file(form, intake)).await {
        Ok(read) => read,
        Err(_) => Err(Problem::new(
            Code::RequestTimeout,
            "The upload did not arrive in time. Send it again, or a smaller picture.",
        )),
    }
}

async fn only_file(mut form: Multipart, intake: &Intake) -> Result<(Bytes, Held), Problem> {
    let mut found = None;
    while let Some(field) = form.try_next().await.map_err(broken)? {
        match field.name() {
            Some(FILE) if found.is_some() => return Err(refused("is there twice; send one")),
            Some(FILE) => found = Some(read(field, intake).await?),
            Some(PURPOSE) => skip(field).await?,
            name => {
                let name: String = name.unwrap_or_default().chars().take(40).collect();
                let detail = format!(
                    "The form has a field {name:?}, which is not known here; send the picture as \
                     \"{FILE}\" and nothing else."
                );
                return Err(Problem::new(Code::InvalidFile, detail).param(FILE));
            }
        }
    }
    found.ok_or_else(|| refused("is missing; send the picture in a field of this name"))
}

async fn read(mut field: Field, intake: &Intake) -> Result<(Bytes, Held), Problem> {
    let mut held = intake.begin();
    let mut bytes = BytesMut::new();
    while let Some(chunk) = field.try_next().await.map_err(broken)? {
        let length = bytes.len() + chunk.len();
        if length > BYTES_MAX {
            return Err(too_large());
        }
        held.grow_to(length)?;
        bytes.extend_from_slice(&chunk);
    }
    Ok((bytes.freeze(), held))
}

async fn skip(mut field: Field) -> Result<(), Problem> {
    while field.try_next().await.map_err(broken)?.is_some() {}
    Ok(())
}

/// Says what is wrong with the one field.
pub fn refused(detail: impl std::fmt::Display) -> Problem {
    Problem::new(Code::InvalidFile, format!("The field \"{FILE}\" {detail}.")).param(FILE)
}

/// Answers for a file that is no picture, or none that is accepted.
pub fn unreadable(why: &Unreadable) -> Problem {
    let code = match why {
        Unreadable::TooManyBytes | Unreadable::TooManyPixels(..) | Unreadable::TooDetailed => {
            Code::PictureTooLarge
        }
        Unreadable::Unsupported(_) => Code::UnsupportedPicture,
        Unreadable::Empty | Unreadable::TooSmall(..) | Unreadable::Broken => Code::InvalidFile,
    };
    Problem::new(code, format!("The field \"{FILE}\" {why}.")).param(FILE)
}

fn too_large() -> Problem {
    unreadable(&Unreadable::TooManyBytes)
}

fn no_form() -> Problem {
    Problem::new(
        Code::UnsupportedMediaType,
        "Send the picture as the field \"file\" of a form, with the header \"Content-Type: \
         multipart/form-data\" that browsers and curl -F make themselves.",
    )
}

fn broken(error: MultipartError) -> Problem {
    match error {
        MultipartError::Payload(PayloadError::Overflow) => too_large(),
        MultipartError::BoundaryMissing
        | MultipartError::ContentTypeMissing
        | MultipartError::ContentTypeParse
        | MultipartError::ContentTypeIncompatible => no_form(),
        error => {
            let detail = "The form can't be read, or broke off. Send it again, whole.";
            Problem::new(Code::BadRequest, detail).cause(&error)
        }
    }
}
