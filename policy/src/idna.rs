//! International host names in origins: which `xn--` labels are certainly valid.
//!
//! The URL standard rejects an origin whose `xn--` label decodes to something that IDNA forbids. Implementations
//! differ: the Gateway's Node 24 accepts every label, Node 20 did not. The tables of what is forbidden would be larger
//! than the rest of the filter.
//!
//! An origin that the operator lists passes as it is listed. An origin that passes by `*`, or because it equals the
//! host, must decode to letters of a few alphabets in which every letter is allowed and normalizes to itself.

/// Whether a label is plain ASCII, or an international one that is certainly valid.
pub(super) fn is_plain_or_safe(label: &str) -> bool {
    match label.get(..4) {
        Some(prefix) if prefix.eq_ignore_ascii_case("xn--") => label
            .get(4..)
            .and_then(decode)
            .is_some_and(|text| text.iter().any(|c| !c.is_ascii()) && text.iter().all(|&c| is_safe(c))),
        _ => true,
    }
}

/// Letters that IDNA allows, that normalization does not change, and that have no rules about adjacent letters.
fn is_safe(c: char) -> bool {
    matches!(c,
        'a'..='z' | '0'..='9' | '-'
        | 'ß'..='ö' | 'ø'..='ÿ' // Latin-1
        | 'α'..='ω' | 'ά'..='ί' | 'ϊ'..='ώ' // Greek
        | 'а'..='џ' // Cyrillic
        | 'ぁ'..='ゖ' | 'ァ'..='ヺ' | 'ー' // Kana
        | '一'..='\u{9FA5}' // Han
        | '가'..='힣' // Hangul
    ) || (matches!(c, 'ā'..='ž') && c.is_lowercase() && !matches!(c, 'ĳ' | 'ŀ' | 'ŉ'))
}

/// Decodes Punycode (RFC 3492) without its prefix.
fn decode(label: &str) -> Option<Vec<char>> {
    const BASE: u32 = 36;
    const T_MIN: u32 = 1;
    const T_MAX: u32 = 26;
    const SKEW: u32 = 38;
    const DAMP: u32 = 700;

    let label = label.to_ascii_lowercase();
    let (basic, extended) = match label.rsplit_once('-') {
        // A delimiter with nothing before it would be a digit, which it cannot be.
        Some(("", _)) => return None,
        Some(parts) => parts,
        None => ("", &*label),
    };
    let mut text: Vec<char> = basic.chars().collect();
    let (mut n, mut i, mut bias) = (128_u32, 0_u32, 72_u32);
    let mut digits = extended.bytes();
    while digits.len() > 0 {
        let start = i;
        let (mut weight, mut k) = (1_u32, BASE);
        loop {
            let digit = match digits.next()? {
                letter @ b'a'..=b'z' => u32::from(letter.checked_sub(b'a')?),
                number @ b'0'..=b'9' => u32::from(number.checked_sub(b'0')?).checked_add(26)?,
                _ => return None,
            };
            i = i.checked_add(digit.checked_mul(weight)?)?;
            let threshold = k.saturating_sub(bias).clamp(T_MIN, T_MAX);
            if digit < threshold {
                break;
            }
            weight = weight.checked_mul(BASE.checked_sub(threshold)?)?;
            k = k.checked_add(BASE)?;
        }
        let length = u32::try_from(text.len()).ok()?.checked_add(1)?;
        let delta = i.checked_sub(start)?;
        let mut delta = if start == 0 { delta.checked_div(DAMP)? } else { delta.checked_div(2)? };
        delta = delta.checked_add(delta.checked_div(length)?)?;
        let mut steps = 0_u32;
        while delta > 455 {
            delta = delta.checked_div(BASE.checked_sub(T_MIN)?)?;
            steps = steps.checked_add(BASE)?;
        }
        bias = steps.checked_add(BASE.checked_mul(delta)?.checked_div(delta.checked_add(SKEW)?)?)?;
        n = n.checked_add(i.checked_div(length)?)?;
        i = i.checked_rem(length)?;
        text.insert(usize::try_from(i).ok()?, char::from_u32(n)?);
        i = i.checked_add(1)?;
    }
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn punycode_decodes_to_what_it_encodes() {
        for (label, text) in [
            ("bcher-kva", "bücher"),
            ("mnchen-3ya", "münchen"),
            ("80ak6aa92e", "аррӏе"),
            ("fiq228c", "中文"),
            ("r8jz45g", "例え"),
            ("9t4b11yi5a", "테스트"),
            ("luouk-uva4it5a4g", "žluťoučký"),
            // At the edges of a digit's threshold and of the bias.
            ("zca0c", "ßö"),
            ("jha64iw27e", "žあδ"),
            ("zca3bbk016alway62v", "óアößαóг"),
        ] {
            let decoded = decode(label).map(|chars| chars.into_iter().collect::<String>());
            assert_eq!(decoded.as_deref(), Some(text), "{label}");
        }
    }

    #[test]
    fn only_labels_of_plain_letters_are_safe() {
        for (label, expected) in [
            ("example", true),
            ("", true),
            ("xn--bcher-kva", true),
            ("XN--BCHER-KVA", true),
            ("xn--", false),
            ("xn--abc-", false),
            ("xn--a", false),
            ("xn--0", false),
            ("xn--zzzzzzzzzzzz", false),
            ("xn---kva", false),
            ("xn--80ak6aa92e", false),
            ("xn--mgbh0fb", false),
            ("xn--bc-cla", true),    // ābc
            ("xn--d-uga0v4h", true), // łódź
            // With a letter that normalization takes apart: ĳs, aŀb, aŉ.
            ("xn--s-ika", false),
            ("xn--ab-rqa", false),
            ("xn--a-sla", false),
        ] {
            assert_eq!(is_plain_or_safe(label), expected, "{label}");
        }
    }
}
