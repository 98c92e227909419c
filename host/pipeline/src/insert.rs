//! `${name}`: putting parameters into the values of a pipeline.

use std::{collections::HashSet, ops::Range};

use crate::{
    At, Mistake, SourceText,
    node::{Node, Shape},
    params::Params,
};

/// A piece of a string: plain text, or a reference to a parameter.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Piece<'a> {
    /// The text as it stands; of an escaped `$${`, the `${`.
    pub(crate) text: &'a str,
    /// The parameter's name, if it is a reference. Without its `}` when that is missing.
    pub(crate) param: Option<&'a str>,
    /// Whether a reference lacks its `}`.
    pub(crate) open: bool,
    /// The characters of a reference in the whole file, where they can be told.
    pub(crate) span: Option<Range<usize>>,
}

/// Cuts a node's string into pieces.
pub(crate) fn pieces_of<'a>(value: &'a str, node: &Node, files: &[SourceText]) -> Vec<Piece<'a>> {
    pieces(value, files.get(node.at.in_file()).map_or("", |file| &file.text), &node.span)
}

/// Cuts a string into pieces. `file` is the whole text, and `span` is where the string's literal stands in it.
fn pieces<'a>(value: &'a str, file: &str, span: &Range<usize>) -> Vec<Piece<'a>> {
    // Escapes shift places, but the n-th `${` of the value is the n-th of its literal as long as none was written by escapes.
    let literal = file.get(span.clone()).unwrap_or("");
    let starts: Vec<usize> = literal.match_indices("${").map(|(i, _)| span.start + i).collect();
    let told = starts.len() == value.matches("${").count();

    let mut pieces = Vec::new();
    let mut rest = value;
    let mut places = starts.into_iter();
    while let Some(start) = rest.find("${") {
        let place = places.next().filter(|_| told);
        let (before, reference) = rest.split_at(start);
        if let Some(before) = before.strip_suffix('$') {
            pieces.extend([Piece::plain(before), Piece::plain(&reference[..2])]);
            rest = &reference[2..];
            continue;
        }
        let end = reference.find(['}', '\n']).filter(|end| reference[*end..].starts_with('}'));
        let (text, name) = end.map_or((reference, &reference[2..]), |end| (&reference[..=end], &reference[2..end]));
        let length = if end.is_some() { text.len() } else { 2 };
        pieces.push(Piece::plain(before));
        pieces.push(Piece {
            text,
            param: Some(name),
            open: end.is_none(),
            span: place.map(|start| start..start + length),
        });
        rest = &reference[text.len()..];
    }
    pieces.push(Piece::plain(rest));
    pieces.retain(|piece| !piece.text.is_empty());
    pieces
}

impl<'a> Piece<'a> {
    fn plain(text: &'a str) -> Self {
        Self { text, param: None, open: false, span: None }
    }
}

/// Puts parameters in. Notes a parameter without a value once, however often it is used.
pub(crate) struct Inserter<'a> {
    params: &'a Params,
    files: &'a [SourceText],
    lacking: HashSet<String>,
    /// The parameters that were asked for.
    pub(crate) used: HashSet<String>,
}

impl<'a> Inserter<'a> {
    pub(crate) fn new(params: &'a Params, files: &'a [SourceText]) -> Self {
        Self { params, files, lacking: HashSet::new(), used: HashSet::new() }
    }

    /// Puts parameters into all strings of a value, however deep.
    pub(crate) fn insert(&mut self, node: &mut Node, found: &mut Vec<Mistake>) {
        match &mut node.shape {
            Shape::Text(text) if text.contains("${") => {
                let text = std::mem::take(text);
                let inserted = self.text(node, &text, found);
                *node = inserted;
            }
            Shape::List(items) => items.iter_mut().for_each(|item| self.insert(item, found)),
            Shape::Table(entries) => entries.iter_mut().for_each(|entry| self.insert(&mut entry.node, found)),
            _ => {}
        }
    }

    fn text(&mut self, node: &Node, text: &str, found: &mut Vec<Mistake>) -> Node {
        let pieces = pieces_of(text, node, self.files);
        let whole = pieces.len() == 1;
        let mut out = Some(String::new());
        for piece in &pieces {
            let literal = match piece.param {
                None => Some(piece.text.to_owned()),
                Some(name) => match self.value(node, name, piece, found) {
                    Some(value) if whole => return value.moved(&node.at, &node.span, name),
                    Some(value) => value.shape.literal().or_else(|| {
                        if !matches!(value.shape, Shape::Broken) {
                            let message = format!(
                                "parameter `{name}` is {} and can't be put inside a string",
                                value.shape.kind()
                            );
                            found.push(
                                Mistake { span: piece.span.clone(), ..Mistake::new(node.at.clone(), message) }
                                    .hint(format!("it can be the whole value: `\"${{{name}}}\"`")),
                            );
                        }
                        None
                    }),
                    None => None,
                },
            };
            out = out.zip(literal).map(|(out, literal)| out + &literal);
        }
        Node { shape: out.map_or(Shape::Broken, Shape::Text), ..node.clone() }
    }

    /// The value that a reference stands for.
    fn value(&mut self, node: &Node, name: &str, piece: &Piece<'_>, found: &mut Vec<Mistake>) -> Option<&'a Node> {
        let here = |mistake: Mistake| Mistake { span: piece.span.clone(), ..mistake };
        if piece.open {
            let mistake = Mistake::new(node.at.clone(), "`${` has no closing `}`");
            found.push(here(mistake).hint("a literal `${` is written `$${`"));
            return None;
        }
        let Some(param) = self.params.get(name) else {
            found.push(here(Mistake::unknown(node.at.clone(), "parameter", name, &self.params.names())));
            return None;
        };
        if param.secret {
            let message = format!("secret `{name}` can't be put into {}", place(&node.at));
            let mistake = Mistake::new(node.at.clone(), message);
            found.push(here(mistake).hint("what stands there is shown, stored and hashed; a secret must not be"));
            return None;
        }
        self.used.insert(name.to_owned());
        if param.value.is_none() && self.lacking.insert(name.to_owned()) {
            let mistake = Mistake::new(param.at.clone(), format!("parameter `{name}` has no value"));
            found.push(match (&param.env, &self.params.caller) {
                (_, Some(caller)) => {
                    mistake.hint(format!("stage `{caller}`, which uses this file, can say `with = {{ {name} = … }}`"))
                }
                (Some(variable), None) => {
                    mistake.hint(format!("set the environment variable `{variable}` or pass `-p {name}=…`"))
                }
                (None, None) => mistake.hint(format!("pass `-p {name}=…`")),
            });
        }
        param.value.as_ref()
    }
}

/// What messages call a place that a secret was put into.
fn place(at: &At) -> &'static str {
    let parts: Vec<&str> = at.parts().iter().map(String::as_str).collect();
    match parts[..] {
        ["stage", _, "with", ..] => "an operator's settings",
        ["stage", _, "read" | "write", ..] | [.., "volume", _, "url"] | [.., "plugin", _, "source"] => {
            "a URL or a path"
        }
        ["stage", ..] => "what a stage is identified by",
        _ => "this value",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_are_cut_at_references() {
        let cut = |value: &str| {
            let pieces = pieces(value, value, &(0..value.len()));
            pieces.iter().map(|p| (p.text.to_owned(), p.param.map(str::to_owned))).collect::<Vec<_>>()
        };
        let plain = |text: &str| (text.to_owned(), None);
        let reference = |text: &str, name: &str| (text.to_owned(), Some(name.to_owned()));
        assert_eq!(cut("plain $5 {x}"), [plain("plain $5 {x}")]);
        assert_eq!(cut("${a}"), [reference("${a}", "a")]);
        assert_eq!(cut("x${a}${b}y"), [plain("x"), reference("${a}", "a"), reference("${b}", "b"), plain("y")]);
        assert_eq!(cut("$${a}"), [plain("${"), plain("a}")]);
        assert_eq!(cut("a${open"), [plain("a"), reference("${open", "open")]);
        assert_eq!(cut(""), []);
    }

    #[test]
    fn references_are_found_in_literals_with_escapes() {
        let file = r#"read = "tab\t${a}/$${b}/${c}""#;
        let span = 7..file.len();
        let spans: Vec<_> = pieces("tab\t${a}/$${b}/${c}", file, &span).into_iter().filter_map(|p| p.span).collect();
        assert_eq!(spans.iter().map(|s| &file[s.clone()]).collect::<Vec<_>>(), ["${a}", "${c}"]);
        let escaped = r#"read = "\u0024{a}""#;
        assert_eq!(pieces("${a}", escaped, &(7..escaped.len()))[0].span, None);
    }
}
