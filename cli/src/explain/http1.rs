//! The head of an HTTP/1.1 request, as it is on the wire.

use super::sent::{Malformed, Sent};

/// Reads a request line and headers up to an empty line, and ignores a body after it. Lines may end in LF alone.
pub fn parse(head: &[u8]) -> Result<Sent, Malformed> {
    let mut lines = head.split(|&byte| byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    let line = lines.find(|line| !line.is_empty()).unwrap_or_default();
    let bad_line =
        || Malformed::new("does not start with a request line", "write METHOD PATH HTTP/1.1, and then the headers");
    let text = std::str::from_utf8(line).map_err(|_| bad_line())?;
    let [method, target, version] = text.split(' ').collect::<Vec<_>>()[..] else { return Err(bad_line()) };
    if !version.starts_with("HTTP/") {
        return Err(bad_line());
    }
    let mut sent = Sent { method: method.to_owned(), http2: version.starts_with("HTTP/2"), ..Sent::default() };
    for line in lines.take_while(|line| !line.is_empty()) {
        if line.starts_with(b" ") || line.starts_with(b"\t") {
            return Err(Malformed::new(
                "has a header folded over several lines, which Envoy rejects",
                "write it on one line",
            ));
        }
        let colon = line.iter().position(|&byte| byte == b':');
        let (name, value) = colon.and_then(|at| line.split_at_checked(at)).ok_or_else(|| {
            Malformed::new("has a header line without a colon", "write name: value; end the headers with an empty line")
        })?;
        let name = String::from_utf8(name.to_vec())
            .map_err(|_| Malformed::new("has a header name that is not ASCII", "use letters, digits and hyphens"))?;
        sent.headers.push((name, value.get(1..).unwrap_or_default().trim_ascii().to_vec()));
    }
    if target.contains("://") {
        sent.headers.retain(|(name, _)| !name.eq_ignore_ascii_case("host"));
        sent.set_url(target)?;
    } else {
        sent.path = target.to_owned();
    }
    Ok(sent)
}
