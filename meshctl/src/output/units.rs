//! Numbers as people read them: few digits, with a unit.

/// A count as a fraction. Exact up to 2^53, which is 285 years of a million a second.
#[expect(clippy::cast_precision_loss, reason = "shown with three digits")]
pub(crate) const fn float(count: u64) -> f64 {
    count as f64
}

/// So many a second: `0`, `0.3`, `12`, `4.5k`, `1.2M`. Never `0` for what is more.
pub(crate) fn rate(number: f64) -> String {
    scaled(number, 1000.0, &["", "k", "M", "G", "T"])
}

/// Bytes: `0`, `512B`, `1.5KiB`, `20MiB`.
pub(crate) fn bytes(number: f64) -> String {
    if number <= 0.0 {
        return "0".to_owned();
    }
    scaled(number, 1024.0, &["B", "KiB", "MiB", "GiB", "TiB", "PiB"])
}

/// `0`, `<0.1`, `12.5`, `100`. Never `100` for what is less.
pub(crate) fn percent(number: f64) -> String {
    if number > 99.9 && number < 100.0 {
        return "99.9".to_owned();
    }
    digits(number)
}

/// By the largest unit that leaves at least 1.
fn scaled(number: f64, step: f64, units: &[&str]) -> String {
    let mut number = number;
    let mut units = units.iter().peekable();
    while let Some(unit) = units.next() {
        // What would be rounded up to the next unit belongs to it.
        if number < step - 0.5 || units.peek().is_none() {
            return format!("{}{unit}", digits(number));
        }
        number /= step;
    }
    digits(number)
}

/// One decimal below 10, none above.
fn digits(number: f64) -> String {
    if number <= 0.0 {
        "0".to_owned()
    } else if number < 0.05 {
        "<0.1".to_owned()
    } else if number < 9.95 || (number > 10.0 && number < 99.95 && number.fract() > 0.05) {
        let text = format!("{number:.1}");
        text.strip_suffix(".0").map_or(text.clone(), str::to_owned)
    } else {
        format!("{number:.0}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_have_few_digits() {
        for (number, text) in [
            (0.0, "0"),
            (0.01, "<0.1"),
            (0.25, "0.2"),
            (1.0, "1"),
            (9.96, "10"),
            (12.34, "12.3"),
            (123.4, "123"),
            (999.4, "999"),
            (999.6, "1k"),
            (4_520.0, "4.5k"),
            (1_250_000.0, "1.2M"),
        ] {
            assert_eq!(rate(number), text, "{number}");
        }
    }

    #[test]
    fn bytes_have_binary_units() {
        for (number, text) in [
            (0.0, "0"),
            (0.5, "0.5B"),
            (512.0, "512B"),
            (1023.6, "1KiB"),
            (1536.0, "1.5KiB"),
            (20_971_520.0, "20MiB"),
            (float(u64::MAX), "16384PiB"),
        ] {
            assert_eq!(bytes(number), text, "{number}");
        }
    }

    #[test]
    fn percentages_say_all_or_nothing_only_where_it_is_so() {
        for (number, text) in
            [(0.0, "0"), (0.001, "<0.1"), (12.5, "12.5"), (99.99, "99.9"), (100.0, "100")]
        {
            assert_eq!(percent(number), text, "{number}");
        }
    }
}
