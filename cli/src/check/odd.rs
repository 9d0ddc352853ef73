//! Entries that were hardly meant literally: patterns, lists and placeholders.

/// Why no proxy sends this user, if so.
pub fn odd_user(user: &str) -> Option<&'static str> {
    const EVERYBODY: [&str; 5] = ["all", "any", "anyone", "everybody", "everyone"];
    let parts: Vec<_> = user.split([',', ';']).map(str::trim).collect();
    // A distinguished name has commas, and so has a name such as "Doe, Jane".
    let is_name = |part: &&str| part.contains('=') || part.starts_with(char::is_uppercase) && !part.contains('@');
    if user.is_empty() {
        Some("it is blank")
    } else if user.chars().any(|c| u32::from(c) > 0xFF) {
        Some("no header can carry this name")
    } else if user.chars().any(char::is_control) {
        Some("no header can carry a control character")
    } else if user.len() > 1 && ['"', '\''].iter().any(|quote| user.starts_with(*quote) && user.ends_with(*quote)) {
        Some("the quotes are part of it")
    } else if user.starts_with("mailto:") {
        Some("it is a link, and proxies send the address alone")
    } else if is_placeholder(user) {
        Some("it is a placeholder that was not replaced")
    } else if user.contains(['*', '^'])
        || user.contains('?') && !user.starts_with("=?")
        || user.starts_with(['@', '/'])
        || EVERYBODY.contains(&user)
    {
        Some("it is a pattern, and users are compared literally")
    } else if (parts.len() > 1 && !parts.iter().all(is_name))
        || user.starts_with('[')
        || (user.contains([' ', '\t', '|']) && user.matches('@').count() > 1)
    {
        Some("it is a list: write one entry for each user")
    } else {
        None
    }
}

fn is_placeholder(text: &str) -> bool {
    const WORDS: [&str; 8] =
        ["changeme", "replaceme", "placeholder", "todo", "fixme", "youremail", "yourname", "yourdomain"];
    const STARTS: [&str; 4] = ["your-", "your_", "replace_", "replace-"];
    let lower = text.to_ascii_lowercase();
    let bare = |text: &str| text.chars().filter(char::is_ascii_alphanumeric).collect::<String>();
    let is_word = |text: &str| WORDS.contains(&bare(text).as_str()) || is_all('x', text);
    let is_wrapped = |mark: char| text.len() > 2 && text.starts_with(mark) && text.ends_with(mark);
    // The name of a variable, such as CUSTOMER_EMAIL.
    let is_variable =
        text.contains('_') && text.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_');
    text.starts_with('$')
        || ["${", "$(", "{{", "<%"].iter().any(|mark| text.contains(mark))
        || text.starts_with("__")
        || (text.contains('<') && text.contains('>'))
        || is_wrapped('%')
        || is_wrapped('_')
        || is_variable
        || STARTS.iter().any(|start| lower.starts_with(start))
        || is_word(&lower)
        || lower.split('@').next().is_some_and(is_word)
}

/// Whether a text is this character alone, three times or more.
fn is_all(one: char, text: &str) -> bool {
    text.len() > 2 && text.chars().all(|c| c == one)
}

/// Whether no browser sends this origin.
pub fn is_no_origin(origin: &str) -> bool {
    let host = origin.split_once("://").map_or(origin, |(_, host)| host);
    ["ws://", "wss://", "ftp://", "file://"].iter().any(|scheme| origin.starts_with(scheme))
        || origin.contains(['*', ',', '$', '{', '<', '%'])
        || is_placeholder(host)
}
