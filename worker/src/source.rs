//! What a job starts from, as a provider takes it.
//!
//! Comes in: a job's input. Goes out: a [`Source`]: the picture cut and scaled to the size of the
//! frames, and the mask likewise. The gateway has stored the job's own copies of files and frames; an
//! address is fetched here, by the guard that also keeps outputs from leading inside our network, and
//! its picture is kept with the job for the next attempt. Nothing of this is the provider's doing, so
//! no failure here counts against it. The picture covers the frame: what sticks out on two sides is
//! cut off. The mask is laid over the whole picture and cut with it.

use std::time::Duration;

use bytes::Bytes;
use framewire_shared::domain::{
    ErrorCode, Failure, FailureKind, FrameInput, InputPicture, JobId, MediaType, Place,
};
use framewire_shared::service::picture::{self, BYTES_MAX, Unreadable};
use framewire_shared::store::blobs::Blobs;
use framewire_shared::store::blobs::inputs::JobInput;
use image::imageops::{FilterType, resize};
use image::{DynamicImage, GenericImageView, RgbImage};
use tokio::time::Instant;

use crate::provider::fetch::{FetchOptions, Fetcher, Unfetched};
use crate::provider::http::Misconfigured;
use crate::provider::{Picture, Source};

/// Longest time until all that a job starts from is there. The leave to call the provider is held
/// meanwhile and lapses `PERMIT_SLACK` (30 s) after the call's own time: half of that is left for the
/// rest. Crossing it fails the attempt for now; what was fetched by then is kept for the next one.
const SOURCES_TIME_MAX: Duration = Duration::from_secs(15);

/// Finds what jobs start from.
#[derive(Debug)]
pub struct Sources {
    blobs: Blobs,
    fetcher: Fetcher,
}

impl Sources {
    /// Makes it of where pictures are kept and what may be fetched.
    pub fn new(blobs: Blobs, options: FetchOptions) -> Result<Self, Misconfigured> {
        Ok(Self { blobs, fetcher: Fetcher::of_users(options, BYTES_MAX)? })
    }

    /// Gives what a job starts from; `None` where it starts from noise.
    ///
    /// Errors: for the job's user, naming the field.
    pub async fn of(&self, job: &JobId, input: &FrameInput) -> Result<Option<Source>, Failure> {
        let end = Instant::now() + SOURCES_TIME_MAX;
        let image = in_time(end, Place::Image, self.bytes(job, Place::Image, input)).await??;
        let Some(image) = image else {
            return Ok(None);
        };
        let mask = in_time(end, Place::Mask, self.bytes(job, Place::Mask, input)).await??;
        let size = (input.width, input.height);
        let fitting = tokio::task::spawn_blocking(move || fit(&image, mask.as_deref(), size));
        let fitted = in_time(end, Place::Image, fitting).await?;
        let (picture, mask) = fitted.map_err(|error| {
            let failure = ours(ErrorCode::Unknown, "the picture to start from could not be fitted");
            failure.detail(error.to_string())
        })??;
        let strength = input.strength.unwrap_or_default().get();
        Ok(Some(Source { picture, mask, strength }))
    }

    /// Gives the bytes of one of a job's pictures: those that are kept for it, else those at the
    /// address.
    async fn bytes(
        &self,
        job: &JobId,
        place: Place,
        input: &FrameInput,
    ) -> Result<Option<Bytes>, Failure> {
        let Some(named) = input.picture(place) else {
            return Ok(None);
        };
        let own = JobInput { job, place };
        let kept = self.blobs.read_whole(&own).await.map_err(|error| {
            let message = format!("the picture of input.{} can't be read now", place.as_str());
            let detail = format!("{:#}", anyhow::Error::from(error));
            ours(ErrorCode::Temporary, message).detail(detail)
        })?;
        match (kept, named) {
            (Some(bytes), _) => Ok(Some(bytes)),
            (None, InputPicture::Address(address)) => {
                let bytes = self.fetched(place, address).await?;
                if let Err(error) = self.blobs.put(&own, bytes.clone()).await {
                    // The next attempt, if there is one, fetches it again.
                    tracing::warn!(%job, "a fetched picture was not kept: {error}");
                }
                Ok(Some(bytes))
            }
            (None, _) => {
                let message = format!("the picture of input.{} is gone", place.as_str());
                Err(ours(ErrorCode::Permanent, message))
            }
        }
    }

    /// Fetches a picture and writes it anew, without what it may tell of its maker.
    async fn fetched(&self, place: Place, address: &str) -> Result<Bytes, Failure> {
        let download = self.fetcher.download(address).await;
        let bytes = download.map_err(|error| unfetched(place, &error))?;
        let write_anew = move || {
            let (pixels, media_type) = picture::read(&bytes)?;
            picture::write(&pixels, media_type)
        };
        let written = tokio::task::spawn_blocking(write_anew).await;
        let written = written.unwrap_or(Err(Unreadable::Broken));
        written.map(Bytes::from).map_err(|why| unreadable(place, &why))
    }
}

/// Waits for a step of it until the time for all of them is over.
async fn in_time<T>(
    end: Instant,
    place: Place,
    step: impl Future<Output = T>,
) -> Result<T, Failure> {
    tokio::time::timeout_at(end, step).await.map_err(|_| {
        let message = format!("the picture of input.{} took too long to get", place.as_str());
        ours(ErrorCode::Temporary, message)
    })
}

fn ours(code: ErrorCode, message: impl Into<String>) -> Failure {
    Failure::new(code, message).kind(FailureKind::Ours)
}

fn unreadable(place: Place, why: &Unreadable) -> Failure {
    ours(ErrorCode::Permanent, format!("the picture of input.{} {why}", place.as_str()))
}

/// Tells the user what came of an address: whether another try may help, and nothing of our network.
fn unfetched(place: Place, error: &Unfetched) -> Failure {
    // Busy servers and slow caches; any other refusal stays one.
    const PASSING: [u16; 3] = [408, 425, 429];
    let field = place.as_str();
    let (code, why) = match error {
        Unfetched::Refused(why) => (ErrorCode::Permanent, (*why).to_owned()),
        Unfetched::Answered(status) if *status >= 500 || PASSING.contains(status) => {
            (ErrorCode::Temporary, format!("its server answered {status}"))
        }
        Unfetched::Answered(status) => {
            (ErrorCode::Permanent, format!("its server answered {status}"))
        }
        Unfetched::Failed(_) => (ErrorCode::Temporary, "its server can't be reached".to_owned()),
    };
    let message = format!("the picture of input.{field} can't be fetched: {why}");
    ours(code, message).detail(error.to_string())
}

/// The part of a picture that covers a frame: left, top, width, height, as shares of the whole.
type Cut = [f64; 4];

/// Cuts and scales a picture, and its mask, to a frame's size.
fn fit(
    image: &[u8],
    mask: Option<&[u8]>,
    size: (u32, u32),
) -> Result<(Picture, Option<Picture>), Failure> {
    let read = |place, bytes| picture::read(bytes).map_err(|why| unreadable(place, &why));
    let (image, _) = read(Place::Image, image)?;
    let cut = cover(image.dimensions(), size);
    let on_white = flattened(&image, u8::MAX);
    let picture = cropped(&on_white.into(), cut, size, FilterType::Lanczos3);
    let picture = png(Place::Image, &picture.into_rgb8().into())?;
    let Some(mask) = mask else {
        return Ok((picture, None));
    };
    // What was not painted on a transparent mask is not white.
    let mask = flattened(&read(Place::Mask, mask)?.0, 0);
    let mask = cropped(&mask.into(), cut, size, FilterType::Triangle);
    Ok((picture, Some(png(Place::Mask, &mask.into_luma8().into())?)))
}

fn png(place: Place, pixels: &DynamicImage) -> Result<Picture, Failure> {
    let bytes = picture::write(pixels, MediaType::Png).map_err(|why| unreadable(place, &why))?;
    Ok(Picture { media_type: MediaType::Png, bytes: bytes.into() })
}

/// Finds the middle part of a picture that has the shape of a frame.
fn cover((width, height): (u32, u32), (to_width, to_height): (u32, u32)) -> Cut {
    let shape = |width: u32, height: u32| f64::from(width) / f64::from(height);
    let wider = shape(width, height) / shape(to_width, to_height);
    let (wide, high) = if wider > 1.0 { (1.0 / wider, 1.0) } else { (1.0, wider) };
    [(1.0 - wide) / 2.0, (1.0 - high) / 2.0, wide, high]
}

fn cropped(
    pixels: &DynamicImage,
    [left, top, wide, high]: Cut,
    (to_width, to_height): (u32, u32),
    filter: FilterType,
) -> DynamicImage {
    let (width, height) = pixels.dimensions();
    let part = |share: f64, whole: u32| (share * f64::from(whole)).round() as u32;
    let (x, y) = (part(left, width), part(top, height));
    let wide = part(wide, width).clamp(1, width - x.min(width - 1));
    let high = part(high, height).clamp(1, height - y.min(height - 1));
    let cut = pixels.crop_imm(x, y, wide, high);
    // Nothing is to be lost where nothing is to be scaled.
    if (wide, high) == (to_width, to_height) {
        return cut;
    }
    DynamicImage::ImageRgb8(resize(&cut.into_rgb8(), to_width, to_height, filter))
}

/// Lays a picture on a ground.
fn flattened(pixels: &DynamicImage, ground: u8) -> RgbImage {
    if !pixels.color().has_alpha() {
        return pixels.to_rgb8();
    }
    let pixels = pixels.to_rgba8();
    RgbImage::from_fn(pixels.width(), pixels.height(), |x, y| {
        let [red, green, blue, alpha] = pixels.get_pixel(x, y).0;
        let lay = |channel: u8| {
            let (alpha, rest) = (u16::from(alpha), u16::from(u8::MAX - alpha));
            ((u16::from(channel) * alpha + u16::from(ground) * rest + 127) / 255) as u8
        };
        image::Rgb([red, green, blue].map(lay))
    })
}

#[cfg(test)]
mod tests;
