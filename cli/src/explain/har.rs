//! A request from a HAR file, as the developer tools of browsers save it.
//!
//! The file is read in one pass, and of all entries only the wanted one is kept: recordings have the bodies of all
//! responses, and a tree of them would be many times as large as the file.

use std::fmt;
use std::io::{self, Read};

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::sent::{Malformed, Sent};

/// How many entries a message lists.
const SHOWN: usize = 10;
/// The most headers of an entry that are kept. Envoy takes at most 100 of a request, unless it is told otherwise.
const MOST_HEADERS: usize = 10_000;
/// The most characters of a URL that a message shows.
const LONGEST: usize = 200;

/// Reads one entry: by its number (starting at 1), by part of its URL, or the only one in the file.
///
/// # Errors
/// The outer error is that of the reader.
pub fn read(file: impl Read, wanted: Option<&str>) -> io::Result<Result<Sent, Malformed>> {
    let mut found = Found { wanted: wanted.map(|text| (text, text.parse().ok())), ..Found::default() };
    let mut reader = serde_json::Deserializer::from_reader(without_mark(file)?);
    let read = Level(&mut found, &["log", "entries"]).deserialize(&mut reader).and_then(|()| reader.end());
    match read {
        Err(error) if error.is_io() => Err(error.into()),
        Err(error) => Ok(Err(Malformed::new(format!("is not JSON: {error}"), "save it again in the developer tools"))),
        Ok(()) => Ok(found.answer()),
    }
}

/// A file without a byte order mark.
fn without_mark(mut file: impl Read) -> io::Result<impl Read> {
    let mut start = Vec::new();
    file.by_ref().take(3).read_to_end(&mut start)?;
    if start == "\u{FEFF}".as_bytes() {
        start.clear();
    }
    Ok(io::BufReader::new(io::Cursor::new(start).chain(file)))
}

/// What was found so far.
#[derive(Default)]
struct Found<'w> {
    /// Part of a URL, or the number of an entry.
    wanted: Option<(&'w str, Option<usize>)>,
    /// Whether there are entries at all.
    is_har: bool,
    all: Names,
    fitting: Names,
    /// The first entry that fits.
    entry: Option<Entry>,
}

/// The first few names, and how many there are.
#[derive(Default)]
struct Names {
    count: usize,
    first: Vec<String>,
}

impl Names {
    fn add(&mut self, url: &str) {
        self.count = self.count.saturating_add(1);
        if self.first.len() < SHOWN {
            self.first.push(without_query(url));
        }
    }
}

impl fmt::Display for Names {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.first.join(", "))?;
        match self.count.saturating_sub(self.first.len()) {
            0 => Ok(()),
            more => write!(f, ", and {more} more"),
        }
    }
}

impl Found<'_> {
    fn add(&mut self, entry: Entry) {
        let url = entry.request.url.as_str().unwrap_or_default();
        self.all.add(url);
        let fits = match self.wanted {
            None => true,
            Some((_, Some(number))) => number == self.all.count,
            Some((part, None)) => url.contains(part),
        };
        if fits {
            self.fitting.add(url);
            self.entry.get_or_insert(entry);
        }
    }

    fn answer(self) -> Result<Sent, Malformed> {
        let Self { wanted, is_har, all, fitting, entry } = self;
        if !is_har {
            return Err(Malformed::new(
                "has no log.entries",
                "give a HAR file: in the developer tools, save the network log",
            ));
        }
        if all.count == 0 {
            return Err(Malformed::new("has no requests", "record one, and save the file again"));
        }
        if fitting.count > 1 {
            return Err(Malformed::new(
                format!("has {} entries to choose from: {fitting}", fitting.count),
                "use --entry to choose one: its number, starting at 1, or part of its URL",
            ));
        }
        entry.map_or_else(
            || {
                let wanted = wanted.map_or("", |(text, _)| text);
                let problem = format!("has no entry {wanted}");
                let remedy = format!("use --entry to choose one of these {} by number or URL: {all}", all.count);
                Err(Malformed::new(problem, remedy))
            },
            Entry::into_sent,
        )
    }
}

/// Queries may contain secrets.
fn without_query(url: &str) -> String {
    url.split(['?', '#']).next().unwrap_or_default().chars().take(LONGEST).collect()
}

/// An entry, of which most is left out. A value of another type than expected is as good as none.
#[derive(Default)]
struct Entry {
    request: Request,
    resource_type: Text,
}

#[derive(Default)]
struct Request {
    method: Text,
    url: Text,
    version: Text,
    headers: Headers,
}

#[derive(Default)]
struct Headers {
    is_list: bool,
    count: usize,
    kept: Vec<Header>,
}

#[derive(Default)]
struct Header {
    name: Text,
    value: Text,
}

#[derive(Default)]
struct Text(Option<String>);

impl Text {
    fn as_str(&self) -> Option<&str> {
        self.0.as_deref()
    }
}

impl Entry {
    fn into_sent(self) -> Result<Sent, Malformed> {
        let Request { method, url, version, headers } = &self.request;
        let missing =
            |what: &str| Malformed::new(format!("has an entry without {what}"), "save it again in the developer tools");
        let version = version.as_str().unwrap_or_default().to_ascii_lowercase();
        let mut sent = Sent {
            method: method.as_str().ok_or_else(|| missing("request.method"))?.to_owned(),
            http2: ["h2", "h3", "http/2", "http/3"].iter().any(|name| version.contains(name)),
            ..Sent::default()
        };
        if !headers.is_list {
            return Err(missing("request.headers"));
        }
        if headers.count > MOST_HEADERS {
            let problem = format!("has an entry with {} headers", headers.count);
            return Err(Malformed::new(problem, "give one that a browser sent"));
        }
        for Header { name, value } in &headers.kept {
            let (Some(name), Some(value)) = (name.as_str(), value.as_str()) else {
                return Err(missing("a header's name or value"));
            };
            match name {
                ":authority" => sent.headers.insert(0, ("host".to_owned(), value.as_bytes().to_vec())),
                // Method and URL already say this.
                pseudo if pseudo.starts_with(':') => {}
                name => sent.headers.push((name.to_owned(), value.as_bytes().to_vec())),
            }
        }
        let url = url.as_str().ok_or_else(|| missing("request.url"))?;
        sent.set_url(url)?;
        let is_socket = self.resource_type.as_str() == Some("websocket");
        if is_socket || url.starts_with("ws:") || url.starts_with("wss:") {
            sent.make_websocket();
        }
        Ok(sent)
    }
}

/// What takes the parts of a value that it knows.
trait Parts<'de>: Sized {
    fn member<A: MapAccess<'de>>(&mut self, _: &str, map: &mut A) -> Result<(), A::Error> {
        map.next_value::<IgnoredAny>().map(|_| ())
    }

    fn list<A: SeqAccess<'de>>(&mut self, mut list: A) -> Result<(), A::Error> {
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(())
    }

    fn text(&mut self, _: &str) {}
}

/// Reads a value into what takes its parts.
struct Into<M>(M);

impl<'de, M: Parts<'de>> DeserializeSeed<'de> for Into<M> {
    type Value = M;

    fn deserialize<D: Deserializer<'de>>(self, value: D) -> Result<M, D::Error> {
        value.deserialize_any(self)
    }
}

impl<'de, M: Parts<'de>> Visitor<'de> for Into<M> {
    type Value = M;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<M, A::Error> {
        while let Some(key) = map.next_key::<String>()? {
            self.0.member(&key, &mut map)?;
        }
        Ok(self.0)
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, list: A) -> Result<M, A::Error> {
        self.0.list(list)?;
        Ok(self.0)
    }

    fn visit_bool<E>(self, _: bool) -> Result<M, E> {
        Ok(self.0)
    }

    fn visit_i64<E>(self, _: i64) -> Result<M, E> {
        Ok(self.0)
    }

    fn visit_u64<E>(self, _: u64) -> Result<M, E> {
        Ok(self.0)
    }

    fn visit_f64<E>(self, _: f64) -> Result<M, E> {
        Ok(self.0)
    }

    fn visit_str<E>(mut self, text: &str) -> Result<M, E> {
        self.0.text(text);
        Ok(self.0)
    }

    fn visit_unit<E>(self) -> Result<M, E> {
        Ok(self.0)
    }
}

/// The way to the entries: the keys that lead there.
struct Level<'f, 'w>(&'f mut Found<'w>, &'static [&'static str]);

impl<'de> DeserializeSeed<'de> for Level<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, value: D) -> Result<(), D::Error> {
        Into(self).deserialize(value).map(|_| ())
    }
}

impl<'de> Parts<'de> for Level<'_, '_> {
    fn member<A: MapAccess<'de>>(&mut self, key: &str, map: &mut A) -> Result<(), A::Error> {
        match self.1 {
            [first, below @ ..] if key == *first => map.next_value_seed(Level(self.0, below)),
            _ => map.next_value::<IgnoredAny>().map(|_| ()),
        }
    }

    fn list<A: SeqAccess<'de>>(&mut self, mut list: A) -> Result<(), A::Error> {
        if !self.1.is_empty() {
            while list.next_element::<IgnoredAny>()?.is_some() {}
            return Ok(());
        }
        self.0.is_har = true;
        while let Some(entry) = list.next_element_seed(Into(Entry::default()))? {
            self.0.add(entry);
        }
        Ok(())
    }
}

impl<'de> Parts<'de> for Entry {
    fn member<A: MapAccess<'de>>(&mut self, key: &str, map: &mut A) -> Result<(), A::Error> {
        match key {
            "request" => self.request = map.next_value_seed(Into(Request::default()))?,
            "_resourceType" => self.resource_type = map.next_value_seed(Into(Text::default()))?,
            _ => drop(map.next_value::<IgnoredAny>()?),
        }
        Ok(())
    }
}

impl<'de> Parts<'de> for Request {
    fn member<A: MapAccess<'de>>(&mut self, key: &str, map: &mut A) -> Result<(), A::Error> {
        let field = match key {
            "method" => &mut self.method,
            "url" => &mut self.url,
            "httpVersion" => &mut self.version,
            "headers" => {
                self.headers = map.next_value_seed(Into(Headers::default()))?;
                return Ok(());
            }
            _ => return map.next_value::<IgnoredAny>().map(|_| ()),
        };
        *field = map.next_value_seed(Into(Text::default()))?;
        Ok(())
    }
}

impl<'de> Parts<'de> for Headers {
    fn list<A: SeqAccess<'de>>(&mut self, mut list: A) -> Result<(), A::Error> {
        self.is_list = true;
        while let Some(header) = list.next_element_seed(Into(Header::default()))? {
            self.count = self.count.saturating_add(1);
            if self.count <= MOST_HEADERS {
                self.kept.push(header);
            }
        }
        Ok(())
    }
}

impl<'de> Parts<'de> for Header {
    fn member<A: MapAccess<'de>>(&mut self, key: &str, map: &mut A) -> Result<(), A::Error> {
        let field = match key {
            "name" => &mut self.name,
            "value" => &mut self.value,
            _ => return map.next_value::<IgnoredAny>().map(|_| ()),
        };
        *field = map.next_value_seed(Into(Text::default()))?;
        Ok(())
    }
}

impl Parts<'_> for Text {
    fn text(&mut self, text: &str) {
        self.0 = Some(text.to_owned());
    }
}
