//! The outcome of a request.

use super::state::Call;
use crate::vectors::Outcome;

/// The action that the filter returned to the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Continue with the next filter.
    Continue,
    /// Stop here.
    Pause,
}

/// A response that the filter generated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocalResponse {
    /// The status.
    pub status: u16,
    /// Names as the filter wrote them, with their values.
    pub headers: Vec<(String, Vec<u8>)>,
    /// The body.
    pub body: Vec<u8>,
}

/// One request with everything that the filter did to it.
#[derive(Clone, Debug)]
pub struct Exchange {
    /// The action that the filter returned.
    pub action: Action,
    /// The request headers as the filter left them.
    pub headers: Vec<(String, Vec<u8>)>,
    /// The filter's own response, if it generated one.
    pub response: Option<LocalResponse>,
    /// The properties that the filter set, in order.
    pub properties: Vec<(String, Vec<u8>)>,
    /// The host calls made for this stream, in order.
    pub calls: Vec<Call>,
    /// The fuel burnt while the filter looked at the request headers.
    pub fuel: u64,
}

impl Exchange {
    /// The values of all copies of a request header, as Latin-1.
    pub fn values(&self, name: &str) -> Vec<String> {
        values(&self.headers, name)
    }

    /// How often a host call of that name was made.
    pub fn count(&self, call: &str) -> usize {
        self.calls.iter().filter(|made| made.name == call).count()
    }

    /// The last value that the filter gave a property.
    pub fn property(&self, path: &str) -> Option<&[u8]> {
        self.properties.iter().rev().find(|(known, _)| known == path).map(|(_, value)| value.as_slice())
    }

    /// The filter's own response.
    ///
    /// # Panics
    /// If it did not generate one.
    pub fn refusal(&self) -> &LocalResponse {
        self.response.as_ref().unwrap_or_else(|| panic!("not refused, but {:?}", self.action))
    }

    /// The outcome as a client and an upstream would have seen it.
    pub fn outcome(&self) -> Outcome {
        match (&self.response, self.action) {
            (None, Action::Continue) => Outcome::Admitted { upstream: self.headers.clone() },
            (None, Action::Pause) => Outcome::Other("stuck: paused without a response".to_owned()),
            (Some(_), Action::Continue) => Outcome::Other("answered, but also let through".to_owned()),
            (Some(response), Action::Pause) if response.status == 101 => match response.close_frame() {
                Some((code, reason)) => Outcome::Closed { code, reason },
                None => Outcome::Other(format!("101 and {:?}, which is not a close frame", response.body)),
            },
            (Some(response), Action::Pause) => Outcome::Refused { status: response.status, reason: response.reason() },
        }
    }
}

impl LocalResponse {
    /// The values of all copies of a response header, as Latin-1.
    pub fn values(&self, name: &str) -> Vec<String> {
        values(&self.headers, name)
    }

    /// `error.reason` of a JSON body.
    pub fn reason(&self) -> Option<String> {
        let body: serde_json::Value = serde_json::from_slice(&self.body).ok()?;
        body["error"]["reason"].as_str().map(str::to_owned)
    }

    /// Code and reason, if the body is exactly one unmasked close frame (RFC 6455, sections 5.2 and 5.5.1).
    pub fn close_frame(&self) -> Option<(u16, String)> {
        let (header, payload) = self.body.split_first_chunk::<2>()?;
        if header[0] != 0x88 || header[1] > 125 || payload.len() != usize::from(header[1]) {
            return None;
        }
        let (code, reason) = payload.split_first_chunk::<2>()?;
        Some((u16::from_be_bytes(*code), String::from_utf8(reason.to_vec()).ok()?))
    }
}

fn values(headers: &[(String, Vec<u8>)], name: &str) -> Vec<String> {
    let copies = headers.iter().filter(|(known, _)| known.eq_ignore_ascii_case(name));
    copies.map(|(_, value)| value.iter().copied().map(char::from).collect()).collect()
}
