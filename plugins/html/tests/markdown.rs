//! Markdown that was written is read again, and says what the page says.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use html::flow::{Flow, one_line};
use html::markdown::{self, Style};
use html::page;
use pulldown_cmark::{Event, HeadingLevel, Options, Parser, Tag, TagEnd};

/// Headings, as level and text, and links, as address and text, of a Markdown text.
#[derive(Debug, Default, PartialEq, Eq)]
struct Outline {
    headings: Vec<(u8, String)>,
    links: Vec<(String, String)>,
}

fn read(markdown: &str) -> Outline {
    let mut outline = Outline::default();
    let mut heading: Option<(HeadingLevel, String)> = None;
    let mut links: Vec<(String, String)> = Vec::new();
    for event in Parser::new_ext(markdown, Options::ENABLE_TABLES) {
        let text = match &event {
            Event::Start(Tag::Heading { level, .. }) => {
                heading = Some((*level, String::new()));
                continue;
            }
            Event::End(TagEnd::Heading(_)) => {
                let (level, text) = heading.take().expect("a heading that ends has begun");
                outline.headings.push((level as u8, one_line(&text)));
                continue;
            }
            Event::Start(Tag::Link { dest_url, .. }) => {
                links.push((dest_url.to_string(), String::new()));
                continue;
            }
            Event::End(TagEnd::Link) => {
                let (address, text) = links.pop().expect("a link that ends has begun");
                outline.links.push((address, one_line(&text)));
                continue;
            }
            Event::Text(text) | Event::Code(text) => text,
            Event::SoftBreak | Event::HardBreak => " ",
            _ => continue,
        };
        heading.iter_mut().for_each(|(_, heading)| heading.push_str(text));
        links.iter_mut().for_each(|(_, link)| link.push_str(text));
    }
    outline
}

/// What `html/extract` finds in a page. Links without text, of pictures and buttons, don't count.
fn outline(html: &str) -> Outline {
    let page = page::read(html, &mut Flow::with_capacity(0));
    let headings = page.headings.into_iter().map(|heading| (heading.level, heading.text));
    let links = page.links.into_iter().filter(|link| !link.text.is_empty()).map(|link| (link.href, link.text));
    Outline { headings: headings.collect(), links: links.collect() }
}

fn collect(folder: &Path, pages: &mut Vec<PathBuf>) {
    let entries = fs::read_dir(folder).unwrap_or_else(|e| panic!("failed to list `{}`: {e}", folder.display()));
    let mut entries: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
    entries.sort();
    for path in entries {
        if path.is_dir() {
            collect(&path, pages);
        } else if path.extension().is_some_and(|extension| extension == "html") {
            pages.push(path);
        }
    }
}

#[test]
fn headings_and_links_of_books_survive() {
    let sysroot = Command::new("rustc").args(["--print", "sysroot"]).output().expect("rustc runs").stdout;
    let docs = Path::new(String::from_utf8_lossy(&sysroot).trim()).join("share/doc/rust/html");
    let mut pages = Vec::new();
    for book in ["book", "nomicon", "cargo", "reference"] {
        collect(&docs.join(book), &mut pages);
    }
    // Pages of one book on one page say nothing new, and take long.
    pages.retain(|path| path.file_name().is_some_and(|name| name != "print.html"));
    assert!(pages.len() > 50, "the toolchain's documentation is needed: `rustup component add rust-docs`");
    let mut wrong = Vec::new();
    for path in &pages {
        let html = fs::read_to_string(path).expect("a page");
        let (expected, got) =
            (outline(&html), read(&markdown::write(&html, Style { main_content: true, ..Style::default() })));
        let heading =
            (0..).map(|at| (expected.headings.get(at), got.headings.get(at))).find(|(a, b)| a != b || a.is_none());
        let link = (0..).map(|at| (expected.links.get(at), got.links.get(at))).find(|(a, b)| a != b || a.is_none());
        if expected != got {
            wrong.push(format!("{}: {heading:?} {link:?}", path.display()));
        }
    }
    assert!(wrong.is_empty(), "{} of {} pages\n{}", wrong.len(), pages.len(), wrong.join("\n"));
}
