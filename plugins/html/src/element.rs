//! What an element's name says about how its text is laid out.

use crate::flow::Flow;

/// What an element does to the text around and in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// Text flows through it.
    Inline,
    /// It stands on lines of its own.
    Block,
    /// It is set apart by empty lines.
    Paragraph,
    /// A list.
    List,
    /// A cell of a table's row.
    Cell,
    /// Its white space counts.
    Preformatted,
    /// It breaks the line and has no content.
    Break,
    /// Its content is never shown.
    Hidden,
}

impl Layout {
    /// The layout of the element called `name`, in lower case. Unknown elements are inline.
    pub fn of(name: &[u8]) -> Self {
        match name {
            b"div" | b"li" | b"tr" | b"section" | b"article" | b"main" | b"header" | b"footer" | b"nav" | b"aside"
            | b"address" | b"caption" | b"center" | b"dd" | b"dt" | b"dir" | b"fieldset" | b"figcaption" | b"form"
            | b"hgroup" | b"html" | b"body" | b"legend" | b"menu" | b"optgroup" | b"option" | b"search" | b"select"
            | b"summary" | b"tbody" | b"tfoot" | b"thead" => Self::Block,
            b"p" | b"h1" | b"h2" | b"h3" | b"h4" | b"h5" | b"h6" | b"blockquote" | b"details" | b"dialog"
            | b"figure" | b"hr" | b"table" => Self::Paragraph,
            b"ul" | b"ol" | b"dl" => Self::List,
            b"td" | b"th" => Self::Cell,
            b"pre" | b"listing" | b"plaintext" | b"xmp" => Self::Preformatted,
            b"br" => Self::Break,
            b"script" | b"style" | b"template" | b"noscript" | b"title" | b"textarea" | b"iframe" | b"noembed"
            | b"noframes" | b"svg" | b"audio" | b"video" | b"canvas" | b"datalist" | b"annotation"
            | b"annotation-xml" => Self::Hidden,
            _ => Self::Inline,
        }
    }

    /// An element of this layout begins.
    pub fn open(self, flow: &mut Flow) {
        match self {
            Self::Inline | Self::Hidden => {}
            Self::Block => flow.line(),
            Self::Paragraph => flow.empty_line(),
            Self::List => flow.open_list(),
            Self::Cell => flow.cell(),
            Self::Preformatted => flow.open_preformatted(),
            Self::Break => flow.line_break(),
        }
    }

    /// An element of this layout ends.
    pub fn close(self, flow: &mut Flow) {
        match self {
            Self::Inline | Self::Hidden | Self::Cell | Self::Break => {}
            Self::Block => flow.line(),
            Self::Paragraph => flow.empty_line(),
            Self::List => flow.close_list(),
            Self::Preformatted => flow.close_preformatted(),
        }
    }
}
