//! How numbers, times and paths are written for people.

use std::path::Path;

/// `1,234,567`.
pub(crate) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `1 row`, `2,000 rows`.
pub(crate) fn plural(number: u64, what: &str) -> String {
    format!("{} {what}{}", count(number), if number == 1 { "" } else { "s" })
}

/// `` `a` ``, `` `a` and `b` ``, `` `a`, `b` and `c` ``.
pub(crate) fn names<T: std::fmt::Display>(names: &[T]) -> String {
    let names: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
    match names.as_slice() {
        [before @ .., last] if !before.is_empty() => format!("{} and {last}", before.join(", ")),
        _ => names.concat(),
    }
}

/// `0.4 ms`, `340 ms`, `1.2 s`, `2 min 5 s`, `3 h 7 min`.
pub(crate) fn seconds(seconds: f64) -> String {
    let whole = seconds.round() as u64;
    match seconds {
        s if s < 0.000_05 => "0 ms".to_owned(),
        s if s < 0.009_95 => format!("{:.1} ms", s * 1e3),
        s if s < 0.999_5 => format!("{:.0} ms", s * 1e3),
        s if s < 59.95 => format!("{s:.1} s"),
        s if s < 3599.5 => format!("{} min {} s", whole / 60, whole % 60),
        _ => format!("{} h {} min", whole / 3600, whole % 3600 / 60),
    }
}

/// How many a second: `12,345`, `3.4`. Nothing where there is no time to divide by.
pub(crate) fn rate(number: u64, seconds: f64) -> String {
    let rate = number as f64 / seconds;
    match rate {
        r if number == 0 || !r.is_finite() => String::new(),
        r if r < 9.95 => format!("{r:.1}"),
        r => count(r.round() as u64),
    }
}

/// A number, or nothing for none: in a table, what stands out should be what is there.
pub(crate) fn some(number: u64) -> String {
    if number == 0 { String::new() } else { count(number) }
}

/// A path as it is shortest to type from a folder.
pub(crate) fn from_folder(path: &str, folder: &Path) -> String {
    match Path::new(path).strip_prefix(folder) {
        Ok(inside) if inside.as_os_str().is_empty() => ".".to_owned(),
        Ok(inside) => inside.display().to_string(),
        Err(_) => path.to_owned(),
    }
}

/// A text in one line of at most `width` columns, what is beyond replaced by `…`.
pub(crate) fn fit(text: &str, width: usize) -> String {
    // What is longer than any terminal is cut before it is looked at character by character.
    let most = width.saturating_mul(8).max(64);
    let head = text.char_indices().nth(most).map_or(text, |(end, _)| &text[..end]);
    let mut line = String::with_capacity(head.len());
    for c in head.chars() {
        match c {
            '\n' => line.push('⏎'),
            '\t' => line.push(' '),
            c if c.is_control() => line.push('·'),
            c => line.push(c),
        }
    }
    if head.len() < text.len() {
        line.push('…');
    }
    console::truncate_str(&line, width, "…").into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_their_thousands() {
        for (number, text) in [(0, "0"), (999, "999"), (1000, "1,000"), (1_234_567, "1,234,567")] {
            assert_eq!(count(number), text);
        }
        assert_eq!((plural(1, "row"), plural(1200, "row")), ("1 row".to_owned(), "1,200 rows".to_owned()));
        assert_eq!((some(0), some(7)), (String::new(), "7".to_owned()));
    }

    #[test]
    fn times_have_two_or_three_digits() {
        for (time, text) in [
            (0.0, "0 ms"),
            (0.000_43, "0.4 ms"),
            (0.009_96, "10 ms"),
            (0.34, "340 ms"),
            (0.999_7, "1.0 s"),
            (1.23, "1.2 s"),
            (59.96, "1 min 0 s"),
            (125.0, "2 min 5 s"),
            (11_220.0, "3 h 7 min"),
        ] {
            assert_eq!(seconds(time), text, "{time}");
        }
    }

    #[test]
    fn rates_are_whole_where_they_are_large() {
        for (number, seconds, text) in [
            (0, 1.0, ""),
            (5, 0.0, ""),
            (34, 10.0, "3.4"),
            (99, 10.0, "9.9"),
            (100, 10.0, "10"),
            (24_690, 2.0, "12,345"),
        ] {
            assert_eq!(rate(number, seconds), text, "{number} in {seconds}");
        }
    }

    #[test]
    fn paths_are_seen_from_the_folder() {
        let folder = Path::new("/home/me");
        assert_eq!(from_folder("/home/me/out/a.jsonl", folder), "out/a.jsonl");
        assert_eq!(from_folder("/tmp/a.jsonl", folder), "/tmp/a.jsonl");
        assert_eq!(from_folder("/home/me", folder), ".");
    }

    #[test]
    fn texts_fit_into_a_line() {
        for (text, width, line) in [
            ("short", 10, "short"),
            ("a\nb\tc\u{7}", 10, "a⏎b c·"),
            ("much too long", 6, "much …"),
            ("日本語のテキスト", 7, "日本語…"),
        ] {
            assert_eq!(fit(text, width), line);
        }
        assert_eq!(fit(&"x".repeat(1 << 20), 5), "xxxx…");
    }
}
