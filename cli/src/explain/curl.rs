//! A request from a curl command, as people write it and browsers copy it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::sent::{Malformed, Sent, parse_header};

/// An option of curl: its letter, its name, and whether it takes a value.
type Known = (Option<char>, &'static str, bool);

/// The options that are understood. The first ones are applied by [`Command::apply`]; the others change nothing that
/// the filter sees.
const OPTIONS: [Known; 69] = [
    (None, "--url", true),
    (Some('X'), "--request", true),
    (Some('H'), "--header", true),
    (Some('u'), "--user", true),
    (None, "--oauth2-bearer", true),
    (Some('b'), "--cookie", true),
    (Some('A'), "--user-agent", true),
    (Some('e'), "--referer", true),
    (Some('d'), "--data", true),
    (None, "--data-raw", true),
    (None, "--data-ascii", true),
    (None, "--data-binary", true),
    (None, "--data-urlencode", true),
    (None, "--json", true),
    (Some('F'), "--form", true),
    (None, "--form-string", true),
    (None, "--upload-file", true),
    (Some('G'), "--get", false),
    (Some('I'), "--head", false),
    (None, "--http2", false),
    (None, "--http2-prior-knowledge", false),
    (None, "--http3", false),
    (None, "--compressed", false),
    (Some('o'), "--output", true),
    (Some('m'), "--max-time", true),
    (None, "--connect-timeout", true),
    (None, "--resolve", true),
    (None, "--connect-to", true),
    (None, "--cacert", true),
    (None, "--capath", true),
    (None, "--cert", true),
    (None, "--key", true),
    (None, "--cert-type", true),
    (None, "--key-type", true),
    (None, "--pass", true),
    (Some('w'), "--write-out", true),
    (Some('D'), "--dump-header", true),
    (None, "--retry", true),
    (None, "--retry-delay", true),
    (None, "--interface", true),
    (None, "--tls-max", true),
    (None, "--ciphers", true),
    (None, "--trace-ascii", true),
    (None, "--trace", true),
    (None, "--stderr", true),
    (None, "--limit-rate", true),
    (None, "--max-redirs", true),
    (None, "--cookie-jar", true),
    (None, "--noproxy", true),
    (Some('k'), "--insecure", false),
    (Some('s'), "--silent", false),
    (Some('S'), "--show-error", false),
    (Some('i'), "--include", false),
    (Some('v'), "--verbose", false),
    (Some('L'), "--location", false),
    (Some('f'), "--fail", false),
    (None, "--fail-with-body", false),
    (Some('N'), "--no-buffer", false),
    (Some('#'), "--progress-bar", false),
    (None, "--path-as-is", false),
    (Some('g'), "--globoff", false),
    (None, "--no-keepalive", false),
    (None, "--tlsv1.2", false),
    (None, "--tlsv1.3", false),
    (Some('4'), "--ipv4", false),
    (Some('6'), "--ipv6", false),
    (Some('O'), "--remote-name", false),
    (None, "--http1.1", false),
    (None, "--no-progress-meter", false),
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
            let option = OPTIONS.iter().find(|(_, name, _)| *name == word).ok_or_else(|| unknown(&word))?;
            command.option(option, String::new(), &mut words)?;
        } else {
            // `-sSk`, `-XPOST`: letters. What follows the letter of an option with a value is that value.
            let mut letters = word.chars().skip(1);
            while let Some(letter) = letters.next() {
                let option = OPTIONS.iter().find(|(short, ..)| *short == Some(letter));
                let option = option.ok_or_else(|| unknown(&format!("-{letter}")))?;
                let attached = if option.2 { letters.by_ref().collect() } else { String::new() };
                command.option(option, attached, &mut words)?;
            }
        }
    }
    command.into_sent()
}

/// Does not show what follows an equals sign, because it may be a secret.
fn unknown(option: &str) -> Malformed {
    let option = option.split('=').next().unwrap_or_default();
    Malformed::new(
        format!("{option} is not a supported option of curl"),
        "remove it if it does not change the request, or describe the request with --method, --path and -H",
    )
}

#[derive(Default)]
struct Command {
    url: Option<String>,
    method: Option<String>,
    /// In order; `None` removes a header that curl adds by itself.
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
            return Err(Malformed::new("there is more than one URL", "give a command for one request"));
        }
        self.url = Some(url.to_owned());
        Ok(())
    }

    fn set(&mut self, name: &str, value: impl Into<Vec<u8>>) {
        self.headers.push((name.to_owned(), Some(value.into())));
    }

    /// Reads one option. A value that is not attached to it is the next word.
    fn option(
        &mut self,
        &(_, name, takes_value): &Known,
        attached: String,
        words: &mut impl Iterator<Item = String>,
    ) -> Result<(), Malformed> {
        let value = if takes_value && attached.is_empty() { words.next() } else { Some(attached) };
        let missing = || Malformed::new(format!("{name} has no value"), format!("write a value after {name}"));
        self.apply(name, value.ok_or_else(missing)?)
    }

    fn apply(&mut self, name: &str, value: String) -> Result<(), Malformed> {
        match name {
            "--url" => self.url(&value)?,
            "--request" => self.method = Some(value),
            "--header" => self.header(&value)?,
            "--user" => self.set("Authorization", format!("Basic {}", STANDARD.encode(value))),
            "--oauth2-bearer" => self.set("Authorization", format!("Bearer {value}")),
            "--cookie" if !value.contains('=') => {
                return Err(Malformed::new("-b names a cookie file", "write the cookies: -b 'name=value'"));
            }
            "--cookie" => self.set("Cookie", value),
            "--user-agent" => self.set("User-Agent", value),
            "--referer" => self.set("Referer", value),
            "--data" | "--data-raw" | "--data-ascii" | "--data-binary" | "--data-urlencode" => {
                self.data.push(value);
                self.has_body = true;
                self.content_type.get_or_insert("application/x-www-form-urlencoded");
            }
            "--json" => {
                self.data.push(value);
                self.has_body = true;
                self.content_type = Some("application/json");
                self.set("Accept", "application/json");
            }
            "--form" | "--form-string" => {
                self.has_body = true;
                self.content_type = Some("multipart/form-data");
            }
            "--upload-file" => {
                self.has_body = true;
                self.method.get_or_insert_with(|| "PUT".to_owned());
            }
            "--get" => self.is_get = true,
            "--head" => self.is_head = true,
            "--http2" | "--http2-prior-knowledge" | "--http3" => self.http2 = true,
            "--compressed" => self.set("Accept-Encoding", "deflate, gzip"),
            _ => {}
        }
        Ok(())
    }

    fn header(&mut self, text: &str) -> Result<(), Malformed> {
        if text.starts_with('@') {
            return Err(Malformed::new("-H names a file of headers", "write the headers: -H 'name: value'"));
        }
        match text.split_once(':') {
            // `Name:` removes a header that curl adds by itself.
            Some((name, value)) if value.trim_ascii().is_empty() => self.headers.push((name.to_owned(), None)),
            _ => {
                let (name, value) = parse_header(text)?;
                self.headers.push((name, Some(value)));
            }
        }
        Ok(())
    }

    fn into_sent(self) -> Result<Sent, Malformed> {
        let url = self.url.ok_or_else(|| Malformed::new("there is no URL", "add one, as in curl https://host/path"))?;
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

/// Browsers also copy for the command line of Windows: a caret comes before each quote that starts or ends an
/// argument.
fn is_for_windows(command: &str) -> bool {
    command.split_ascii_whitespace().take_while(|word| !word.contains('\'')).any(|word| word.starts_with("^\""))
}

/// The command after that command line has read it: a caret escapes the character after it.
fn without_carets(command: &str) -> String {
    let mut chars = command.chars();
    std::iter::from_fn(|| match chars.next()? {
        '^' => chars.next(),
        c => Some(c),
    })
    .collect()
}

/// Splits a command as a shell does: white space, backslashes, both quotes, and `$'…'`, which browsers use.
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
            // After a backslash, or the caret of Windows, the line continues.
            '\\' | '^' if matches!(chars.peek(), Some('\n' | '\r')) => {
                while chars.next_if(|c| matches!(c, '\n' | '\r')).is_some() {}
            }
            '\\' => word.get_or_insert_default().push(chars.next().ok_or_else(unclosed)?),
            c if c.is_ascii_whitespace() => words.extend(word.take()),
            c @ ('|' | ';' | '&' | '<' | '>' | '`') => {
                return Err(Malformed::new(
                    format!("{c:?} is outside quotes: this is more than one command"),
                    "give only the curl command",
                ));
            }
            c => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    Ok(words)
}

/// After a backslash in `$'…'`.
fn ansi_escape(chars: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Result<char, Malformed> {
    let bad = || Malformed::new("an escape in $'…' is not supported", "write the character itself");
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
            // Browsers write characters above U+FFFF as two surrogates.
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
