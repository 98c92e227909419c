//! Trees of pages.
//!
//! Pages nest as deep as they like, and a guest's stack is small: nothing here recurses, and no tree is deeper than browsers
//! let it get, since selectors with `:has` and the writer of Markdown do recurse.

use dom_query::{Document, NodeRef};

use crate::tokens;

/// How many levels a tree has at most: Chromium's and WebKit's limit.
const DEEPEST: usize = 512;

/// The tree of a page. What nests too deep stands behind what it was in.
pub(crate) fn parse(html: &str) -> Document {
    let document = tokens::tree(html);
    let root = document.root();
    let (mut node, mut depth) = (root, 0);
    'nodes: loop {
        if let Some(child) = node.first_child() {
            if depth < DEEPEST {
                (node, depth) = (child, depth + 1);
                continue;
            }
            node.insert_siblings_after(&child);
        }
        loop {
            if node.id == root.id {
                break 'nodes;
            }
            if let Some(sibling) = node.next_sibling() {
                node = sibling;
                break;
            }
            (node, depth) = (node.parent().expect("a node below the root has a parent"), depth - 1);
        }
    }
    document
}

/// Is told of the nodes of a tree in the order of the document.
pub(crate) trait Visitor<'a> {
    /// A node begins. Whether to go into it; if so it is left later.
    fn enter(&mut self, node: &NodeRef<'a>) -> bool;

    /// The innermost node that was gone into ends.
    fn leave(&mut self);
}

/// Walks `root` and all below it.
pub(crate) fn walk<'a>(root: NodeRef<'a>, visitor: &mut impl Visitor<'a>) {
    let mut node = root;
    'nodes: loop {
        if visitor.enter(&node) {
            if let Some(child) = node.first_child() {
                node = child;
                continue;
            }
            visitor.leave();
        }
        loop {
            if node.id == root.id {
                break 'nodes;
            }
            if let Some(sibling) = node.next_sibling() {
                node = sibling;
                continue 'nodes;
            }
            node = node.parent().expect("a node below the root has a parent");
            visitor.leave();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nests_too_deep_keeps_its_order() {
        let html = format!("{}a<b>b</b>c<i>d<u>e</u></i>f{}g", "<div>".repeat(3 * DEEPEST), "</div>".repeat(DEEPEST));
        let document = parse(&html);
        assert_eq!(&*document.root().text(), "abcdefg");
        let depth = |node: NodeRef<'_>| node.ancestors_it(None).count();
        assert_eq!(document.root().descendants_it().map(depth).max(), Some(DEEPEST));
    }
}
