//! `GET /metrics` and `GET /internal/gen-health`: for those who watch, and open to whoever reaches
//! this listener unless `gateway.internal_key_sha256` is set. Neither tells of a prompt, an id or a
//! secret; still a proxy should not let strangers reach them. Both answer 200 whatever is wrong: that
//! is when they are read.

use actix_web::http::header::{AUTHORIZATION, CONTENT_TYPE};
use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};
use framewire_shared::service::metrics;

use super::auth::credential;
use super::gen_health;
use super::problem::{Code, Problem};
use super::{Context, NO_STORE};

/// Gives the metrics in Prometheus' text format.
#[utoipa::path(get, path = "/metrics", tag = "service", operation_id = "metrics", security(()),
    description = "For a Prometheus. 200 also while Redis is away: then `framewire_redis_up` is 0 and \
        only what this gateway knows by itself is told. Wants `Authorization: Bearer <key>` where \
        `gateway.internal_key_sha256` is set.",
    responses((status = 200, description = "Prometheus' text format", content_type = "text/plain",
        body = String),
        (status = 401, description = "No key, or another one")))]
pub async fn metrics(
    context: Data<Context>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    check_key(&context, &request)?;
    let reading = context.outlook.read().await;
    let text = context.metrics.text(&context.live, &context.store, &context.outlook, &reading);
    Ok(HttpResponse::Ok()
        .insert_header(NO_STORE)
        .insert_header((CONTENT_TYPE, metrics::CONTENT_TYPE))
        .body(text))
}

/// Says how generation stands, and what to do where it does not stand well.
#[utoipa::path(get, path = "/internal/gen-health", tag = "service", operation_id = "genHealth",
    security(()),
    description = "`status` is `ok`, `degraded` (some jobs wait longer than they should) or `down` \
        (nothing is drawn), with the `reasons` in words. Always 200, so read `status`. Wants \
        `Authorization: Bearer <key>` where `gateway.internal_key_sha256` is set.",
    responses((status = 200, description = "How it stands", body = Object, example = json!({
        "status": "degraded",
        "reasons": ["provider main is closed off (open for 42 s): its jobs wait or go to the next \
            route. `framewire doctor` says why; workers probe it by themselves."],
        "cells": 1, "cells_without_redis": [], "dead_letters": 0,
        "providers": {"main": {"breaker": "open", "open_for_ms": 42_000, "next_probe_ms": 18_000,
            "failure_rate": 1.0, "p95_ms": 61_000, "timeout_ms": 71_000,
            "budget": {"tokens": 4, "capacity": 5}, "throttled_for_ms": null, "permits_held": 0,
            "concurrency": 4, "closed_for_ms": 138_000, "closed_by": "breaker",
            "last_15_min": {"calls": 12, "timeouts": 3}, "probes": {"succeeded": 0, "failed": 1}}},
        "pools": {"paid": {"queued": {"high": 0, "normal": 7, "low": 0}, "oldest_ms": 40_100,
            "window": 0, "admitted": 0, "running": 0, "delayed": 3, "slots": 0, "cap": null,
            "closed_for_ms": 138_000}}})),
        (status = 401, description = "No key, or another one")))]
pub async fn gen_health(
    context: Data<Context>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    check_key(&context, &request)?;
    let reading = context.outlook.read().await;
    let pools = context.settings.models.pools();
    let report = gen_health::report(&reading, context.outlook.guards(), &pools);
    Ok(HttpResponse::Ok().insert_header(NO_STORE).json(report))
}

fn check_key(context: &Context, request: &HttpRequest) -> Result<(), Problem> {
    let Some(digest) = &context.settings.gateway.internal_key_sha256 else {
        return Ok(());
    };
    let key = request.headers().get(AUTHORIZATION).and_then(credential);
    if key.is_some_and(|key| digest.is_of(key)) {
        return Ok(());
    }
    let detail = "This is for operators: send the key whose digest is \
                  gateway.internal_key_sha256 as \"Authorization: Bearer <key>\".";
    Err(Problem::new(Code::InvalidKey, detail).challenge(r#"Bearer realm="framewire-internal""#))
}
