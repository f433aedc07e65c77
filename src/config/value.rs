//! Numbers and truth values as Java reads them, because that is how existing configurations were tried out.

/// `Integer.parseInt` / `Long.parseLong`: an optional sign and decimal digits. Native keys are read so.
pub fn parse_long(text: &str) -> Option<i64> {
    // Rust accepts the same sign and digits; what Java accepts beyond (digits of other scripts) nobody writes.
    text.parse().ok()
}

/// `Integer.getInteger` / `Long.getLong` (decode): also `0x1f`, `#1f` and octal `017`. System properties are read so.
pub fn decode_long(text: &str) -> Option<i64> {
    let (negative, digits) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    let (radix, digits) = if let Some(hex) = digits.strip_prefix("0x").or(digits.strip_prefix("0X")) {
        (16, hex)
    } else if let Some(hex) = digits.strip_prefix('#') {
        (16, hex)
    } else if digits.len() > 1 && digits.starts_with('0') {
        (8, &digits[1..])
    } else {
        (10, digits)
    };
    if !digits.chars().all(|digit| digit.is_ascii_alphanumeric()) {
        return None;
    }
    let magnitude = i128::from_str_radix(digits, radix).ok()?;
    i64::try_from(if negative { -magnitude } else { magnitude }).ok()
}

/// A native boolean: `true` or `false` in any case, nothing else (CF-04).
pub fn strict_bool(text: &str) -> Option<bool> {
    if text.eq_ignore_ascii_case("true") {
        Some(true)
    } else if text.eq_ignore_ascii_case("false") {
        Some(false)
    } else {
        None
    }
}

/// A time with an optional suffix `ms`, `s`, `m`, `h` or `d`; a bare number is in units of `bare_unit_ms`.
/// ZK: Time.parseTimeInterval. `None` also where the result would not fit 63 bits.
pub fn interval_ms(text: &str, bare_unit_ms: i64) -> Option<i64> {
    let lower = text.to_ascii_lowercase();
    let (digits, unit_ms) = if let Some(digits) = lower.strip_suffix("ms") {
        (digits, 1)
    } else {
        let units = [('s', 1000), ('m', 60_000), ('h', 3_600_000), ('d', 86_400_000)];
        match units.iter().find_map(|(suffix, unit_ms)| lower.strip_suffix(*suffix).map(|digits| (digits, *unit_ms))) {
            Some(found) => found,
            None => (lower.as_str(), bare_unit_ms),
        }
    };
    parse_long(digits)?.checked_mul(unit_ms)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn native_numbers_are_decimal_only() {
        for (text, value) in [
            ("12", Some(12)),
            ("-1", Some(-1)),
            ("+7", Some(7)),
            ("007", Some(7)),
            ("0x10", None),
            ("1.5", None),
            ("", None),
            ("1 2", None),
        ] {
            assert_eq!(parse_long(text), value, "{text:?}");
        }
    }

    #[test]
    fn property_numbers_may_be_hexadecimal_or_octal() {
        for (text, value) in [
            ("12", Some(12)),
            ("0x400000", Some(0x40_0000)),
            ("-0X10", Some(-16)),
            ("#ff", Some(255)),
            ("010", Some(8)),
            ("0", Some(0)),
            ("09", None),
            ("", None),
            ("-", None),
            ("4m", None),
            ("--1", None),
            ("0x-1", None),
            ("-9223372036854775808", Some(i64::MIN)),
            ("9223372036854775808", None),
        ] {
            assert_eq!(decode_long(text), value, "{text:?}");
        }
    }

    #[test]
    fn intervals_know_their_suffixes() {
        for (text, value) in [
            ("24", Some(86_400_000)),
            ("90ms", Some(90)),
            ("90MS", Some(90)),
            ("5s", Some(5000)),
            ("2M", Some(120_000)),
            ("1h", Some(3_600_000)),
            ("1d", Some(86_400_000)),
            ("-1", Some(-3_600_000)),
            ("1w", None),
            ("h", None),
            ("", None),
            ("9223372036854775807d", None),
        ] {
            assert_eq!(interval_ms(text, 3_600_000), value, "{text:?}");
        }
    }
}
