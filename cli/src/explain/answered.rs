//! What Envoy answers itself, before the filter runs.

use std::borrow::Cow;

/// An answer of Envoy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answered {
    /// The status; `None` if Envoy ends the stream without one, as over HTTP/2.
    pub status: Option<u16>,
    /// What Envoy's access log has in `details`.
    pub details: Cow<'static, str>,
    pub because: String,
    pub remedy: String,
    /// Whether the filter has admitted the request before that.
    pub after_filter: bool,
}

impl Answered {
    pub fn new(status: u16, details: &'static str, because: impl Into<String>, remedy: impl Into<String>) -> Self {
        let (because, remedy) = (because.into(), remedy.into());
        Self { status: Some(status), details: details.into(), because, remedy, after_filter: false }
    }

    /// A 400 to what Envoy's parser of HTTP/1.1 does not accept.
    pub fn malformed(because: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::new(400, "http1.codec_error", because, remedy)
    }

    /// Over HTTP/2, Envoy resets the stream instead.
    pub fn over_http2(self, details: &'static str) -> Self {
        Self { status: None, details: details.into(), ..self }
    }

    /// What Envoy does, in one sentence.
    pub fn sentence(&self) -> String {
        let when = if self.after_filter { "after the filter admitted the request" } else { "before the filter" };
        match self.status {
            Some(status) => format!("Envoy answers {status} {when}: {}", self.because),
            None => format!("Envoy resets the stream {when}: {}", self.because),
        }
    }
}
