//! Paths as Envoy normalizes them (`normalize_path`, `merge_slashes`).

/// The path that Envoy makes of this one. `None` if it answers 400 instead: to a fragment, and to a NUL.
pub fn normalized(path: &str) -> Option<String> {
    if path.contains('#') {
        return None;
    }
    let (path, query) = path.find('?').and_then(|at| path.split_at_checked(at)).unwrap_or((path, ""));
    let path = without_parameters(path);
    if path.contains("%00") {
        return None;
    }
    Some(merge_slashes(&without_dots(&unescaped(&path))) + query)
}

/// `/..;x/` is `/../`, as some servers read it.
fn without_parameters(path: &str) -> String {
    let segments = path.split('/').map(|segment| match segment {
        _ if segment.starts_with("..;") => "..",
        _ if segment.starts_with(".;") => ".",
        segment => segment,
    });
    segments.collect::<Vec<_>>().join("/")
}

/// Letters, digits and `-._~` need no escape; `\` is `/`, and some characters need one.
fn unescaped(path: &str) -> String {
    let mut new = String::with_capacity(path.len());
    let mut rest = path;
    while let Some(c) = rest.chars().next() {
        let escape = rest.strip_prefix('%').and_then(|rest| rest.get(..2));
        let byte = escape.and_then(|digits| u8::from_str_radix(digits, 16).ok().filter(|_| !digits.starts_with('+')));
        let taken = match byte.map(char::from) {
            Some(inner) if inner.is_ascii_alphanumeric() || "-._~".contains(inner) => {
                new.push(inner);
                3
            }
            _ => {
                match c {
                    '\\' => new.push('/'),
                    '"' | '<' | '>' | '^' | '`' | '{' | '|' | '}' => new.push_str(&format!("%{:02X}", u32::from(c))),
                    c => new.push(c),
                }
                c.len_utf8()
            }
        };
        rest = rest.get(taken..).unwrap_or_default();
    }
    new
}

fn without_dots(path: &str) -> String {
    let mut kept: Vec<&str> = Vec::new();
    let mut segments = path.strip_prefix('/').unwrap_or(path).split('/').peekable();
    while let Some(segment) = segments.next() {
        match segment {
            "." => {}
            ".." => drop(kept.pop()),
            segment => {
                kept.push(segment);
                continue;
            }
        }
        if segments.peek().is_none() {
            kept.push("");
        }
    }
    format!("/{}", kept.join("/"))
}

fn merge_slashes(path: &str) -> String {
    if !path.contains("//") {
        return path.to_owned();
    }
    let segments: Vec<_> = path.split('/').filter(|segment| !segment.is_empty()).collect();
    let end = if path.ends_with('/') { "/" } else { "" };
    format!("/{}{end}", segments.join("/"))
}

#[cfg(test)]
mod tests {
    use super::normalized;

    /// What a real Envoy made of these paths.
    #[test]
    fn paths_are_normalized_as_envoy_does() {
        for (path, expected) in [
            ("/", "/"),
            ("/a%2Fb", "/a%2Fb"),
            ("/a\\b", "/a/b"),
            ("//a", "/a"),
            ("/a/../../b", "/b"),
            ("/a/..;x/b", "/b"),
            ("/a/.;x/b", "/a/b"),
            ("/a/%2e;/b", "/a/.;/b"),
            ("/a\\..;/b", "/a/..;/b"),
            ("/a/..;%00/b", "/b"),
            ("/a;x/../b", "/b"),
            ("/a/.", "/a/"),
            ("/a/b/..", "/a/"),
            ("/a/..?b", "/?b"),
            ("/a/%2e%2E/b", "/b"),
            ("/a/%2e%2e%2fb", "/a/..%2fb"),
            ("/a/%252e%252e/b", "/a/%252e%252e/b"),
            ("/%41%7e%2d%5F%20%zz%", "/A~-_%20%zz%"),
            ("/\"<>^`{|}", "/%22%3C%3E%5E%60%7B%7C%7D"),
            ("/a//../b", "/a/b"),
            ("//..//a", "/a"),
            ("/a///..//b", "/a/b"),
            ("//", "//"),
            ("///", "//"),
            ("/a///", "/a/"),
            ("/a?b//c/../\\%41", "/a?b//c/../\\%41"),
        ] {
            assert_eq!(normalized(path).as_deref(), Some(expected), "{path}");
        }
        for path in ["/%00", "/a/..%00", "/a#b", "/a?b#c"] {
            assert_eq!(normalized(path), None, "{path}");
        }
    }
}
