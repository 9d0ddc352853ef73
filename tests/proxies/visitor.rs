//! Somebody who signs in without a browser: follows redirects, keeps cookies and fills in forms.

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;

use harness::openid::{ADDRESS, NAME};
use harness::wire::{self, Connection, Response, values};
use url::Url;
use url::form_urlencoded::Serializer;

use crate::place::{HOST, Place};

/// Somebody at the browser's host.
pub struct Visitor<'p> {
    place: &'p Place,
    /// Cookies by host, path and name.
    jar: BTreeMap<(String, String, String), String>,
    /// The addresses that it was redirected to.
    pub redirects: Vec<Url>,
}

impl<'p> Visitor<'p> {
    pub fn new(place: &'p Place) -> Self {
        Self { place, jar: BTreeMap::new(), redirects: Vec::new() }
    }

    /// Signs in from a path of the guarded host, through all pages and forms that this leads to, each once. Returns the
    /// last answer.
    pub fn sign_in(&mut self, path: &str, login: &str) -> Response {
        let (mut at, mut response) = self.request("GET", &guarded(path), "");
        let mut done = Vec::new();
        while let Some(form) = Form::first_of(&response).filter(|form| !done.contains(&form.action)) {
            let fields = form.filled_in(&[("login", login), ("password", "x")]);
            let to = at.join(&form.action).unwrap();
            (at, response) = self.request(&form.method, &to, &fields);
            done.push(form.action);
        }
        response
    }

    /// A GET of a path of the guarded host, with redirects.
    pub fn get(&mut self, path: &str) -> Response {
        self.request("GET", &guarded(path), "").1
    }

    /// Posts a form to a path of the guarded host.
    pub fn post(&mut self, path: &str, fields: &[(&str, &str)]) -> Response {
        self.request("POST", &guarded(path), &Serializer::new(String::new()).extend_pairs(fields).finish()).1
    }

    /// The value of the Cookie header that it sends to the guarded host.
    pub fn cookies(&self) -> String {
        self.cookies_for(&guarded("/"))
    }

    fn cookies_for(&self, url: &Url) -> String {
        let fits = |(host, path, _): &(String, String, String)| {
            url.host_str() == Some(host) && url.path().starts_with(path.as_str())
        };
        let cookies = self.jar.iter().filter(|(key, _)| fits(key));
        cookies.map(|((_, _, name), value)| format!("{name}={value}")).collect::<Vec<_>>().join("; ")
    }

    /// A request, and those that its answer redirects to. Returns the last address and its answer.
    fn request(&mut self, method: &str, url: &Url, fields: &str) -> (Url, Response) {
        let (mut method, mut url, mut fields) = (method.to_ascii_uppercase(), url.clone(), fields.to_owned());
        if method == "GET" && !fields.is_empty() {
            url.set_query(Some(&std::mem::take(&mut fields)));
        }
        for _ in 0..20 {
            let response = self.once(&method, &url, &fields);
            let Some(to) = response.header("location").filter(|_| (300..400).contains(&response.status)) else {
                return (url, response);
            };
            url = url.join(&to).unwrap();
            self.redirects.push(url.clone());
            (method, fields) = ("GET".to_owned(), String::new());
        }
        panic!("too many redirects: {:?}", self.redirects)
    }

    fn once(&mut self, method: &str, url: &Url, fields: &str) -> Response {
        let host = url.host_str().unwrap();
        let cookies = self.cookies_for(url);
        let length = fields.len().to_string();
        let mut headers = vec![("host", host), ("accept", "*/*"), ("connection", "close")];
        if !cookies.is_empty() {
            headers.push(("cookie", &cookies));
        }
        if method == "POST" {
            headers.push(("content-type", "application/x-www-form-urlencoded"));
            headers.push(("content-length", &length));
        }
        let path = &url[url::Position::BeforePath..url::Position::AfterQuery];
        let mut bytes = wire::request(method, path, &headers);
        bytes.extend_from_slice(fields.as_bytes());
        let response = match host {
            HOST => exchange(self.place.through_the_proxy(), method, &bytes),
            NAME => {
                let trusted = fs::read(self.place.provider().certificate()).unwrap();
                let address = SocketAddr::new(ADDRESS.parse().unwrap(), 443);
                let stream = self.place.on("browser", || wire::open_tls(address, NAME, &trusted, "http/1.1").unwrap());
                exchange(stream, method, &bytes)
            }
            other => panic!("a redirect to {other}: {:?}", self.redirects),
        };
        for cookie in values(&response.headers, "set-cookie") {
            let (pair, attributes) = cookie.split_once(';').unwrap_or((&cookie, ""));
            let (name, value) = pair.split_once('=').unwrap();
            let of = |name: &str| {
                let mut all = attributes.split(';').filter_map(|one| one.trim().split_once('='));
                all.find(|(other, _)| other.eq_ignore_ascii_case(name)).map(|(_, value)| value)
            };
            let key = (host.to_owned(), of("path").unwrap_or("/").to_owned(), name.trim().to_owned());
            let is_past = of("expires").is_some_and(|date| date.contains("Jan 1970"));
            let is_gone = value.is_empty() || is_past || of("max-age") == Some("0");
            if is_gone {
                self.jar.remove(&key);
            } else {
                self.jar.insert(key, value.to_owned());
            }
        }
        response
    }
}

fn guarded(path: &str) -> Url {
    Url::parse(&format!("https://{HOST}{path}")).unwrap()
}

fn exchange<S: std::io::Read + std::io::Write>(stream: S, method: &str, bytes: &[u8]) -> Response {
    let mut connection = Connection::new(stream);
    connection.send(bytes).unwrap();
    connection.response(method).unwrap()
}

/// A form of a page.
struct Form {
    action: String,
    method: String,
    /// Its fields with what they hold.
    fields: Vec<(String, String)>,
}

impl Form {
    /// The first form of a page.
    fn first_of(response: &Response) -> Option<Self> {
        let text = response.text();
        let (_, rest) = text.split_once("<form")?;
        let (form, _) = rest.split_once("</form>").unwrap_or((rest, ""));
        let mut tags = form.split('<');
        let own = tags.next()?;
        let inputs = tags.filter(|tag| tag.starts_with("input"));
        let fields =
            inputs.filter_map(|tag| Some((attribute(tag, "name")?, attribute(tag, "value").unwrap_or_default())));
        Some(Self {
            action: attribute(own, "action")?,
            method: attribute(own, "method").unwrap_or_else(|| "GET".to_owned()),
            fields: fields.collect(),
        })
    }

    fn filled_in(&self, known: &[(&str, &str)]) -> String {
        let mut fields = Serializer::new(String::new());
        for (name, value) in &self.fields {
            let given = known.iter().find(|(known, _)| known == name);
            fields.append_pair(name, given.map_or(value, |(_, value)| value));
        }
        fields.finish()
    }
}

fn attribute(tag: &str, name: &str) -> Option<String> {
    let (_, rest) = tag.split_once(&format!(" {name}=\""))?;
    let (value, _) = rest.split_once('"')?;
    Some(value.replace("&#43;", "+").replace("&#34;", "\"").replace("&amp;", "&"))
}
