//! The gateway as its callers meet it: a real `App`, a real Redis, real sockets.

/// A gateway, a user and a worker of one's own.
mod support;

/// Submitting, and everything that can be wrong with it.
mod http_submit;
/// Which models there are, and what each can do.
mod http_models;
/// Reading, waiting for, listing, cancelling and retrying.
mod http_jobs;
/// What is shown where there is no frame, and deleting.
mod http_fallback;
/// Who may see what.
mod http_sessions;
/// Uploads.
mod http_files;
/// Jobs that start from a picture.
mod http_inputs;
/// The frames' bytes.
mod http_artifacts;
/// Paths, methods, bodies and headers as strangers send them.
mod http_protocol;
/// Redis away, back, unfit, or full.
mod http_outage;
/// The description of the API, compared with the API.
mod http_openapi;
/// The studio's files.
mod http_studio;
/// Stopping in order.
mod http_stop;
/// Killed between reading a submit and answering it.
mod crash;

/// The live stream, without HTTP and with it.
mod live;
