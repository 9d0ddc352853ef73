//! A curl command, as people have it at hand and browsers copy it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::sent::{Malformed, Sent, parse_header};

/// Options with a value that changes nothing which the filter sees.
const WITH_VALUE: [&str; 26] = [
    "--output",
    "--max-time",
    "--connect-timeout",
    "--resolve",
    "--connect-to",
    "--cacert",
    "--capath",
    "--cert",
    "--key",
    "--cert-type",
    "--key-type",
    "--pass",
    "--write-out",
    "--dump-header",
    "--retry",
    "--retry-delay",
    "--interface",
    "--tls-max",
    "--ciphers",
    "--trace-ascii",
    "--trace",
    "--stderr",
    "--limit-rate",
    "--max-redirs",
    "--cookie-jar",
    "--noproxy",
];
/// Options without a value that change nothing which the filter sees.
const WITHOUT_VALUE: [&str; 20] = [
    "--insecure",
    "--silent",
    "--show-error",
    "--include",
    "--verbose",
    "--location",
    "--fail",
    "--fail-with-body",
    "--no-buffer",
    "--progress-bar",
    "--path-as-is",
    "--globoff",
    "--no-keepalive",
    "--tlsv1.2",
    "--tlsv1.3",
    "--ipv4",
    "--ipv6",
    "--remote-name",
    "--http1.1",
    "--no-progress-meter",
];
/// Short options, and what they are in full.
const SHORT: [(char, &str); 27] = [
    ('H', "--header"),
    ('X', "--request"),
    ('u', "--user"),
    ('b', "--cookie"),
    ('A', "--user-agent"),
    ('e', "--referer"),
    ('d', "--data"),
    ('F', "--form"),
    ('G', "--get"),
    ('I', "--head"),
    ('k', "--insecure"),
    ('s', "--silent"),
    ('S', "--show-error"),
    ('i', "--include"),
    ('v', "--verbose"),
    ('L', "--location"),
    ('f', "--fail"),
    ('N', "--no-buffer"),
    ('#', "--progress-bar"),
    ('g', "--globoff"),
    ('4', "--ipv4"),
    ('6', "--ipv6"),
    ('O', "--remote-name"),
    ('o', "--output"),
    ('m', "--max-time"),
    ('w', "--write-out"),
    ('D', "--dump-header"),
];

/// Reads a curl command.
pub fn parse(command: &str) -> Result<Sent, Malformed> {
    let words = if is_for_windows(command) { words(&without_carets(command)) } else { words(command) }?;
    let mut words = words.into_iter();
    let program = words.next().unwrap_or_default();
    if program.rsplit('/').next() != Some("curl") && program != "curl.exe" {
        return Err(Malformed::new(format!("{program:?} is not curl"), "give one curl command, in quotes"));
    }
    let mut command = Command::default();
    let mut only_urls = false;
    while let Some(word) = words.next() {
        if only_urls || !word.starts_with('-') || word == "-" {
            command.url(&word)?;
        } else if word == "--" {
            only_urls = true;
        } else if word.starts_with("--") {
            command.option(&word, &mut words, None)?;
        } else {
            // `-sSk`, `-XPOST`: letters, and what follows one with a value is that value.
            let mut letters = word.get(1..).unwrap_or_default().chars();
            while let Some(letter) = letters.next() {
                let known = SHORT.iter().find(|(short, _)| *short == letter);
                let (_, name) = known.ok_or_else(|| unknown(&format!("-{letter}")))?;
                let attached = Some(letters.as_str().to_owned()).filter(|rest| !rest.is_empty());
                if command.option(name, &mut words, attached)? {
                    break;
                }
            }
        }
    }
    command.into_sent()
}

/// What is behind an equals sign may be a secret.
fn unknown(option: &str) -> Malformed {
    let option = option.split('=').next().unwrap_or_default();
    Malformed::new(
        format!("{option} is not an option of curl that is known here"),
        "leave it out if it changes nothing that is sent, or describe the request with --method, --path and -H",
    )
}

#[derive(Default)]
struct Command {
    url: Option<String>,
    method: Option<String>,
    /// In order; `None` takes one away that curl adds by itself.
    headers: Vec<(String, Option<Vec<u8>>)>,
    data: Vec<String>,
    content_type: Option<&'static str>,
    has_body: bool,
    is_get: bool,
    is_head: bool,
    http2: bool,
}

impl Command {
    fn url(&mut self, url: &str) -> Result<(), Malformed> {
        if self.url.is_some() {
            return Err(Malformed::new("there is more than one URL", "give the command for one request"));
        }
        self.url = Some(url.to_owned());
        Ok(())
    }

    fn set(&mut self, name: &str, value: impl Into<Vec<u8>>) {
        self.headers.push((name.to_owned(), Some(value.into())));
    }

    /// Reads one option; true where it took the value that is attached to it.
    fn option(
        &mut self,
        name: &str,
        words: &mut impl Iterator<Item = String>,
        attached: Option<String>,
    ) -> Result<bool, Malformed> {
        match name {
            "--get" => self.is_get = true,
            "--head" => self.is_head = true,
            "--http2" | "--http2-prior-knowledge" | "--http3" => self.http2 = true,
            "--compressed" => self.set("Accept-Encoding", "deflate, gzip"),
            name if WITHOUT_VALUE.contains(&name) => {}
            name => {
                let mut value = || {
                    attached.clone().or_else(|| words.next()).ok_or_else(|| {
                        Malformed::new(format!("{name} has no value"), format!("write the value behind {name}"))
                    })
                };
                match name {
                    "--url" => {
                        let url = value()?;
                        self.url(&url)?;
                    }
                    "--request" => self.method = Some(value()?),
                    "--header" => self.header(&value()?)?,
                    "--user" => {
                        let encoded = STANDARD.encode(value()?);
                        self.set("Authorization", format!("Basic {encoded}"));
                    }
                    "--oauth2-bearer" => {
                        let token = value()?;
                        self.set("Authorization", format!("Bearer {token}"));
                    }
                    "--cookie" => {
                        let cookies = value()?;
                        if !cookies.contains('=') {
                            return Err(Malformed::new("-b names a file of cookies", "write them: -b 'name=value'"));
                        }
                        self.set("Cookie", cookies);
                    }
                    "--user-agent" => {
                        let agent = value()?;
                        self.set("User-Agent", agent);
                    }
                    "--referer" => {
                        let referer = value()?;
                        self.set("Referer", referer);
                    }
                    "--data" | "--data-raw" | "--data-ascii" | "--data-binary" | "--data-urlencode" => {
                        self.data.push(value()?);
                        self.has_body = true;
                        self.content_type.get_or_insert("application/x-www-form-urlencoded");
                    }
                    "--json" => {
                        self.data.push(value()?);
                        self.has_body = true;
                        self.content_type = Some("application/json");
                        self.set("Accept", "application/json");
                    }
                    "--form" | "--form-string" => {
                        value()?;
                        self.has_body = true;
                        self.content_type = Some("multipart/form-data");
                    }
                    "--upload-file" => {
                        value()?;
                        self.has_body = true;
                        self.method.get_or_insert_with(|| "PUT".to_owned());
                    }
                    name if WITH_VALUE.contains(&name) => {
                        value()?;
                    }
                    name => return Err(unknown(name)),
                }
                return Ok(attached.is_some());
            }
        }
        Ok(false)
    }

    fn header(&mut self, text: &str) -> Result<(), Malformed> {
        if text.starts_with('@') {
            return Err(Malformed::new("-H names a file of headers", "write them: -H 'name: value'"));
        }
        match text.split_once(':') {
            // `Name:` takes a header away that curl would send by itself.
            Some((name, value)) if value.trim_ascii().is_empty() => self.headers.push((name.to_owned(), None)),
            _ => {
                let (name, value) = parse_header(text)?;
                self.headers.push((name, Some(value)));
            }
        }
        Ok(())
    }

    fn into_sent(self) -> Result<Sent, Malformed> {
        let url = self.url.ok_or_else(|| Malformed::new("there is no URL", "write it as in curl https://host/path"))?;
        let method = self.method.unwrap_or_else(|| {
            let sends_body = self.has_body && !self.is_get;
            if self.is_head {
                "HEAD"
            } else if sends_body {
                "POST"
            } else {
                "GET"
            }
            .to_owned()
        });
        let mut sent = Sent { method, http2: self.http2, ..Sent::default() };
        let content_type = self.content_type.filter(|_| !self.is_get);
        for (name, value) in [("User-Agent", Some("curl")), ("Accept", Some("*/*")), ("Content-Type", content_type)] {
            let is_set = self.headers.iter().any(|(own, _)| own.eq_ignore_ascii_case(name));
            if let Some(value) = value.filter(|_| !is_set) {
                sent.headers.push((name.to_owned(), value.as_bytes().to_vec()));
            }
        }
        sent.headers.extend(self.headers.into_iter().filter_map(|(name, value)| Some((name, value?))));
        sent.set_url(&url)?;
        if self.is_get && !self.data.is_empty() {
            let mark = if sent.path.contains('?') { '&' } else { '?' };
            sent.path = format!("{}{mark}{}", sent.path, self.data.join("&"));
        }
        if url.starts_with("ws:") || url.starts_with("wss:") {
            sent.make_websocket();
        }
        Ok(sent)
    }
}

/// Browsers copy for Windows' command line as well: every quote that opens or closes an argument has a caret before it.
fn is_for_windows(command: &str) -> bool {
    command.split_ascii_whitespace().take_while(|word| !word.contains('\'')).any(|word| word.starts_with("^\""))
}

/// What is left once that command line has read it: a caret takes its meaning from the character behind it.
fn without_carets(command: &str) -> String {
    let mut chars = command.chars();
    std::iter::from_fn(|| match chars.next()? {
        '^' => chars.next(),
        c => Some(c),
    })
    .collect()
}

/// Splits a command as a shell does: blanks, backslashes, both quotes, and `$'…'`, in which browsers copy.
fn words(command: &str) -> Result<Vec<String>, Malformed> {
    let unclosed = || Malformed::new("a quote is not closed", "quote the whole command, and each argument in it");
    let (mut words, mut word) = (Vec::new(), None::<String>);
    let mut chars = command.trim().chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\'' => {
                let word = word.get_or_insert_default();
                loop {
                    match chars.next() {
                        None => return Err(unclosed()),
                        Some('\'') => break,
                        Some(c) => word.push(c),
                    }
                }
            }
            '"' => {
                let word = word.get_or_insert_default();
                loop {
                    match chars.next() {
                        None => return Err(unclosed()),
                        Some('"') => break,
                        Some('\\') => match chars.next() {
                            Some('\n') => {}
                            Some(c @ ('"' | '\\' | '$' | '`')) => word.push(c),
                            Some(c) => word.extend(['\\', c]),
                            None => return Err(unclosed()),
                        },
                        Some(c) => word.push(c),
                    }
                }
            }
            '$' if chars.peek() == Some(&'\'') => {
                chars.next();
                let word = word.get_or_insert_default();
                loop {
                    match chars.next() {
                        None => return Err(unclosed()),
                        Some('\'') => break,
                        Some('\\') => word.push(ansi_escape(&mut chars)?),
                        Some(c) => word.push(c),
                    }
                }
            }
            // Behind a backslash, or the caret of Windows' command line, a line goes on.
            '\\' | '^' if matches!(chars.peek(), Some('\n' | '\r')) => {
                while chars.next_if(|c| matches!(c, '\n' | '\r')).is_some() {}
            }
            '\\' => word.get_or_insert_default().push(chars.next().ok_or_else(unclosed)?),
            c if c.is_ascii_whitespace() => words.extend(word.take()),
            c @ ('|' | ';' | '&' | '<' | '>' | '`') => {
                return Err(Malformed::new(
                    format!("{c:?} is outside quotes: this is more than one command"),
                    "give the curl command alone",
                ));
            }
            c => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    Ok(words)
}

/// Behind a backslash in `$'…'`.
fn ansi_escape(chars: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Result<char, Malformed> {
    let bad = || Malformed::new("an escape in $'…' is none that is known here", "write the character itself");
    match chars.next().ok_or_else(bad)? {
        'n' => Ok('\n'),
        'r' => Ok('\r'),
        't' => Ok('\t'),
        c @ ('\\' | '\'' | '"' | '?' | '!') => Ok(c),
        kind @ ('x' | 'u') => {
            let mut number = None;
            for _ in 0..(if kind == 'x' { 2 } else { 4 }) {
                let Some(digit) = chars.peek().and_then(|c| c.to_digit(16)) else { break };
                chars.next();
                number = Some(number.unwrap_or(0_u32).wrapping_mul(16) | digit);
            }
            let number = number.ok_or_else(bad)?;
            // Browsers write what is beyond U+FFFF as two halves.
            let rest: String = chars.clone().take(6).collect();
            let low = rest.strip_prefix("\\u").and_then(|low| u16::from_str_radix(low, 16).ok());
            let units = [u16::try_from(number).ok(), low];
            match char::from_u32(number) {
                Some(c) => Ok(c),
                None => {
                    let both =
                        char::decode_utf16(units.into_iter().flatten()).next().and_then(Result::ok).ok_or_else(bad)?;
                    chars.by_ref().take(6).for_each(drop);
                    Ok(both)
                }
            }
        }
        _ => Err(bad()),
    }
}
