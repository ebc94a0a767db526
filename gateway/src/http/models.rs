//! `GET /v1/models`: what may be named as `model`, and what each can do.
//!
//! Comes in: the settings. Goes out: the list in the form of OpenAI's, with abilities beside it;
//! no Redis is asked. Anybody may read it: whoever can make a session can find out by trying.
//! What a model is called at its providers, and who they are, is not told.

use actix_web::HttpResponse;
use actix_web::web::Data;
use framewire_shared::domain::input::OutputFormat;
use framewire_shared::domain::{Abilities, Sizes};
use serde::Serialize;
use utoipa::ToSchema;

use super::Context;
use super::openapi::mirror;

/// All models
#[derive(Debug, Serialize, ToSchema)]
pub struct ModelList<'a> {
    /// `list`
    object: &'static str,
    data: Vec<ModelView<'a>>,
}

/// What may be named as `model`
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Model)]
pub struct ModelView<'a> {
    /// Its name
    id: &'a str,
    /// `model`
    object: &'static str,
    /// Where its jobs wait
    pool: &'a str,
    /// Whether it is meant by requests that name none
    default: bool,
    abilities: AbilitiesView<'a>,
}

/// What a model can do
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Abilities)]
struct AbilitiesView<'a> {
    sizes: SizesView<'a>,
    /// Width and height of a request that names none, in pixels
    size_default: Option<(u32, u32)>,
    /// Encodings
    #[schema(value_type = Vec<mirror::OutputFormat>)]
    formats: [OutputFormat; 3],
    /// Frames of one job
    n_max: u32,
    /// Whether `negative_prompt` is accepted
    negative_prompt: bool,
    /// Whether `seed` means something
    seed: bool,
    /// Whether `steps` mean something
    steps: bool,
    /// Whether it can start from a picture: `image`, `strength`
    image: bool,
    /// Whether it can draw a part of that picture anew: `mask`
    mask: bool,
}

/// Sizes that a model draws: these alone, or sides that are multiples
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Sizes)]
#[serde(untagged)]
enum SizesView<'a> {
    Only {
        /// Widths and heights, in pixels
        only: &'a [(u32, u32)],
    },
    Multiples {
        /// In pixels
        multiples_of: u32,
        /// Longest side, in pixels
        side_max: u32,
        /// How many times as long the longer side may be; any when absent
        #[serde(skip_serializing_if = "Option::is_none")]
        ratio_max: Option<u32>,
    },
}

/// Lists the models.
#[utoipa::path(get, path = "/v1/models", tag = "jobs", operation_id = "listModels", security(()),
    responses((status = 200, description = "All models", body = ModelList)))]
pub async fn list(context: Data<Context>) -> HttpResponse {
    let models = &context.settings.models;
    let default = models.find(None).map(|(name, _)| name);
    let data = models.0.iter().map(|(id, model)| ModelView {
        id,
        object: "model",
        pool: model.pool.as_str(),
        default: default == Some(id),
        abilities: AbilitiesView::from(&model.abilities),
    });
    let list = ModelList { object: "list", data: data.collect() };
    HttpResponse::Ok().insert_header(super::NO_CACHE).json(list)
}

impl<'a> From<&'a Abilities> for AbilitiesView<'a> {
    fn from(abilities: &'a Abilities) -> Self {
        let &Abilities { frames_max, negative_prompt, steps, seed, image, mask, .. } = abilities;
        let sizes = match &abilities.sizes {
            Sizes::Only(only) => SizesView::Only { only },
            &Sizes::Multiples { of, max, ratio_max } => SizesView::Multiples {
                multiples_of: of,
                side_max: max,
                ratio_max: (ratio_max < u32::MAX).then_some(ratio_max),
            },
        };
        Self {
            sizes,
            size_default: abilities.size_default(),
            formats: [OutputFormat::Png, OutputFormat::Webp, OutputFormat::Jpeg],
            n_max: frames_max,
            negative_prompt,
            seed,
            steps,
            image,
            mask,
        }
    }
}
