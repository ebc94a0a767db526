//! What can go wrong, as words that programs may compare; each with its status and title.
//!
//! One table, from which the enum, the documents and the description of the API are made.

use actix_web::http::StatusCode;

/// Declares the codes: name, word, status, title, OpenAI type.
macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $word:literal, $status:literal, $title:literal, $kind:literal;)+) => {
        /// What went wrong, as a word that programs may compare.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Code {
            $($(#[$doc])* $name,)+
        }

        impl Code {
            /// All codes, for the description of the API.
            pub const ALL: &'static [Self] = &[$(Self::$name,)+];

            pub(super) const fn row(self) -> (&'static str, u16, &'static str, &'static str) {
                match self {
                    $(Self::$name => ($word, $status, $title, $kind),)+
                }
            }
        }
    };
}

codes! {
    /// The body is no JSON, or ends too early.
    MalformedJson = "malformed_json", 400, "Malformed JSON", "invalid_request_error";
    /// A query parameter or header has a value that can't be read.
    InvalidParameter = "invalid_parameter", 400, "Invalid parameter", "invalid_request_error";
    /// No token, or one that opens nothing here.
    InvalidToken = "invalid_token", 401, "A session is needed", "invalid_request_error";
    /// No tenant's key where one is needed, or one that is nobody's.
    InvalidKey = "invalid_key", 401, "A tenant's key is needed", "invalid_request_error";
    /// A cookie that another site made the browser send.
    CrossSite = "cross_site", 403, "Refused from another site", "invalid_request_error";
    /// No such path.
    RouteNotFound = "route_not_found", 404, "No such page", "invalid_request_error";
    /// No such job in this session.
    JobNotFound = "job_not_found", 404, "No such job", "invalid_request_error";
    /// No such frame in this session.
    ArtifactNotFound = "artifact_not_found", 404, "No such frame", "invalid_request_error";
    /// No such file in this session.
    FileNotFound = "file_not_found", 404, "No such file", "invalid_request_error";
    /// The path exists, the method does not.
    MethodNotAllowed = "method_not_allowed", 405, "Method not allowed", "invalid_request_error";
    /// The body did not arrive in time.
    RequestTimeout = "request_timeout", 408, "The request took too long", "invalid_request_error";
    /// The job has to end first.
    JobNotFinished = "job_not_finished", 409, "The job has not ended", "invalid_request_error";
    /// The job's state does not allow it.
    Conflict = "conflict", 409, "Not possible in this state", "invalid_request_error";
    /// The body is larger than `gateway.body_bytes_max`.
    PayloadTooLarge = "payload_too_large", 413, "The body is too large", "invalid_request_error";
    /// The picture has more bytes or pixels than are accepted.
    PictureTooLarge = "picture_too_large", 413, "The picture is too large", "invalid_request_error";
    /// The body is not declared as what the path takes: plain JSON, or a form.
    UnsupportedMediaType = "unsupported_media_type", 415, "Another kind of body is needed", "invalid_request_error";
    /// The file is no picture of a kind that is accepted.
    UnsupportedPicture = "unsupported_picture", 415, "Another kind of picture is needed", "invalid_request_error";
    /// The frame has no such bytes.
    RangeNotSatisfiable = "range_not_satisfiable", 416, "No such range", "invalid_request_error";
    /// The body is JSON, but not a request that can be accepted.
    InvalidValue = "invalid_value", 422, "Invalid request", "invalid_request_error";
    /// The form has no file, two of them, or one that can't be decoded.
    InvalidFile = "invalid_file", 422, "The file can't be accepted", "invalid_request_error";
    /// An Idempotency-Key stands for another request already.
    KeyReused = "idempotency_key_reused", 422, "The Idempotency-Key is taken", "invalid_request_error";
    /// The session has as many streams here as it may.
    TooManyStreams = "too_many_streams", 429, "Too many streams", "rate_limit_error";
    /// The session has as many unfinished jobs as it may.
    SessionFull = "session_full", 429, "Too many unfinished jobs", "rate_limit_error";
    /// The session has as many uploaded files as it may.
    TooManyFiles = "too_many_files", 429, "Too many files", "rate_limit_error";
    /// A fault of ours.
    Internal = "internal_error", 500, "Something broke on our side", "server_error";
    /// The pool has as many waiting jobs as it may.
    QueueFull = "queue_full", 503, "The queue is full", "service_unavailable_error";
    /// All providers of the model's pool are closed off, and the pool refuses meanwhile.
    PoolClosed = "pool_closed", 503, "Nobody draws right now", "service_unavailable_error";
    /// Redis or the artifact store can't be used right now.
    Unavailable = "unavailable", 503, "Not available right now", "service_unavailable_error";
    /// A readiness check failed.
    NotReady = "not_ready", 503, "Not ready", "service_unavailable_error";
    /// The request broke off or is no HTTP that we understand.
    BadRequest = "bad_request", 400, "Bad request", "invalid_request_error";
}

impl Code {
    /// Gives the word in `code`.
    pub fn word(self) -> &'static str {
        self.row().0
    }

    /// Gives the HTTP status.
    pub fn status(self) -> StatusCode {
        StatusCode::from_u16(self.row().1).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    /// Tells whether somebody who wanted a picture is left without one.
    pub fn leaves_no_frame(self) -> bool {
        matches!(
            self,
            Self::JobNotFound
                | Self::ArtifactNotFound
                | Self::InvalidValue
                | Self::KeyReused
                | Self::SessionFull
                | Self::QueueFull
                | Self::PoolClosed
                | Self::Unavailable
        )
    }

    /// Gives the title, which is the same for every occurrence.
    pub fn title(self) -> &'static str {
        self.row().2
    }
}
