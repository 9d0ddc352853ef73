//! What environment variables became in a configuration. Messages show `${NAME}` instead: a value may be a secret.

use std::borrow::Cow;
use std::net::IpAddr;

use policy::text::{Escaped, visible};

/// Shorter values are hidden only as a whole quoted text: they occur in too many other words.
const SHORT: usize = 4;

/// A string of the configuration in which variables were replaced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replaced {
    /// The JSON path of the string.
    pub path: String,
    /// As it is written, with `${NAME}`.
    pub written: String,
    /// What it became.
    pub value: String,
    /// The variables, and their values.
    pub variables: Vec<(String, String)>,
}

/// Hides the values of variables in messages.
#[derive(Debug, Clone, Default)]
pub struct Hidden {
    replaced: Vec<Replaced>,
    /// Each way in which a message may show a value, in lower case, and what it shows instead. The longest first.
    forms: Vec<(String, String)>,
}

impl Hidden {
    pub fn new(replaced: Vec<Replaced>) -> Self {
        let mut forms = Vec::new();
        for Replaced { written, value, variables, .. } in &replaced {
            let names = variables.iter().map(|(name, value)| (value.as_str(), format!("${{{name}}}")));
            for (value, shown) in names.chain([(value.as_str(), written.clone())]) {
                forms.extend(forms_of(value).map(|form| (form, shown.clone())));
            }
        }
        forms.sort_by(|(one, _), (other, _)| (other.len(), one).cmp(&(one.len(), other)));
        forms.dedup_by(|(one, _), (other, _)| one == other);
        Self { replaced, forms }
    }

    /// The variables whose values are in a JSON text.
    pub fn variables_in(&self, json: &str) -> Vec<&str> {
        let all = self.replaced.iter().flat_map(|replaced| &replaced.variables);
        let is_inside = |value: &str| {
            let quoted = serde_json::Value::from(value).to_string();
            let inner = quoted.strip_prefix('"').and_then(|text| text.strip_suffix('"'));
            inner.is_some_and(|inner| json.contains(inner))
        };
        let mut names: Vec<_> = all.filter(|(_, value)| is_inside(value)).map(|(name, _)| name.as_str()).collect();
        names.sort_unstable();
        names.dedup();
        names
    }

    /// A message without the values.
    pub fn text<'t>(&self, text: &'t str) -> Cow<'t, str> {
        if !self.forms.iter().any(|(form, _)| is_inside(text, form)) {
            return Cow::Borrowed(text);
        }
        let lower = text.to_ascii_lowercase();
        let mut shown = String::new();
        let (mut rest, mut low) = (text, lower.as_str());
        while let Some(c) = rest.chars().next() {
            // A name that is already there stays.
            let kept = reference(rest).map(|(_, behind)| rest.len().saturating_sub(behind.len()));
            let found = self.forms.iter().find(|(form, _)| {
                let whole = || shown.ends_with('"') && low.get(form.len()..).is_some_and(|rest| rest.starts_with('"'));
                low.starts_with(form.as_str()) && (form.len() >= SHORT || whole())
            });
            let length = match (kept, found) {
                (Some(length), _) => {
                    shown.push_str(rest.get(..length).unwrap_or_default());
                    length
                }
                (None, Some((form, name))) => {
                    shown.push_str(name);
                    form.len()
                }
                (None, None) => {
                    shown.push(c);
                    c.len_utf8()
                }
            };
            rest = rest.get(length..).unwrap_or_default();
            low = low.get(length..).unwrap_or_default();
        }
        Cow::Owned(shown)
    }

    /// The parts of a text that show a value, as ranges of bytes.
    pub fn parts(&self, text: &str) -> Vec<std::ops::Range<usize>> {
        let lower = text.to_ascii_lowercase();
        let long = self.forms.iter().filter(|(form, _)| form.len() >= SHORT);
        let at = long.flat_map(|(form, _)| lower.match_indices(form.as_str()));
        let mut parts: Vec<_> = at.map(|(start, form)| start..start.saturating_add(form.len())).collect();
        // The parts of names, `${NAME}`, are not values.
        let is_name = |start: usize| {
            let before = text.get(..start).and_then(|before| before.rfind("${"));
            before
                .and_then(|at| text.get(at..))
                .and_then(reference)
                .is_some_and(|(_, behind)| text.len().saturating_sub(behind.len()) > start)
        };
        parts.retain(|part| !is_name(part.start));
        parts
    }

    /// A problem and its remedy at a JSON path. Where a variable was replaced in that very string, parts of the value
    /// are hidden as well.
    pub fn problem(&self, path: &str, problem: &str, remedy: &str) -> (String, String) {
        let (mut problem, mut remedy) = (Cow::Borrowed(problem), Cow::Borrowed(remedy));
        if let Some(here) = self.replaced.iter().find(|replaced| replaced.path == path) {
            problem = here.requoted(&problem).into();
            if here.requoted(&remedy) != remedy {
                let names: Vec<_> = here.variables.iter().map(|(name, _)| name.as_str()).collect();
                remedy = format!("correct the value of {}", names.join(" and ")).into();
            }
        }
        // An example in a remedy may be the same address by chance.
        let is_example = self.forms.iter().all(|(form, _)| form.parse::<IpAddr>().is_ok() || !is_inside(&remedy, form));
        let remedy = if is_example { remedy } else { self.text(&remedy).into_owned().into() };
        (self.text(&problem).into_owned(), remedy.into_owned())
    }
}

impl Replaced {
    /// A message in which every quoted text that has a part of the value is the string as it is written.
    fn requoted(&self, text: &str) -> String {
        let value = visible(&self.value).to_ascii_lowercase();
        let is_part = |quoted: &str| {
            let quoted = quoted.to_ascii_lowercase();
            let mut windows = quoted.as_bytes().windows(SHORT);
            !quoted.is_empty()
                && (value.contains(&quoted)
                    || windows.any(|part| value.as_bytes().windows(SHORT).any(|other| part == other)))
        };
        let mut shown = String::new();
        let mut rest = text;
        while let Some((before, behind)) = rest.split_once('"') {
            let end = end_of_quoted(behind);
            let (inner, after) = behind.split_at_checked(end).unwrap_or((behind, ""));
            let inner = if is_part(inner) { self.written.as_str() } else { inner };
            shown.extend([before, "\"", inner]);
            rest = match after.strip_prefix('"') {
                Some(after) => {
                    shown.push('"');
                    after
                }
                None => after,
            };
        }
        shown + rest
    }
}

/// `${NAME}` at the start of a text: the name, and the rest of the text.
pub(super) fn reference(text: &str) -> Option<(&str, &str)> {
    let (name, behind) = text.strip_prefix("${")?.split_once('}')?;
    let is_name = name.starts_with(|c: char| c.is_ascii_uppercase() || c == '_')
        && name.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_');
    is_name.then_some((name, behind))
}

/// Whether a text has a value in this form.
fn is_inside(text: &str, form: &str) -> bool {
    let text = text.to_ascii_lowercase();
    if form.len() < SHORT { text.contains(&format!("\"{form}\"")) } else { text.contains(form) }
}

/// Where a text that `{:?}` quoted ends.
fn end_of_quoted(text: &str) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return at,
            _ => {}
        }
    }
    text.len()
}

/// The ways in which a message may show a value.
fn forms_of(value: &str) -> impl Iterator<Item = String> + use<> {
    let unquoted = |text: &str| {
        let quoted = format!("{text:?}");
        quoted.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or_default().to_owned()
    };
    let escaped = |bytes: &[u8]| Escaped { bytes, limit: usize::MAX }.to_string();
    // As Node reads UTF-8, and as a header carries Latin-1.
    let misread: String = value.bytes().map(char::from).collect();
    let latin1: Option<Vec<u8>> = value.chars().map(|c| u8::try_from(u32::from(c)).ok()).collect();
    let spaced = |bytes: &[u8]| escaped(bytes).replace("\\x20", " ");
    let mut forms = vec![
        value.to_owned(),
        value.trim().to_owned(),
        unquoted(value),
        unquoted(value.trim()),
        visible(value).into_owned(),
        misread.clone(),
        unquoted(&misread),
        visible(&misread).into_owned(),
        escaped(value.as_bytes()),
        spaced(value.as_bytes()),
        value.as_bytes().escape_ascii().to_string(),
    ];
    forms.extend(latin1.into_iter().flat_map(|bytes| {
        let lossy = String::from_utf8_lossy(&bytes).into_owned();
        let shown = visible(&lossy).into_owned();
        [escaped(&bytes), spaced(&bytes), shown, lossy]
    }));
    forms.retain(|form| !form.is_empty());
    forms.into_iter().map(|form| form.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hidden(path: &str, written: &str, variables: &[(&str, &str)]) -> Hidden {
        let mut value = written.to_owned();
        for (name, with) in variables {
            value = value.replace(&format!("${{{name}}}"), with);
        }
        let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Hidden::new(vec![Replaced { path: path.to_owned(), written: written.to_owned(), value, variables }])
    }

    #[test]
    fn no_message_shows_a_value_in_any_form() {
        for (value, text, shown) in [
            ("ghp_S3cr3t/abc", "\"ghp_S3cr3t/abc\" is a name", "\"${A}\" is a name"),
            ("ghp_S3cr3t", "send ghp_s3cr3t, or GHP_S3CR3T", "send ${A}, or ${A}"),
            (" pad ded ", "\"pad ded\" is odd", "\"${A}\" is odd"),
            ("a\"b\\c", "\"a\\\"b\\\\c\" is odd", "\"${A}\" is odd"),
            ("tok\u{1b}en", "\"tok\\u{1b}en\" is odd", "\"${A}\" is odd"),
            ("jörg", "\"j\\xf6rg\", \"jÃ¶rg\" and \"jörg\"", "\"${A}\", \"${A}\" and \"${A}\""),
            ("7", "\"7\" is not 17 or 7", "\"${A}\" is not 17 or 7"),
            ("TOKEN", "${DEPLOY_TOKEN} is not ${A}, token", "${DEPLOY_TOKEN} is not ${A}, ${A}"),
            ("s3cret", "nothing", "nothing"),
        ] {
            assert_eq!(hidden("a", "${A}", &[("A", value)]).text(text), shown, "{value:?}");
        }
        let two = hidden("a", "x-${A}-${B}", &[("A", "hunter"), ("B", "hunter2")]);
        assert_eq!(two.text("x-hunter-hunter2; hunter2; hunter"), "x-${A}-${B}; ${B}; ${A}");
    }

    #[test]
    fn at_its_own_place_no_part_of_a_value_is_shown() {
        let proxy = hidden("list[0]", "10.${A}/8", &[("A", "11.12.13")]);
        let (problem, remedy) = ("\"10.11.12.13/8\" has host bits set", "write \"10.11.0.0/16\", or \"10.11.12.13\"");
        assert_eq!(
            proxy.problem("list[0]", problem, remedy),
            ("\"10.${A}/8\" has host bits set".to_owned(), "correct the value of A".to_owned())
        );
        let (_, elsewhere) = proxy.problem("list[1]", "\"10.0.0.1/8\" has host bits set", "write \"10.0.0.0/8\"");
        assert_eq!(elsewhere, "write \"10.0.0.0/8\"");
        let kept = proxy.problem("list[0]", "is blank", "remove it");
        assert_eq!(kept, ("is blank".to_owned(), "remove it".to_owned()));
    }
}
