//! A JSON document as a stream of its rows, without holding it.
//!
//! What decodes rows knows objects that follow each other. So the brackets and commas of a document's outer array are made white
//! space on the way, and nothing else is looked at than where values begin and end.

use std::io::{self, Read};

/// The rows of a document as objects one after the other. It is an array of objects, or objects already.
pub(crate) struct JsonDocument<R> {
    source: R,
    place: Place,
    /// How many brackets are open within a row.
    depth: usize,
    /// Within a row, whether a text is open, and whether its next byte is escaped.
    text: bool,
    escaped: bool,
    /// Rows that have begun.
    rows: u64,
    read: u64,
    failed: Option<io::Error>,
}

/// Where in a document the next byte stands, when it is in no row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// Before everything.
    Begin,
    /// Among objects that follow each other.
    Objects,
    /// After the array's `[`.
    First,
    /// After a row of the array.
    After,
    /// After a comma.
    Next,
    /// After the array's `]`.
    End,
}

impl<R: Read> JsonDocument<R> {
    pub(crate) fn new(source: R) -> Self {
        Self { source, place: Place::Begin, depth: 0, text: false, escaped: false, rows: 0, read: 0, failed: None }
    }

    /// Makes white space of what isn't a row. Gives the bytes before the first that can't stand where it does, and why.
    fn strip(&mut self, bytes: &mut [u8]) -> Option<(usize, String)> {
        let mut at = 0;
        while at < bytes.len() {
            if self.text {
                at += self.skip_text(&bytes[at..]);
                continue;
            }
            let byte = bytes[at];
            if self.depth > 0 {
                match byte {
                    b'"' => self.text = true,
                    b'{' | b'[' => self.depth += 1,
                    b'}' | b']' => {
                        self.depth -= 1;
                        if self.depth == 0 && self.place != Place::Objects {
                            self.place = Place::After;
                        }
                    }
                    _ => {}
                }
            } else if !byte.is_ascii_whitespace()
                && let Err(why) = self.between(&mut bytes[at])
            {
                return Some((at, why));
            }
            at += 1;
        }
        None
    }

    /// How many bytes of a text there are up to and with its end.
    fn skip_text(&mut self, bytes: &[u8]) -> usize {
        for (at, byte) in bytes.iter().enumerate() {
            match byte {
                _ if self.escaped => self.escaped = false,
                b'\\' => self.escaped = true,
                b'"' => {
                    self.text = false;
                    return at + 1;
                }
                _ => {}
            }
        }
        bytes.len()
    }

    /// Takes a byte that is in no row.
    fn between(&mut self, byte: &mut u8) -> Result<(), String> {
        match (*byte, self.place) {
            (b'{', Place::Begin | Place::Objects) => self.place = Place::Objects,
            (b'{', Place::First | Place::Next) => {}
            (b'[', Place::Begin) => {
                self.place = Place::First;
                *byte = b' ';
                return Ok(());
            }
            (b',', Place::After) => {
                self.place = Place::Next;
                *byte = b'\n';
                return Ok(());
            }
            (b']', Place::First | Place::After) => {
                self.place = Place::End;
                *byte = b'\n';
                return Ok(());
            }
            (_, Place::Begin) => {
                return Err("it begins with neither `{` nor `[`: it holds no rows".to_owned());
            }
            (_, Place::End) => return Err("something stands behind the array's `]`".to_owned()),
            (_, Place::After) => return Err(format!("after row {} comes neither `,` nor `]`", self.rows)),
            _ => return Err(format!("row {} is not an object", self.rows + 1)),
        }
        self.rows += 1;
        self.depth = 1;
        Ok(())
    }

    /// Why the document can't end here, if it can't.
    fn cut(&self) -> Option<String> {
        let within = match self.place {
            _ if self.depth > 0 => format!("row {}", self.rows),
            Place::First | Place::After | Place::Next => format!("its array, after row {}", self.rows),
            Place::Begin | Place::Objects | Place::End => return None,
        };
        Some(format!("it ends too early, within {within}"))
    }
}

impl<R: Read> Read for JsonDocument<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if let Some(error) = self.failed.take() {
            return Err(error);
        }
        let invalid = |why: String| io::Error::new(io::ErrorKind::InvalidData, why);
        let read = self.source.read(into)?;
        if read == 0 {
            return self.cut().map_or(Ok(0), |why| Err(invalid(why)));
        }
        // A byte order mark is three bytes, which may come one by one.
        for (byte, mark) in into[..read].iter_mut().zip(b"\xef\xbb\xbf".iter().skip(self.read as usize)) {
            if byte == mark && self.place == Place::Begin {
                *byte = b' ';
            }
        }
        self.read += read as u64;
        match self.strip(&mut into[..read]) {
            None => Ok(read),
            Some((0, why)) => Err(invalid(why)),
            Some((good, why)) => {
                self.failed = Some(invalid(why));
                Ok(good)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives one byte at a time.
    struct Slow<'a>(&'a [u8]);

    impl Read for Slow<'_> {
        fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
            let most = into.len().min(1);
            self.0.read(&mut into[..most])
        }
    }

    fn rows(document: &str) -> Result<Vec<String>, String> {
        let mut all = Vec::new();
        for slow in [false, true] {
            let mut text = String::new();
            let read = match slow {
                true => JsonDocument::new(Slow(document.as_bytes())).read_to_string(&mut text),
                false => JsonDocument::new(document.as_bytes()).read_to_string(&mut text),
            };
            all.push(read.map(|_| text).map_err(|e| e.to_string()));
        }
        let [fast, slow] = all.try_into().map_err(|_| "two".to_owned())?;
        assert_eq!(fast, slow);
        let fast = fast?;
        let values = serde_json::Deserializer::from_str(&fast).into_iter::<serde_json::Value>();
        Ok(values.map(|value| value.map_or_else(|e| e.to_string(), |v| v.to_string())).collect())
    }

    #[test]
    fn arrays_and_objects_are_rows() {
        let two = vec![r#"{"a":"],}\"[{\\"}"#.to_owned(), r#"{"b":[{"c":[]},2]}"#.to_owned()];
        for document in [
            r#"[{"a":"],}\"[{\\"},{"b":[{"c":[]},2]}]"#,
            "\u{feff} [ {\"a\":\"],}\\\"[{\\\\\"} ,\n\n {\"b\":[{\"c\":[]},2]}\n]\n",
            "{\"a\":\"],}\\\"[{\\\\\"}\n{\"b\":[{\"c\":[]},2]}",
            r#"{"a":"],}\"[{\\"}{"b":[{"c":[]},2]}"#,
        ] {
            assert_eq!(rows(document).as_ref(), Ok(&two), "{document}");
        }
        for document in ["", "[]", " [\n]\n"] {
            assert_eq!(rows(document), Ok(vec![]), "{document}");
        }
    }

    #[test]
    fn what_is_wrong_is_said_with_the_row() {
        for (document, why) in [
            ("[{},{}", "it ends too early, within its array, after row 2"),
            ("[{},{\"a\":", "it ends too early, within row 2"),
            ("{\"a\":\"}", "it ends too early, within row 1"),
            ("[{},]", "row 2 is not an object"),
            ("[{},7]", "row 2 is not an object"),
            ("[{} {}]", "after row 1 comes neither `,` nor `]`"),
            ("{},{}", "row 2 is not an object"),
            ("[{}] {}", "something stands behind the array's `]`"),
            ("7", "it begins with neither `{` nor `[`: it holds no rows"),
        ] {
            assert_eq!(rows(document), Err(why.to_owned()), "{document}");
        }
    }
}
