//! What an unquoted scalar means in YAML 1.2's core schema, and the same as JSON: numbers keep their digits.

use super::node::Value;

/// What an unquoted scalar means in the core schema.
pub fn plain_value(text: &str) -> Result<Value, String> {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Ok(Value::Null),
        "true" | "True" | "TRUE" => return Ok(Value::Boolean(true)),
        "false" | "False" | "FALSE" => return Ok(Value::Boolean(false)),
        ".nan" | ".NaN" | ".NAN" => return Err("JSON has no NaN; quote it if it is text".to_owned()),
        _ => {}
    }
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    if matches!(unsigned, ".inf" | ".Inf" | ".INF") {
        return Err("JSON has no infinity; quote it if it is text".to_owned());
    }
    for (prefix, radix) in [("0x", 16), ("0o", 8)] {
        if let Some(digits) = text.strip_prefix(prefix)
            && !digits.is_empty()
            && digits.chars().all(|digit| digit.is_digit(radix))
        {
            let number = u128::from_str_radix(digits, radix);
            return number
                .map(|number| Value::Number(number.to_string()))
                .map_err(|_| format!("`{text}` is beyond 128 bits; write it in decimal"));
        }
    }
    let sign = if text.starts_with('-') { "-" } else { "" };
    Ok(match decimal(unsigned)? {
        Some(number) => Value::Number(format!("{sign}{number}")),
        None => Value::Text(text.to_owned()),
    })
}

/// The JSON form of an unsigned decimal number; `None` when the text is none. What JSON wants and YAML does not
/// (a digit on both sides of the point) is added, no digit is changed.
fn decimal(text: &str) -> Result<Option<String>, String> {
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let (mantissa, exponent) = match text.find(['e', 'E']) {
        Some(at) => (&text[..at], &text[at..]),
        None => (text, ""),
    };
    let (whole, fraction) = match mantissa.split_once('.') {
        Some((whole, fraction)) => (whole, Some(fraction)),
        None => (mantissa, None),
    };
    let exponent_digits = exponent.get(1..).map(|rest| rest.strip_prefix(['-', '+']).unwrap_or(rest));
    let is_number = digits(whole)
        && fraction.is_none_or(digits)
        && !(whole.is_empty() && fraction.unwrap_or("").is_empty())
        && exponent_digits.is_none_or(|rest| !rest.is_empty() && digits(rest));
    if !is_number {
        return Ok(None);
    }
    if whole.len() > 1 && whole.starts_with('0') {
        return Err(format!("`{text}` starts with a zero, which is octal to some and decimal to others; quote it"));
    }
    let whole = if whole.is_empty() { "0" } else { whole };
    let fraction = fraction.map(|fraction| format!(".{}", if fraction.is_empty() { "0" } else { fraction }));
    Ok(Some(format!("{whole}{}{exponent}", fraction.unwrap_or_default())))
}
