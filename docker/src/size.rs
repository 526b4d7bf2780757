//! PURE. Sizes as people write them: `10m`, `1.5GiB`, `4096`.

/// Bytes of a size in powers of 1024, as docker's `units.RAMInBytes` has it.
pub(crate) fn bytes(text: &str) -> Option<u64> {
    in_powers_of(1024, text)
}

/// Bytes of a size in powers of 1000, as docker's `units.FromHumanSize` has it.
pub(crate) fn decimal_bytes(text: &str) -> Option<u64> {
    in_powers_of(1000, text)
}

fn in_powers_of(base: u64, text: &str) -> Option<u64> {
    let text = text.trim().to_ascii_lowercase();
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let unit = unit.trim_start();
    let exponent = match unit.strip_suffix("ib").or_else(|| unit.strip_suffix('b')).unwrap_or(unit) {
        "" => 0,
        "k" => 1,
        "m" => 2,
        "g" => 3,
        "t" => 4,
        "p" => 5,
        _ => return None,
    };
    let factor = base.pow(exponent);
    if let Ok(whole) = number.parse::<u64>() {
        return whole.checked_mul(factor);
    }
    let value: f64 = number.parse().ok()?;
    let product = value * factor as f64;
    (0.0..9.0e18).contains(&product).then_some(product as u64)
}

#[cfg(test)]
mod tests {
    use super::{bytes, decimal_bytes};

    #[test]
    fn units_are_powers_of_1024_in_any_case() {
        assert_eq!(bytes("4096"), Some(4096));
        assert_eq!(bytes("10m"), Some(10 << 20));
        assert_eq!(bytes("10MB"), Some(10 << 20));
        assert_eq!(bytes("1.5 GiB"), Some(3 << 29));
        assert_eq!(bytes("8k"), Some(8192));
        assert_eq!(decimal_bytes("10m"), Some(10_000_000));
        for wrong in ["", "m", "-1", "1x", "1.2.3m", "99999999999p"] {
            assert_eq!(bytes(wrong), None, "{wrong}");
        }
    }
}
