//! Values as parts of files' names.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;
use xxhash_rust::xxh3::xxh3_64;

/// What a path, a shell or another system would read as something else than a character of a name, beside control characters: what
/// Hive escapes.
const SPECIAL: &str = "\"#%'*/:<=>?[\\]^{|}";

/// Bytes that a value puts into a name at most; a name has 255.
const LONGEST: usize = 180;

/// The name of the folder of rows whose value is null.
const NULL: &str = "__HIVE_DEFAULT_PARTITION__";

/// A value as it is put into a name: percent-escaped where it can't stand as it is, a dot at its start too; one that is longer than
/// 180 bytes is cut, and ends with `~` and a hash of all of it.
pub fn name_part(value: &str) -> String {
    let escaped = escape(value);
    if escaped.len() <= LONGEST {
        return escaped;
    }
    let hash = format!("~{:016x}", xxh3_64(value.as_bytes()));
    let mut end = LONGEST - hash.len();
    // Neither within a character nor within its escape.
    while !escaped.is_char_boundary(end) || escaped.as_bytes()[end - 2..end].contains(&b'%') {
        end -= 1;
    }
    escaped[..end].to_owned() + &hash
}

/// The folder of rows with a value in a column: `lang=de`.
pub fn partition_folder(column: &str, value: Option<&str>) -> String {
    let value = match value {
        None => NULL.to_owned(),
        // A text that looks like it stays a text.
        Some(NULL) => format!("%{:02X}{}", NULL.as_bytes()[0], &NULL[1..]),
        Some(value) => escape(value),
    };
    format!("{}={value}", escape(column))
}

/// The column and the value that a folder's name says; the value is `None` for null.
pub fn partition_of(folder: &str) -> Option<(String, Option<String>)> {
    let (column, value) = folder.split_once('=').filter(|(column, _)| !column.is_empty())?;
    let plain = |text| percent_decode_str(text).decode_utf8().ok().map(Cow::into_owned);
    let value = if value == NULL { None } else { Some(plain(value)?) };
    Some((plain(column)?, value))
}

fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for (at, c) in text.char_indices() {
        if c.is_ascii_control() || SPECIAL.contains(c) || (at == 0 && c == '.') {
            escaped.push_str(&format!("%{:02X}", u32::from(c)));
        } else {
            escaped.push(c);
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_can_t_leave_their_part_of_a_name() {
        for (value, part) in [
            ("Größe 数", "Größe 数"),
            ("../../etc/passwd", "%2E.%2F..%2Fetc%2Fpasswd"),
            ("..", "%2E."),
            (".hidden", "%2Ehidden"),
            ("a\0b\nc\\d:100%", "a%00b%0Ac%5Cd%3A100%25"),
            ("", ""),
        ] {
            assert_eq!(name_part(value), part, "{value}");
        }
        // Long values stay apart, and are cut at characters.
        let (one, other) = ("ü/".repeat(500), "ü/".repeat(501));
        for value in [&one, &other] {
            let part = name_part(value);
            assert!(part.len() <= LONGEST && part.len() > LONGEST - 8, "{part}");
            assert!(part.contains("ü~") || part.contains("%2F~"), "{part}");
        }
        assert_ne!(name_part(&one), name_part(&other));
    }

    #[test]
    fn partitions_read_back() {
        for value in [None, Some("de"), Some(""), Some(".."), Some("a=b/c%2F"), Some(NULL), Some("数")] {
            let folder = partition_folder("a=b", value);
            assert!(!folder.contains('/') && !folder.starts_with('.'), "{folder}");
            assert_eq!(partition_of(&folder), Some(("a=b".to_owned(), value.map(str::to_owned))));
        }
        assert_eq!(partition_folder("lang", None), "lang=__HIVE_DEFAULT_PARTITION__");
        assert_eq!((partition_of("plain"), partition_of("=x"), partition_of("a=%ff")), (None, None, None));
    }
}
