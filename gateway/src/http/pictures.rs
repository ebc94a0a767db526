//! What a job starts from: found, sized and copied before the job is submitted.
//!
//! Comes in: a checked request with `input.image`. Goes out: the same with the file's id in place of
//! a data URI, with the picture's size where it names none, and with the job's own copy of each
//! picture stored, so that no file has to outlive its day for a job that waits longer or is tried
//! again. What is not the session's does not exist for it: the answer is the same.
//! An address is not asked here: the worker fetches it, and its failure is the job's.

use base64::Engine;
use base64::engine::general_purpose::STANDARD_PAD_INDIFFERENT;
use bytes::Bytes;
use framewire_shared::domain::{
    ArtifactId, Fallback, FileId, FrameInput, InputFault, InputPicture, JobId, Place,
};
use framewire_shared::store::blobs::BlobName;
use framewire_shared::store::blobs::inputs::JobInput;

use super::Context;
use super::auth::Session;
use super::intake::{self, NotTaken};
use super::job_request::JobRequest;
use super::problem::Problem;

/// What was stored for a job that may not be accepted after all.
#[derive(Debug, Default)]
pub struct Placed {
    job: Option<JobId>,
    files: Vec<FileId>,
}

/// Where a picture is.
enum Found {
    File(FileId, (u32, u32)),
    Frame(ArtifactId, (u32, u32)),
    Data(String),
    Elsewhere,
}

/// Finds and keeps the pictures of a request for the job `id`.
///
/// Errors: 422 naming the field whose picture is not there, or none; nothing is kept then.
pub async fn place(
    context: &Context,
    session: &Session,
    id: &JobId,
    body: &mut JobRequest,
) -> Result<Placed, Problem> {
    let mut placed = Placed::default();
    if body.input.image.is_none() {
        return Ok(placed);
    }
    match place_all(context, session, id, body, &mut placed).await {
        Ok(()) => Ok(placed),
        Err(problem) => {
            placed.undo(context, session).await;
            Err(problem)
        }
    }
}

async fn place_all(
    context: &Context,
    session: &Session,
    id: &JobId,
    body: &mut JobRequest,
    placed: &mut Placed,
) -> Result<(), Problem> {
    let (mut found, mut faults) = (Vec::new(), Vec::new());
    for place in Place::ALL {
        let Some(picture) = body.input.picture(place) else {
            continue;
        };
        match find(context, session, picture).await? {
            Some(its) => found.push((place, its)),
            None => faults.push(gone(place, picture)),
        }
    }
    if !faults.is_empty() {
        return Err(Problem::invalid(faults));
    }
    for (place, its) in found {
        let size = match its {
            Found::Elsewhere => continue,
            Found::File(file, size) => {
                keep(context, id, place, &file, placed).await?;
                size
            }
            Found::Frame(frame, size) => {
                keep(context, id, place, &frame, placed).await?;
                size
            }
            Found::Data(uri) => {
                let (file, size) = take_data(context, session, place, &uri).await?;
                placed.files.push(file.clone());
                keep(context, id, place, &file, placed).await?;
                *slot(&mut body.input, place) = Some(InputPicture::File(file));
                size
            }
        };
        if place == Place::Image && !body.sized {
            take_size(context, body, size);
        }
    }
    body.input.strength.get_or_insert_default();
    Ok(())
}

/// Gives a request without a size that of its picture, as near as the model draws it.
fn take_size(context: &Context, body: &mut JobRequest, size: (u32, u32)) {
    let near = body.resolve(&context.settings).and_then(|(_, its)| its.abilities.size_near(size));
    if let Some(near) = near {
        (body.input.width, body.input.height) = near;
    }
}

/// Gives the job its own copy of a picture.
async fn keep(
    context: &Context,
    job: &JobId,
    place: Place,
    from: &impl BlobName,
    placed: &mut Placed,
) -> Result<(), Problem> {
    placed.job = Some(job.clone());
    if context.blobs.copy(from, &JobInput { job, place }).await? {
        return Ok(());
    }
    Err(Problem::invalid(vec![InputFault::new(place.pointer(), "is not stored any more")]))
}

/// Finds a picture; `None` if it is not there, or another's.
async fn find(
    context: &Context,
    session: &Session,
    picture: &InputPicture,
) -> Result<Option<Found>, Problem> {
    Ok(match picture {
        InputPicture::File(id) => {
            let file = context.store.file(id, &session.id).await?;
            file.map(|file| Found::File(id.clone(), (file.width, file.height)))
        }
        InputPicture::Frame(id) => {
            let frame = context.store.frame(id, &session.id).await?;
            frame.map(|frame| Found::Frame(id.clone(), (frame.width, frame.height)))
        }
        InputPicture::Data(uri) => Some(Found::Data(uri.clone())),
        InputPicture::Address(_) => Some(Found::Elsewhere),
    })
}

fn gone(place: Place, picture: &InputPicture) -> InputFault {
    let detail = match picture {
        InputPicture::Frame(_) => {
            "is no finished frame of this session; it may have expired with its job"
        }
        _ => "is no file of this session; a file goes a day after it came",
    };
    InputFault::new(place.pointer(), detail)
}

/// Stores the picture of a data URI as a file.
async fn take_data(
    context: &Context,
    session: &Session,
    place: Place,
    uri: &str,
) -> Result<(FileId, (u32, u32)), Problem> {
    let refuse = |detail: String| Problem::invalid(vec![InputFault::new(place.pointer(), detail)]);
    let data = uri.split_once(',').map_or("", |(_, data)| data);
    let bytes = STANDARD_PAD_INDIFFERENT.decode(data.trim_ascii());
    let bytes = bytes.map_err(|_| refuse("is no base64 behind its comma".into()))?;
    match intake::take(context, session, Bytes::from(bytes)).await {
        Ok((id, file)) => Ok((id, (file.width, file.height))),
        Err(NotTaken::Unreadable(why)) => Err(refuse(why.to_string())),
        // Unlike an upload, this leaves somebody without a frame.
        Err(NotTaken::Problem(problem)) => Err(problem.fallback(Fallback::shipped())),
    }
}

fn slot(input: &mut FrameInput, place: Place) -> &mut Option<InputPicture> {
    match place {
        Place::Image => &mut input.image,
        Place::Mask => &mut input.mask,
    }
}

impl Placed {
    /// Removes what was stored for a job that was not accepted; what is left of it goes by its age.
    pub async fn undo(self, context: &Context, session: &Session) {
        if let Some(job) = &self.job
            && let Err(error) = context.blobs.remove_inputs(job).await
        {
            tracing::warn!(%job, %error, "could not remove the pictures of a refused job yet");
        }
        for file in &self.files {
            match context.store.forget_file(file, &session.id).await {
                Ok(_) => intake::remove(context, file).await,
                Err(error) => tracing::warn!(%file, %error, "could not forget a file yet"),
            }
        }
    }
}
