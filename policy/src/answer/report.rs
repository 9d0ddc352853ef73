//! A refusal for the operator: the log line, and the values for access logs (contract, section 7).

use std::fmt;

use crate::policy::Mode;
use crate::reason::Refusal;
use crate::request::Request;
use crate::sockets::{Ended, Standing};
use crate::text::{Escaped, SHOWN};

const fn shown(bytes: &[u8]) -> Escaped<'_> {
    Escaped { bytes, limit: SHOWN }
}

/// The user of a refusal for an access log, escaped. `None` if no rule found a user.
#[must_use]
pub fn user(refusal: &Refusal<'_>) -> Option<String> {
    refusal.user.map(|user| shown(user).to_string())
}

/// The log line of a refusal. The query is left out because it may contain secrets.
#[derive(Debug, Clone, Copy)]
pub struct Line<'a> {
    /// What was refused.
    pub refusal: &'a Refusal<'a>,
    /// The request.
    pub request: &'a Request<'a>,
    /// The peer as the host shows it.
    pub peer: &'a [u8],
}

impl fmt::Display for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { refusal, request, peer } = self;
        let (peer, method, path) = (shown(peer), shown(request.method()), shown(request.path()));
        write!(f, "refused reason={refusal} peer={peer} method={method} path={path}")?;
        user(refusal).map_or(Ok(()), |user| write!(f, " user=\"{user}\""))
    }
}

/// The log line of an open socket that is closed.
#[derive(Debug, Clone, Copy)]
pub struct Socket<'a> {
    /// Why.
    pub ended: &'a Ended<'a>,
    /// In report mode, it would be closed.
    pub mode: Mode,
    /// What it was let through with.
    pub standing: &'a Standing,
    /// The path of its handshake, without the query.
    pub path: &'a [u8],
    /// The peer as the host shows it.
    pub peer: &'a [u8],
    /// How long it was open, in seconds.
    pub age: u64,
}

impl fmt::Display for Socket<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { ended, mode, standing, path, peer, age } = self;
        let verb = if *mode == Mode::Enforce { "closed" } else { "would close" };
        write!(f, "{verb} a socket reason={ended} peer={} path={} age={age}s", shown(peer), shown(path))?;
        match standing {
            Standing::Known { user: Some(user), .. } => write!(f, " user=\"{}\"", shown(user)),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::headers::serialize;
    use crate::names::Names;
    use crate::peer::Peer;
    use crate::reason::Reason;

    #[test]
    fn a_refusal_is_one_line_without_its_query() {
        let map = serialize(&[(":method", "GET"), (":path", "/a b\"\n?token=s3cr3t"), ("cookie", "s3cr3t")]);
        let request = Request::read(&Names::default(), Peer::Unknown, &map).unwrap();
        let refusal = Refusal { user: Some(b"j\xF6rg \""), ..Reason::UserNotAllowed.into() };
        assert_eq!(
            Line { refusal: &refusal, request: &request, peer: b"10.0.0.1:4711" }.to_string(),
            r#"refused reason=trusted_proxy_user_not_allowed peer=10.0.0.1:4711 method=GET path=/a\x20b\"\x0a user="j\xf6rg\x20\"""#
        );
    }
}
